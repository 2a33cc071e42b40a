"""Transactions at the door: one entry of the log, checked twice, bounded, and refused where it would not be safe."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest

from raftline.errors import NotMember, Timeout
from raftline.kv.client_socket import partial_bytes_of
from raftline.kv.limits import Limits
from raftline.kv.machine import encode_command
from raftline.kv.service import Service

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, HeldNode

    Encode = Callable[..., bytes]
    NewConversation = Callable[..., Conversation]
    Connect = Callable[[Service], Conversation]

pack = msgspec.msgpack.encode


def lines(talk: "Conversation", text: str) -> list[bytes]:
    """Send commands one after the other and return their replies."""
    return [talk.ask(*line.encode().split()) for line in text.split("|")]


def test_a_transaction_is_one_entry_of_the_log(conversation: "Conversation") -> None:
    """However many commands it has, all of it is proposed at once, with what was watched (G1)."""
    lines(conversation, "WATCH w|MULTI|set a 1|GET a|INCR a")
    assert conversation.node.log == []
    assert conversation.ask(b"EXEC") == b"*3\r\n+OK\r\n$1\r\n1\r\n:2\r\n"
    commands = [encode_command([b"SET", b"a", b"1"]), encode_command([b"GET", b"a"]), encode_command([b"INCR", b"a"])]
    assert conversation.node.log == [encode_command([b"RAFTLINE.EXEC", pack([(b"w", 0)]), *commands])]


def test_what_concerns_the_connection_is_answered_in_its_place(conversation: "Conversation") -> None:
    """PING and its like stand in no log; their replies stand where they were asked for, also if nothing else was."""
    lines(conversation, "MULTI|PING|SET a 1|CLIENT SETNAME me|GET a|ECHO x")
    assert conversation.ask(b"EXEC") == b"*5\r\n+PONG\r\n+OK\r\n+OK\r\n$1\r\n1\r\n$1\r\nx\r\n"
    assert conversation.ask(b"CLIENT", b"GETNAME") == b"$2\r\nme\r\n"
    assert lines(conversation, "MULTI|PING|EXEC")[2] == b"*1\r\n+PONG\r\n"
    assert len(conversation.node.log) == 1


def test_a_transaction_that_is_aborted_changes_nothing_here_either(
    conversation: "Conversation", service: Service, new_client: "Connect"
) -> None:
    """After a change of a watched key neither the store nor the connection is touched."""
    other = new_client(service)
    lines(conversation, "SET k 1|WATCH k")
    other.ask(b"SET", b"k", b"2")
    assert lines(conversation, "MULTI|CLIENT SETNAME me|SET k 3|EXEC")[3] == b"*-1\r\n"
    assert lines(conversation, "CLIENT GETNAME|GET k") == [b"$-1\r\n", b"$1\r\n2\r\n"]


def test_a_watch_that_failed_lets_nothing_be_carried_out(conversation: "Conversation", request_of: "Encode") -> None:
    """A client that sends everything at once cannot look at WATCH's reply: EXEC is refused in its place."""
    words = ([b"WATCH", b"k"], [b"MULTI"], [b"SET", b"k", b"1"], [b"EXEC"])
    conversation.send(b"".join(request_of(*args) for args in words))
    conversation.node.answer(Timeout("nobody answers"))
    output = conversation.take()
    assert output.startswith(b"-CLUSTERDOWN ")
    assert output.endswith(b"+OK\r\n+QUEUED\r\n-EXECABORT Transaction discarded because WATCH did not succeed.\r\n")
    assert not conversation.node.waiting
    assert lines(conversation, "MULTI|SET k 1|EXEC")[2] == b"*1\r\n+OK\r\n"


@pytest.mark.parametrize(
    "text",
    [
        *("AUTH x", "HELLO 3", "READONLY", "READWRITE", "CLIENT READS STALE", "CLIENT REPLY OFF", "RAFTLINE.SESSION"),
        *("RAFTLINE.ONCE 1 1 INCR k", "RAFTLINE.EXEC h w c", "RAFTLINE.WATCH k", "ACL LIST", "ACL SETUSER me"),
        *("RAFTLINE.TRANSFER", "RAFTLINE.BACKUP BEGIN"),
    ],
)
def test_what_cannot_be_in_a_transaction_is_refused_when_it_is_queued(conversation: "Conversation", text: str) -> None:
    """The reply says so at once, and EXEC carries nothing out."""
    replies = lines(conversation, f"MULTI|SET a 1|{text}|EXEC|EXISTS a")
    assert replies[2] == b"-ERR Command not allowed inside a transaction\r\n"
    assert replies[3:] == [b"-EXECABORT Transaction discarded because of previous errors.\r\n", b":0\r\n"]


def test_permission_is_asked_when_a_command_is_queued_and_again_when_it_is_carried_out(
    service: Service, new_client: "Connect"
) -> None:
    """What was allowed and is no longer is answered with Redis's refusal, and the rest is done."""
    admin, user = new_client(service), new_client(service)
    lines(admin, "ACL SETUSER bob on nopass +@all ~a* ~b*")
    assert lines(user, "AUTH bob x|MULTI|SET c 1|EXEC")[2:] == [
        b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n",
        b"-EXECABORT Transaction discarded because of previous errors.\r\n",
    ]
    lines(user, "MULTI|SET a 1|SET b 2|PING")
    lines(admin, "ACL SETUSER bob resetkeys ~b* -ping")
    reply = user.ask(b"EXEC")
    assert reply.startswith(b"*3\r\n-NOPERM ACLs rules changed between the moment the transaction was accumulated and")
    assert b"following reason: no permission to touch the specified keys\r\n+OK\r\n-NOPERM ACLs rules" in reply
    assert reply.endswith(b"reason: no permission to execute the command or subcommand\r\n")
    assert lines(admin, "EXISTS a|EXISTS b") == [b":0\r\n", b":1\r\n"]
    lines(admin, "ACL SETUSER bob -exec")
    assert lines(user, "MULTI|SET b 1|EXEC|EXEC")[2].startswith(b"-EXECABORT Transaction discarded because of: NOPERM")


def test_commands_and_their_bytes_are_bounded(new_conversation: "NewConversation") -> None:
    """A transaction above either limit is refused when it goes too far, and its memory is given back (G5)."""
    talk = new_conversation(limits=Limits(transaction_commands_max=2, transaction_bytes_max=1000))
    replies = lines(talk, "MULTI|SET a 1|SET b 1|SET c 1|EXEC")
    assert replies[3] == b"-ERR a transaction of more than 2 commands\r\n"
    assert replies[4].startswith(b"-EXECABORT")
    talk.ask(b"MULTI")
    assert talk.ask(b"SET", b"a", b"v" * 900) == b"+QUEUED\r\n"
    assert partial_bytes_of(talk.connection) == 904 + 3 * 64
    assert b"above 1000 bytes" in talk.ask(b"SET", b"a", b"v" * 100)
    assert partial_bytes_of(talk.connection) == 0
    assert talk.ask(b"SET", b"a", b"v" * 900) == b"+QUEUED\r\n"
    assert partial_bytes_of(talk.connection) == 0
    assert talk.ask(b"EXEC").startswith(b"-EXECABORT")


def test_a_transaction_in_one_request_has_the_same_bounds(new_conversation: "NewConversation") -> None:
    """It is refused before it enters the log (G5)."""
    talk = new_conversation(limits=Limits(transaction_commands_max=2, transaction_bytes_max=1000))
    head = (b"RAFTLINE.EXEC", b"", pack([]))
    assert talk.ask(*head, *[pack([b"SET", b"a", b"1"])] * 3) == b"-ERR a transaction of more than 2 commands\r\n"
    assert b"above 1000 bytes" in talk.ask(*head, *[pack([b"SET", b"a", b"v" * 500])] * 2)
    assert talk.ask(*head, *[pack([b"SET", b"a", b"v" * 400])] * 2) == b"*2\r\n+OK\r\n+OK\r\n"


def test_arguments_of_no_length_count(new_conversation: "NewConversation") -> None:
    """However short they are, they take memory, and there are only so many of them in a transaction (G5)."""
    talk = new_conversation(limits=Limits(transaction_args_max=100))
    refusal = b"-ERR the commands of a transaction have together more than 100 arguments\r\n"
    talk.ask(b"MULTI")
    assert talk.ask(b"DEL", *[b""] * 60) == b"+QUEUED\r\n"
    assert partial_bytes_of(talk.connection) > 60 * 50
    assert talk.ask(b"DEL", *[b""] * 60) == refusal
    assert partial_bytes_of(talk.connection) == 0
    assert talk.ask(b"EXEC").startswith(b"-EXECABORT")
    assert talk.ask(b"RAFTLINE.EXEC", b"", pack([]), *[pack([b"DEL", *[b""] * 60])] * 2) == refusal
    assert talk.node.log == []


def test_commands_that_look_at_every_key_are_few(new_conversation: "NewConversation") -> None:
    """All replicas carry a transaction out in one go, so what holds everybody up stands in it only so often (G9)."""
    talk = new_conversation(limits=Limits(transaction_walks_max=2))
    refusal = b"-ERR a transaction with more than 2 of KEYS, SCAN and RAFTLINE.LOCK LIST, which look at many keys\r\n"
    replies = lines(talk, "MULTI|KEYS *|SCAN 0|HSCAN h 0|DBSIZE|KEYS a*|EXEC")
    assert replies[5:] == [refusal, b"-EXECABORT Transaction discarded because of previous errors.\r\n"]
    assert lines(talk, "MULTI|KEYS *|SCAN 0|EXEC")[3].startswith(b"*2\r\n*0\r\n")
    assert lines(talk, "MULTI|SCAN 0|RAFTLINE.LOCK LIST|RAFTLINE.LOCK LIST 0|EXEC")[3] == refusal
    walk = pack([b"KEYS", b"*"])
    assert talk.ask(b"RAFTLINE.EXEC", b"", pack([]), walk, walk) == b"*2\r\n*0\r\n*0\r\n"
    assert talk.ask(b"RAFTLINE.EXEC", b"", pack([]), walk, walk, walk) == refusal


def test_what_is_watched_counts(new_conversation: "NewConversation") -> None:
    """It takes memory until EXEC, and a place in the entry then: both are bounded (G5)."""
    talk = new_conversation(limits=Limits(transaction_bytes_max=1000))
    for start in (0, 10, 0):
        talk.ask(b"WATCH", *[b"%0100d" % number for number in range(start, start + 10)])
    assert 2000 < partial_bytes_of(talk.connection) < 2 * 2000
    lines(talk, "MULTI")
    assert b"together above 1000 bytes" in talk.ask(b"EXEC")
    assert (partial_bytes_of(talk.connection), talk.node.log) == (0, [])
    talk.ask(b"WATCH", *[b"%0100d" % number for number in range(9)])
    assert lines(talk, "MULTI|SET a 1|EXEC") == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n"]
    marks = pack([(b"%0100d" % number, 0) for number in range(10)])
    history = talk.connection.client.server.status().cluster_id.encode()
    assert b"together above 1000 bytes" in talk.ask(b"RAFTLINE.EXEC", history, marks, pack([b"SET", b"a", b"1"]))


def test_maxmemory_refuses_what_is_queued_and_what_was(new_conversation: "NewConversation") -> None:
    """Above it nothing can be queued, and EXEC is refused with Redis's words if one of its commands may grow."""
    talk = new_conversation(limits=Limits(maxmemory=1000))
    lines(talk, "MULTI|SET a 1|GET a")
    talk.node.machine.store.used_bytes = 2000
    assert talk.ask(b"PING").startswith(b"-OOM command not allowed")
    assert talk.ask(b"EXEC").startswith(b"-EXECABORT Transaction discarded because of")
    talk.node.machine.store.used_bytes = 0
    lines(talk, "MULTI|SET a 1|GET a")
    talk.node.machine.store.used_bytes = 2000
    assert talk.ask(b"EXEC").startswith(b"-EXECABORT Transaction discarded because of: OOM command not allowed")
    talk.node.machine.store.used_bytes = 0
    lines(talk, "MULTI|DEL a|GET a")
    talk.node.machine.store.used_bytes = 2000
    assert talk.ask(b"EXEC") == b"*2\r\n:0\r\n$-1\r\n"


def test_keys_and_values_are_as_large_as_outside(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """A key above its limit is refused when it is queued."""
    talk = new_conversation(limits=Limits(key_bytes_max=10, value_bytes_max=100))
    assert talk.raw(request_of(b"MULTI") + request_of(b"SET", b"k" * 11, b"v")).startswith(b"+OK\r\n-ERR a key of 11")
    assert talk.ask(b"EXEC").startswith(b"-EXECABORT")


def test_reset_and_discard_forget_the_transaction(conversation: "Conversation") -> None:
    """Nothing of it is left: neither the queue nor the watched keys."""
    assert lines(conversation, "WATCH k|MULTI|SET k 1|RESET|EXEC")[3:] == [
        b"+RESET\r\n",
        b"-ERR EXEC without MULTI\r\n",
    ]
    lines(conversation, "WATCH k|SET k 1|MULTI|DISCARD")
    assert lines(conversation, "MULTI|EXEC") == [b"+OK\r\n", b"*0\r\n"]
    assert b" multi=-1 " in conversation.ask(b"CLIENT", b"INFO")


def test_the_list_of_clients_shows_who_is_in_a_transaction(
    service: Service, new_client: "Connect", conversation: "Conversation"
) -> None:
    """Flag x, and how many commands wait."""
    lines(conversation, "MULTI|PING|PING")
    assert b" flags=x db=0 sub=0 psub=0 ssub=0 multi=2 " in new_client(service).ask(b"CLIENT", b"LIST")


def test_a_silent_client_gets_no_reply_to_exec(conversation: "Conversation") -> None:
    """CLIENT REPLY OFF holds for transactions, which are carried out all the same."""
    assert lines(conversation, "CLIENT REPLY OFF|MULTI|INCR k|EXEC") == [b"", b"", b"", b""]
    assert conversation.ask(b"CLIENT", b"REPLY", b"ON") == b"+OK\r\n"
    assert conversation.ask(b"GET", b"k") == b"$1\r\n1\r\n"


def test_older_members_are_not_sent_what_they_do_not_know(
    held_node: "HeldNode", service: Service, new_client: "Connect"
) -> None:
    """Until every member knows transactions they are refused in words that a client may try again on (G1)."""
    held_node.command_version = 1
    talk = new_client(service)
    for text in ("WATCH k", "EXEC", "RAFTLINE.WATCH k", "RAFTLINE.ONCE 1 1 RAFTLINE.EXEC h w c"):
        assert lines(talk, text)[0].startswith(b"-TRYAGAIN not every member knows this command yet"), text
    assert lines(talk, "SET k v")[0] == b"+OK\r\n"
    held_node.command_version = 2
    assert lines(talk, "MULTI|EXEC") == [b"+OK\r\n", b"*0\r\n"]


def test_who_was_removed_says_so_and_not_that_members_are_too_old(
    held_node: "HeldNode", service: Service, new_client: "Connect"
) -> None:
    """After its start it does not hear what the members know by now: nobody is to upgrade anything (K2)."""
    held_node.command_version = 1
    held_node.removed = NotMember("n1 was removed from the group: ask n2 at 127.0.0.1:7002")
    talk = new_client(service)
    words = b"CLUSTERDOWN n1 was removed from the group: ask n2 at 127.0.0.1:7002: the command did not take effect\r\n"
    for text in ("WATCH k", "EXEC", "SET k v IFEQ o", "RAFTLINE.WATCH k"):
        assert lines(talk, text) == [b"-" + words], text
    replies = lines(talk, "MULTI|SET k v IFEQ o|SET k v|EXEC")
    assert replies[1] == b"-" + words
    replies = lines(talk, "MULTI|SET k v|EXEC")
    assert replies[2] == b"-EXECABORT Transaction discarded because of: " + words


def test_commands_of_a_transaction_that_is_not_known_yet_are_not_carried_out(
    held_node: "HeldNode", service: Service, new_client: "Connect"
) -> None:
    """A client may send all of it at once: none of it may then be taken for a command of its own (G1)."""
    held_node.command_version = 1
    talk = new_client(service)
    replies = lines(talk, "MULTI|SET k v|GET k|EXEC|GET k")
    assert replies[:3] == [b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n"]
    assert replies[3].startswith(b"-EXECABORT Transaction discarded because of: TRYAGAIN not every member knows")
    assert replies[4] == b"$-1\r\n"
    assert lines(talk, "MULTI|SET k v|DISCARD|GET k")[2:] == [b"+OK\r\n", b"$-1\r\n"]
    replies = lines(talk, "MULTI|SET k v IFEQ o|EXEC")
    assert replies[1].startswith(b"-TRYAGAIN not every member knows this command yet")
    assert replies[2].startswith(b"-EXECABORT")
    held_node.command_version = 2
    assert lines(talk, "MULTI|SET k v|EXEC")[2] == b"*1\r\n+OK\r\n"


# In one request.


def test_a_transaction_in_one_request_is_carried_out_once(conversation: "Conversation") -> None:
    """RAFTLINE.EXEC stands in RAFTLINE.ONCE like any other command that writes (G8)."""
    history, mark = b"test", 0
    commands = [pack([b"incr", b"k"]), pack([b"GET", b"k"])]
    args = (b"RAFTLINE.EXEC", history, pack([(b"k", mark)]), *commands)
    assert conversation.ask(b"RAFTLINE.ONCE", b"7", b"1", *args) == b"*2\r\n:1\r\n$1\r\n1\r\n"
    assert conversation.node.once == [(7, 1)]
    assert conversation.ask(*args) == b"*-1\r\n"


def test_marks_of_another_history_are_never_unchanged(conversation: "Conversation") -> None:
    """After a restore from a backup an index means something else: such a transaction is aborted (G14)."""
    reply = conversation.ask(b"RAFTLINE.WATCH", b"k")
    assert reply == b"*2\r\n$4\r\ntest\r\n:0\r\n"
    far = pack([(b"k", 1 << 40)])
    assert conversation.ask(b"RAFTLINE.EXEC", b"test", far, pack([b"PING"])).startswith(b"-ERR Command not allowed")
    assert conversation.ask(b"RAFTLINE.EXEC", b"test", far, pack([b"GET", b"k"])) == b"*1\r\n$-1\r\n"
    assert conversation.ask(b"RAFTLINE.EXEC", b"other", far, pack([b"GET", b"k"])) == b"*-1\r\n"


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ([b"\xc1"], b"takes MessagePack"),
        ([pack([])], b"takes MessagePack"),
        ([pack([b"nosuch"])], b"unknown command"),
        ([pack([b"GET"])], b"wrong number of arguments for 'get'"),
        ([pack([b"RAFTLINE.EXEC", b"", b"", b""])], b"not allowed inside"),
        ([pack([b"RAFTLINE.TICK"])], b"unknown command"),
        ([pack([b"GET", b"k"]), pack([b"EXEC"])], b"not allowed inside"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_refused_whole(
    conversation: "Conversation", commands: list[bytes], words: bytes
) -> None:
    """Nothing of it reaches the log."""
    reply = conversation.ask(b"RAFTLINE.EXEC", b"test", pack([]), pack([b"SET", b"a", b"1"]), *commands)
    assert words in reply
    assert conversation.node.log == []


def test_a_request_is_as_permitted_as_its_commands(service: Service, new_client: "Connect") -> None:
    """Whoever may use RAFTLINE.EXEC may still only do what he may do, and watch what he may know of."""
    admin, user = new_client(service), new_client(service)
    lines(admin, "ACL SETUSER bob on nopass +@all -incr ~a*")
    lines(user, "AUTH bob x")
    for watched, command in (([], [b"INCR", b"a"]), ([], [b"SET", b"c", b"1"]), ([(b"c", 0)], [b"GET", b"a"])):
        assert user.ask(b"RAFTLINE.EXEC", b"test", pack(watched), pack(command)).startswith(b"-NOPERM "), command
    assert user.ask(b"RAFTLINE.EXEC", b"test", pack([(b"a", 0)]), pack([b"GET", b"a"])) == b"*1\r\n$-1\r\n"


def test_a_pattern_that_is_too_long_is_queued_nowhere(conversation: "Conversation") -> None:
    """It is refused before anything is proposed; what stands in a log already is carried out."""
    pattern = b"[^a]" * 256 + b"*"
    refusal = b"-ERR a pattern of 1025 bytes is above the limit of 1024\r\n"
    conversation.ask(b"MULTI")
    assert conversation.ask(b"KEYS", pattern) == refusal
    assert conversation.ask(b"EXEC").startswith(b"-EXECABORT")
    command = pack([b"HSCAN", b"h", b"0", b"MATCH", pattern])
    assert conversation.ask(b"RAFTLINE.EXEC", b"", pack([]), command) == refusal
    assert conversation.node.log == []
    entry = encode_command([b"RAFTLINE.EXEC", pack([]), encode_command([b"KEYS", pattern])])
    conversation.ask(b"SET", b"b" * 300, b"")
    assert conversation.node.machine.apply(entry, 9, 0) == b"*1\r\n*1\r\n$300\r\n" + b"b" * 300 + b"\r\n"


def test_exec_asks_once_who_may_do_everything(conversation: "Conversation", request_of: "Encode") -> None:
    """What is queued by tens of thousands is proposed without looking up the same user for each command."""
    count = 0

    def on_call(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event == "call"

    lines(conversation, "MULTI" + "|SET k 1" * 1000)
    sys.setprofile(on_call)
    try:
        conversation.send(request_of(b"EXEC"))
    finally:
        sys.setprofile(None)
    assert count < 5000
    conversation.node.answer()
    assert conversation.take() == b"*1000\r\n" + b"+OK\r\n" * 1000
