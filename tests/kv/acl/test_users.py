"""Users in the replicated state: snapshots, limits, a node's own password, and no clear password anywhere."""

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from raftline.kv.acl.draft import StateError, changed
from raftline.kv.acl.user import hash_of, new_user
from raftline.kv.acl.users import USERS_MAX, Users
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.service import Service

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock, HeldNode

    NewConversation = Callable[..., Conversation]

OWN = "own"
MARKER = b"marker-of-a-password"


def test_users_travel_in_snapshots(machine: KvMachine, conversation: "Conversation") -> None:
    """A node that installs a snapshot has its users, and nobody whom the snapshot does not name."""
    conversation.ask(b"ACL", b"SETUSER", b"alice", b"on", b">secret", b"~a:*", b"+get")
    conversation.ask(b"FLUSHALL")
    chunks = list(machine.snapshot())
    other = KvMachine()
    other.store.users.put(new_user(b"bob"))
    other.restore_begin()
    for chunk in chunks:
        other.restore_chunk(chunk)
    other.restore_end()
    assert other.store.users.names() == [b"alice", b"default"]
    assert other.store.users.may_log_in(b"alice", b"secret")
    assert not other.store.users.may_log_in(b"alice", b"wrong")


def test_passwords_are_hashed_before_they_reach_the_log(held_node: "HeldNode", conversation: "Conversation") -> None:
    """Neither the log nor a snapshot nor any answer holds a clear password, in RAFTLINE.ONCE either."""
    rules = [b"on", b">" + MARKER, b"~*", b"+@all"]
    assert conversation.ask(b"ACL", b"SETUSER", b"alice", *rules) == b"+OK\r\n"
    assert conversation.ask(b"RAFTLINE.ONCE", b"1", b"1", b"acl", b"setuser", b"alice", b">" + MARKER) == b"+OK\r\n"
    conversation.ask(b"ACL", b"SETUSER", b"alice", b"<" + MARKER[1:])
    assert conversation.ask(b"AUTH", b"alice", MARKER) == b"+OK\r\n"
    told = conversation.ask(b"ACL", b"LIST") + conversation.ask(b"ACL", b"GETUSER", b"alice")
    kept = b"".join(held_node.log) + b"".join(held_node.machine.snapshot())
    assert MARKER not in kept + told
    assert hash_of(MARKER) in kept


def test_a_connection_ends_when_its_user_is_deleted(conversation: "Conversation") -> None:
    """The next command of a user that is gone is refused, and the connection closed."""
    conversation.ask(b"ACL", b"SETUSER", b"alice", b"on", b"nopass", b"~*", b"+@all")
    conversation.ask(b"AUTH", b"alice", b"any")
    conversation.ask(b"ACL", b"DELUSER", b"alice")
    assert conversation.ask(b"SET", b"key", b"value").startswith(b"-NOAUTH the user of this connection was deleted")
    assert conversation.connection.is_finished


def test_a_change_counts_for_connections_that_are_open(conversation: "Conversation") -> None:
    """What a user may do is looked up with every command, not when it logs in."""
    conversation.ask(b"ACL", b"SETUSER", b"alice", b"on", b"nopass", b"~*", b"+@all")
    conversation.ask(b"AUTH", b"alice", b"any")
    assert conversation.ask(b"SET", b"key", b"value") == b"+OK\r\n"
    conversation.ask(b"ACL", b"SETUSER", b"alice", b"-set")
    assert conversation.ask(b"SET", b"key", b"value").startswith(b"-NOPERM")


def test_what_is_inside_once_needs_permission(conversation: "Conversation") -> None:
    """RAFTLINE.ONCE is no way around the rules for commands and keys."""
    conversation.ask(b"ACL", b"SETUSER", b"alice", b"on", b"nopass", b"~a:*", b"+raftline.once", b"+set")
    conversation.ask(b"AUTH", b"alice", b"any")
    once = (b"RAFTLINE.ONCE", b"1")
    assert conversation.ask(*once, b"1", b"SET", b"a:1", b"x") == b"+OK\r\n"
    assert conversation.ask(*once, b"2", b"SET", b"b", b"x").startswith(
        b"-NOPERM this user has no permissions to access"
    )
    assert conversation.ask(*once, b"3", b"DEL", b"a:1").startswith(b"-NOPERM this user has no permissions to run")


def test_a_wrong_password_is_confirmed_by_the_group(held_node: "HeldNode", conversation: "Conversation") -> None:
    """A user that this node does not know yet can log in: the refusal waits for a linearizable read."""
    machine = held_node.machine
    assert conversation.send(b"AUTH alice pw\r\nACL WHOAMI\r\n") == b""
    machine.store.users.put(changed(new_user(b"alice"), b"on", b">pw", b"+@all"))
    held_node.answer()
    assert conversation.take() == b"+OK\r\n$5\r\nalice\r\n"
    conversation.raw(b"AUTH default x\r\n")
    assert conversation.send(b"AUTH alice wrong\r\nACL WHOAMI\r\n") == b""
    held_node.answer()
    assert conversation.take() == b"-WRONGPASS invalid username-password pair or user is disabled.\r\n$7\r\ndefault\r\n"


def test_a_nodes_own_password_counts_whatever_the_log_says(
    held_node: "HeldNode", machine: KvMachine, clock: "FakeClock", new_client: Callable[[Service], "Conversation"]
) -> None:
    """With a password in the settings, `default` needs it; a change in the log adds to it and cannot take it away."""
    service = Service(held_node, machine, Limits(), clock, "127.0.0.1", 7001, password=OWN)
    client = new_client(service)
    assert client.ask(b"GET", b"key").startswith(b"-NOAUTH")
    assert client.ask(b"AUTH", b"own") == b"+OK\r\n"
    client.ask(b"ACL", b"SETUSER", b"default", b"nopass")
    other = new_client(service)
    assert other.ask(b"GET", b"key").startswith(b"-NOAUTH")
    client.ask(b"ACL", b"SETUSER", b"default", b">further")
    assert other.ask(b"AUTH", b"further") == b"+OK\r\n"
    assert hash_of(b"own") not in b"".join(machine.snapshot())


def test_users_have_limits() -> None:
    """There are at most so many users, of so many bytes together; a known one can still be changed."""
    users = Users()
    for number in range(USERS_MAX):
        assert users.has_room_for(new_user(b"u%d" % number))
        users.put(new_user(b"u%d" % number))
    assert not users.has_room_for(new_user(b"one-more"))
    assert users.has_room_for(new_user(b"u1"))
    few = Users()
    assert not few.has_room_for(new_user(b"x" * 300_000))


def test_a_stranger_cannot_fill_memory(
    held_node: "HeldNode", machine: KvMachine, clock: "FakeClock", new_client: Callable[[Service], "Conversation"]
) -> None:
    """Before it has logged in, a client that sends half of something long is told so and closed."""
    service = Service(held_node, machine, Limits(), clock, "127.0.0.1", 7001, password=OWN)
    client = new_client(service)
    answer = client.raw(b"*2\r\n$3\r\nGET\r\n$20000000\r\n" + b"x" * 40_000)
    assert answer == b"-ERR Protocol error: unauthenticated bulk length\r\n"
    assert client.connection.is_finished
    known = new_client(service)
    known.ask(b"AUTH", b"own")
    assert known.raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40000\r\n" + b"x" * 40_000 + b"\r\n") == b"+OK\r\n"


def test_sort_is_no_way_around_the_rules_for_keys(conversation: "Conversation") -> None:
    """The key of STORE has to be writable; patterns of BY and GET, which name any key, need the right to read all."""
    conversation.ask(b"ACL", b"SETUSER", b"alice", b"on", b"nopass", b"~a:*", b"+sort", b"+sort_ro", b"+lpush")
    conversation.ask(b"ACL", b"SETUSER", b"bob", b"on", b"nopass", b"%R~*", b"%W~a:*", b"+sort")
    conversation.ask(b"AUTH", b"alice", b"any")
    conversation.ask(b"LPUSH", b"a:l", b"2", b"1")
    assert conversation.ask(b"SORT", b"a:l", b"STORE", b"a:m") == b":2\r\n"
    assert conversation.ask(b"SORT", b"a:l", b"STORE", b"other").startswith(b"-NOPERM")
    assert conversation.ask(b"SORT", b"a:l", b"GET", b"secret*").startswith(b"-NOPERM")
    assert conversation.ask(b"SORT_RO", b"a:l", b"BY", b"*").startswith(b"-NOPERM")
    conversation.ask(b"AUTH", b"bob", b"any")
    assert conversation.ask(b"SORT", b"a:l", b"BY", b"w_*", b"GET", b"#").startswith(b"*2")
    assert conversation.ask(b"SORT", b"a:l", b"STORE", b"other").startswith(b"-NOPERM")


@pytest.mark.parametrize("kind", ["passwords", "keys", "channels", "commands"])
def test_a_rule_costs_the_same_however_many_came_before_it(conversation: "Conversation", kind: str) -> None:
    """Whoever sends thousands of them in one command takes the node, and each replica, no longer for each."""
    rules: dict[str, Callable[[int], bytes]] = {
        "passwords": lambda number: b"#" + hashlib.sha256(b"%d" % number).hexdigest().encode(),
        "keys": lambda number: b"~%d" % number,
        "channels": lambda number: b"&%d" % number,
        "commands": lambda number: b"+get" if number % 2 else b"-client|list",
    }

    def seconds(count: int) -> float:
        words = [rules[kind](number) for number in range(count)]
        began = time.thread_time()
        conversation.ask(b"ACL", b"SETUSER", b"alice", b"reset", *words)
        return time.thread_time() - began

    few = min(seconds(4000) for _ in range(3))
    assert seconds(32_000) < 32 * few


def test_rules_of_a_command_take_the_place_of_those_of_its_subcommands() -> None:
    """The last rule counts, and stands last; what it makes meaningless goes, and nothing beside it."""
    user = changed(new_user(b"u"), b"+client|id", b"+clientele", b"-client|list", b"+get", b"+client|id", b"-GET")
    assert user.commands == (b"-@all", b"+clientele", b"-client|list", b"+client|id", b"-get")
    assert changed(user, b"-client").commands == (b"-@all", b"+clientele", b"-get", b"-client")
    assert changed(user, b"+@all", b"-get").commands == (b"+@all", b"-get")


def test_a_pattern_is_refused_beside_all_keys_only_where_they_stand_alone() -> None:
    """As nodes of any version have it: one that refused what another carries out would have another user."""
    user = changed(new_user(b"u"), b"~*", b"%R~*", b"~a")
    assert user.keys == (b"~*", b"%R~*", b"~a")
    with pytest.raises(StateError):
        changed(new_user(b"u"), b"~*", b"%R~a")
