"""One connection: order, pipelining, limits, and what happens when the node cannot answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftline.errors import NotLeader, Timeout
from raftline.kv.client_socket import partial_bytes_of
from raftline.kv.connection import Connection
from raftline.kv.limits import Limits
from raftline.kv.machine import TICK_COMMAND, encode_command
from raftline.kv.plans import PLANS

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock, HeldNode

    Encode = Callable[..., bytes]
    NewConversation = Callable[..., Conversation]


def waiting(node: "HeldNode") -> list[bytes | None]:
    """Return what the node was asked and did not answer; None is a read."""
    return [command for command, _ in node.waiting]


def test_consecutive_writes_are_proposed_together(conversation: "Conversation", request_of: "Encode") -> None:
    """Writes do not wait for each other; a read behind them does, a write behind the read too."""
    node = conversation.node
    pipeline = [(b"SET", b"k", b"1"), (b"INCR", b"k"), (b"GET", b"k"), (b"STRLEN", b"k"), (b"SET", b"k", b"9")]
    assert conversation.send(b"".join(request_of(*args) for args in pipeline)) == b""
    assert waiting(node) == [encode_command([b"SET", b"k", b"1"]), encode_command([b"INCR", b"k"])]
    node.answer()
    assert conversation.take() == b"+OK\r\n:2\r\n"
    assert waiting(node) == [None]
    node.answer()
    assert conversation.take() == b"$1\r\n2\r\n:1\r\n"
    assert waiting(node) == [encode_command([b"SET", b"k", b"9"])]
    node.answer()
    assert conversation.take() == b"+OK\r\n"


def test_replies_keep_the_order_of_the_commands(conversation: "Conversation", request_of: "Encode") -> None:
    """What can be answered at once waits for what was asked before it."""
    node = conversation.node
    assert conversation.send(request_of(b"SET", b"k", b"v") + request_of(b"PING") + request_of(b"NOSUCH")) == b""
    node.answer()
    assert conversation.take().split(b"\r\n")[:3] == [
        b"+OK",
        b"+PONG",
        b"-ERR unknown command 'NOSUCH', with args beginning with: ",
    ]


def test_answers_in_another_order_are_sorted(conversation: "Conversation", request_of: "Encode") -> None:
    """Even if a node answered the second write first, the first reply leaves first."""
    node = conversation.node
    conversation.send(request_of(b"SET", b"a", b"1") + request_of(b"APPEND", b"b", b"xyz"))
    (_, first), (_, second) = node.waiting
    second(b":3\r\n")
    assert conversation.take() == b""
    first(b"+OK\r\n")
    assert conversation.take() == b"+OK\r\n:3\r\n"


PIPELINES = st.lists(
    st.sampled_from(
        [
            (b"SET", b"k", b"5"),
            (b"INCR", b"k"),
            (b"GET", b"k"),
            (b"APPEND", b"k", b"0"),
            (b"STRLEN", b"k"),
            (b"PING",),
            (b"DEL", b"k"),
            (b"SET", b"k"),
            (b"SET", b"k", b"v", b"EX", b"x"),
            (b"HELLO", b"3"),
            (b"HELLO", b"2"),
            (b"DBSIZE",),
            (b"CLIENT", b"REPLY", b"SKIP"),
            (b"CLIENT", b"REPLY", b"OFF"),
            (b"CLIENT", b"REPLY", b"ON"),
            (b"RESET",),
        ]
    ),
    max_size=30,
)


def test_a_pipeline_means_what_single_commands_mean(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """However requests are cut into pieces, the replies are those of one command after the other."""

    @settings(max_examples=80, deadline=None)
    @given(PIPELINES, st.lists(st.integers(1, 60), max_size=20))
    def compare(commands: list[tuple[bytes, ...]], sizes: list[int]) -> None:
        alone, together = new_conversation(), new_conversation()
        encoded = [request_of(*args) for args in commands]
        expected = b"".join(alone.raw(request) for request in encoded)
        data = b"".join(encoded)
        found = b""
        for size in [*sizes, len(data)]:
            found += together.send(data[:size])
            data = data[size:]
        while together.node.waiting:
            together.node.answer()
            found += together.take()
        assert found == expected

    compare()


def test_any_bytes_in_any_pieces_do_no_harm(new_conversation: "NewConversation") -> None:
    """Garbage, or requests mixed with it, never raise; the connection answers or is finished, and holds little."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=50),
                st.sampled_from(
                    [b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$3\r\nGET\r\n", b"$1\r\nk\r\n", b"*3\r\n", b"SET k v\r\n"]
                ),
            ),
            max_size=20,
        )
    )
    def feed(pieces: list[bytes]) -> None:
        talk = new_conversation()
        for piece in pieces:
            talk.raw(piece)
        assert not talk.node.waiting
        assert partial_bytes_of(talk.connection) < 10_000
        talk.connection.client.is_at_end = True
        assert talk.connection.is_finished or talk.connection.client.closing or not talk.connection.client.pending

    feed()


def test_refused_commands_never_reach_the_log(conversation: "Conversation", request_of: "Encode") -> None:
    """Wrong arity, bad options and what is no number are answered without a proposal."""
    for args in [
        (b"SET", b"k"),
        (b"GET",),
        (b"SET", b"k", b"v", b"NX", b"XX"),
        (b"SET", b"k", b"v", b"EX", b"0"),
        (b"INCRBY", b"k", b"x"),
        (b"DECRBY", b"k", b"-9223372036854775808"),
        (b"EXPIRE", b"k", b"x"),
        (b"MSET", b"k"),
        (b"MSET", b"k", b"v", b"x"),
        (b"SETEX", b"k", b"-1", b"v"),
        (b"PSETEX", b"k", b"x", b"v"),
        (b"GETEX", b"k", b"foo"),
        (b"FLUSHALL", b"now"),
        (b"NOSUCH",),
        (b"RAFTLINE.TICK",),
        (b"CLIENT", b"NOSUCH"),
    ]:
        assert conversation.send(request_of(*args)).startswith(b"-"), args
        assert conversation.node.waiting == [], args


def test_a_read_of_a_key_that_is_due_waits_for_the_log(conversation: "Conversation", request_of: "Encode") -> None:
    """Past its deadline by this node's clock, a key is gone only when the log's time says so; the read sees to that."""
    node = conversation.node
    clock = node.clock
    conversation.ask(b"SET", b"k", b"v", b"PX", b"500")
    conversation.ask(b"SET", b"other", b"x")
    clock.now_ms += 499  # type: ignore[attr-defined]
    assert conversation.ask(b"GET", b"k") == b"$1\r\nv\r\n"
    clock.now_ms += 1  # type: ignore[attr-defined]
    conversation.send(request_of(b"GET", b"other") + request_of(b"GET", b"k") + request_of(b"TTL", b"other"))
    assert waiting(node) == [None]
    node.answer()
    assert conversation.take() == b"$1\r\nx\r\n"
    assert waiting(node) == [TICK_COMMAND]
    node.answer()
    assert waiting(node) == [None]
    node.answer()
    assert conversation.take() == b"$-1\r\n:-1\r\n"


def test_a_reader_whose_clock_is_ahead_takes_the_logs_word(
    new_conversation: "NewConversation", request_of: "Encode"
) -> None:
    """If the leader's clock says that the key is alive, it is, after one tick and no more."""
    talk = new_conversation()
    talk.ask(b"SET", b"k", b"v", b"PX", b"500")
    leaders_clock = talk.node.clock
    readers_clock = type(leaders_clock)()
    readers_clock.now_ms = leaders_clock.wall_ms() + 60_000  # type: ignore[attr-defined]
    talk.connection.client.server.now_ms = readers_clock.wall_ms  # type: ignore[method-assign]
    assert talk.raw(request_of(b"GET", b"k") + request_of(b"EXISTS", b"k", b"k")) == b"$1\r\nv\r\n:2\r\n"
    assert talk.node.log[-1] == TICK_COMMAND
    assert talk.node.log.count(TICK_COMMAND) == 1


def test_a_read_that_cannot_be_made_current_is_refused(conversation: "Conversation", request_of: "Encode") -> None:
    """Without a quorum reads and the tick behind them are refused, and the connection lives on (G11)."""
    node = conversation.node
    conversation.send(request_of(b"GET", b"k") + request_of(b"DBSIZE"))
    node.answer(Timeout("no leader", may_take_effect=False))
    assert conversation.take().count(b"-CLUSTERDOWN") == 2
    conversation.ask(b"SET", b"k", b"v", b"PX", b"1")
    node.clock.now_ms += 10  # type: ignore[attr-defined]
    conversation.send(request_of(b"GET", b"k"))
    node.answer()
    node.answer(Timeout("no outcome"))
    assert conversation.take().startswith(b"-CLUSTERDOWN no quorum")
    conversation.send(request_of(b"GET", b"k"))
    node.answer()
    node.answer()
    node.answer(NotLeader())
    assert conversation.take().startswith(b"-CLUSTERDOWN no leader")
    assert conversation.ask(b"GET", b"k") == b"$-1\r\n"


def test_a_write_without_an_outcome_says_so(conversation: "Conversation", request_of: "Encode") -> None:
    """The client learns whether its write may have happened, and each failure is counted (G19)."""
    conversation.send(request_of(b"SET", b"k", b"v") + request_of(b"INCR", b"n"))
    conversation.node.answer(Timeout("late"))
    replies = conversation.take()
    assert replies.count(b"may have been applied") == 2
    assert conversation.connection.client.server.statistics.failed_requests == 2


def test_the_protocol_changes_between_two_replies(conversation: "Conversation", request_of: "Encode") -> None:
    """Replies to commands before HELLO 3 are RESP2, those after it RESP3, pipelined or not."""
    get = request_of(b"GET", b"nosuch")
    output = conversation.raw(get + request_of(b"HELLO", b"3") + get + request_of(b"HELLO", b"2") + get)
    reader = hiredis.Reader()
    reader.feed(output)
    assert [reader.gets() for _ in range(5)][1][b"proto"] == 3
    assert output.startswith(b"$-1\r\n%7\r\n")
    assert b"_\r\n*14\r\n" in output
    assert output.endswith(b"$-1\r\n")


def test_silenced_clients_get_nothing(conversation: "Conversation", request_of: "Encode") -> None:
    """CLIENT REPLY OFF and SKIP silence local commands, reads, writes and refusals alike."""
    quiet = [(b"PING",), (b"SET", b"k", b"v"), (b"GET", b"k"), (b"NOSUCH",), (b"SET", b"k"), (b"HELLO", b"2")]
    pipeline = b"".join(request_of(*args) for args in quiet)
    assert conversation.raw(request_of(b"CLIENT", b"REPLY", b"OFF") + pipeline) == b""
    assert conversation.raw(request_of(b"CLIENT", b"REPLY", b"ON")) == b"+OK\r\n"
    for args in quiet:
        assert conversation.raw(request_of(b"CLIENT", b"REPLY", b"SKIP") + request_of(*args)) == b""
        assert conversation.ask(b"PING") == b"+PONG\r\n"
    assert conversation.ask(b"GET", b"k") == b"$1\r\nv\r\n"


def test_quit_lets_everything_before_it_finish(conversation: "Conversation", request_of: "Encode") -> None:
    """What was asked before QUIT is answered, what comes after it is not looked at."""
    connection = conversation.connection
    conversation.send(request_of(b"SET", b"k", b"v") + request_of(b"QUIT") + request_of(b"SET", b"k", b"w"))
    assert waiting(conversation.node) == [encode_command([b"SET", b"k", b"v"])]
    assert not connection.is_finished
    conversation.node.answer()
    assert conversation.take() == b"+OK\r\n+OK\r\n"
    assert connection.is_finished


def test_the_end_of_input_is_not_the_end_of_replies(conversation: "Conversation", request_of: "Encode") -> None:
    """A client that closed its half still gets its answers."""
    connection = conversation.connection
    conversation.send(request_of(b"SET", b"k", b"v") + request_of(b"GET", b"k"))
    connection.client.is_at_end = True
    assert not connection.is_finished
    output = b""
    while conversation.node.waiting:
        conversation.node.answer()
        output += conversation.take()
    assert output == b"+OK\r\n$1\r\nv\r\n"
    assert connection.is_finished


def test_garbage_is_answered_behind_what_came_before(conversation: "Conversation", request_of: "Encode") -> None:
    """A protocol error ends the connection, but only after the commands before it are answered."""
    conversation.send(request_of(b"SET", b"k", b"v") + b"*1\r\nxyz\r\n" + request_of(b"SET", b"k", b"w"))
    assert len(conversation.node.waiting) == 1
    conversation.node.answer()
    assert conversation.take() == b"+OK\r\n-ERR Protocol error: expected '$', got 'x'\r\n"
    assert conversation.connection.is_finished


def test_a_browser_is_turned_away(conversation: "Conversation") -> None:
    """The lines of an HTTP request are not carried out as commands."""
    assert conversation.raw(b"POST / HTTP/1.1\r\nSET k stolen\r\n") == b""
    assert conversation.connection.is_finished
    assert conversation.node.log == []


def test_only_so_much_is_under_way(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """A long pipeline is carried out in portions; the rest waits unread, and everything is answered in the end."""
    talk = new_conversation(limits=Limits(pipeline_max=10))
    data = b"".join(request_of(b"SET", b"k%d" % number, b"v" * 100) for number in range(1000))
    talk.send(data)
    assert len(talk.node.waiting) == 10
    assert talk.connection.intake.has_backlog
    output = b""
    while talk.node.waiting:
        assert len(talk.node.waiting) <= 10
        talk.node.answer()
        output += talk.take()
    assert output == b"+OK\r\n" * 1000
    assert not talk.connection.intake.has_backlog


def test_only_so_many_bytes_are_under_way(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """Large writes wait for each other, large local replies for the writes before them."""
    talk = new_conversation(limits=Limits(pipeline_bytes=100_000))
    for number in range(20):
        talk.send(request_of(b"SET", b"k%d" % number, b"v" * 30_000))
    assert len(talk.node.waiting) == 4
    talk = new_conversation(limits=Limits(pipeline_bytes=100_000))
    talk.send(request_of(b"SET", b"k", b"v"))
    for _ in range(20):
        talk.send(request_of(b"ECHO", b"v" * 30_000))
    assert len(talk.connection._slots) == 5
    assert talk.raw(b"").count(b"v" * 30_000) == 20
    talk = new_conversation(limits=Limits(pipeline_bytes=100_000))
    for _ in range(5):
        talk.send(request_of(b"EXISTS", *[b""] * 15_000))
    assert len(talk.connection._slots) == 1
    assert talk.raw(b"") == b":0\r\n" * 5


def test_reads_stop_while_replies_cannot_leave(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """A client that does not read its replies makes the server hold about as much as is allowed, not all of them."""
    limits = Limits(output_pause_bytes=100_000)
    talk = new_conversation(limits=limits)
    talk.ask(b"SET", b"k", b"v" * 30_000)
    talk.connection.feed(request_of(b"GET", b"k") * 100)
    talk.node.answer()
    talk.connection.is_output_blocked = True
    talk.connection.turn()
    held = talk.take()
    assert 100_000 <= len(held) <= 140_000
    talk.node.answer_all()
    assert talk.take() == b""
    talk.connection.is_output_blocked = False
    talk.connection.turn()
    output = held + talk.raw(b"")
    assert output.count(b"v" * 30_000) == 100


def test_one_turn_carries_out_a_bounded_number_of_commands(new_conversation: "NewConversation") -> None:
    """Ten thousand PINGs in one piece are answered in several turns, between which others get theirs."""
    talk = new_conversation()
    talk.connection.feed(b"PING\r\n" * 10_000)
    first = talk.connection.take_output()
    assert first.count(b"+PONG\r\n") <= 1024
    assert talk.ready == [talk.connection]
    assert (first + talk.take()).count(b"+PONG\r\n") == 10_000


@pytest.mark.parametrize("name", [b"SET", b"APPEND", b"ECHO"])
def test_what_is_too_large_is_refused_alone(new_conversation: "NewConversation", name: bytes) -> None:
    """A value or key above its limit is refused by name; the connection lives on."""
    talk = new_conversation(limits=Limits(value_bytes_max=200_000, key_bytes_max=100_000, request_bytes_max=1 << 20))
    args = [name, b"k", b"v" * 200_001] if name != b"ECHO" else [name, b"v" * 200_001]
    assert talk.ask(*args) == b"-ERR a value of 200001 bytes is above the limit of 200000\r\n"
    assert talk.ask(b"SET", b"k" * 100_001, b"v").startswith(b"-ERR a key of 100001 bytes")
    assert talk.ask(b"GET", b"k" * 100_001).startswith(b"-ERR a key of 100001 bytes")
    assert talk.ask(b"SET", b"k", b"v" * 200_000) == b"+OK\r\n"
    assert talk.ask(b"ECHO", b"v" * (1 << 20) + b"v").startswith(b"-ERR Protocol error: invalid bulk length")
    assert talk.connection.is_finished


def test_an_abandoned_connection_wants_nothing_more(conversation: "Conversation", request_of: "Encode") -> None:
    """Answers that come after the client has gone are dropped."""
    conversation.send(request_of(b"SET", b"k", b"v") + request_of(b"GET", b"k"))
    conversation.connection.abandon()
    conversation.node.answer_all()
    assert conversation.ready == []
    assert conversation.take() == b""
    assert conversation.ask(b"PING") == b""


def test_a_faulty_command_is_an_error_not_an_end(conversation: "Conversation", monkeypatch: pytest.MonkeyPatch) -> None:
    """If a command's function raises, that command is answered with an error, and nobody else is harmed."""

    def broken(*_args: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(PLANS[b"STRLEN"], "read", broken)
    monkeypatch.setattr(PLANS[b"ECHO"], "local", broken)
    assert conversation.ask(b"STRLEN", b"k").startswith(b"-ERR internal error")
    assert conversation.ask(b"ECHO", b"k").startswith(b"-ERR internal error")
    assert conversation.ask(b"PING") == b"+PONG\r\n"


def test_clients_are_seen_by_others(conversation: "Conversation") -> None:
    """What a client says of itself, and what it did last, is listed."""
    conversation.ask(b"CLIENT", b"SETNAME", b"worker")
    conversation.ask(b"CLIENT", b"SETINFO", b"LIB-NAME", b"redis-py")
    listed = conversation.ask(b"CLIENT", b"LIST")
    assert b" name=worker " in listed
    assert b"lib-name=redis-py" in listed
    assert b"cmd=client|list" in listed


def test_tests_use_the_real_thing(conversation: "Conversation", clock: "FakeClock") -> None:
    """The stand-in for the node applies commands with the machine that ships, at the clock's time."""
    assert isinstance(conversation.connection, Connection)
    conversation.ask(b"SET", b"k", b"v", b"PX", b"7")
    assert conversation.ask(b"PEXPIRETIME", b"k") == b":%d\r\n" % (clock.now_ms + 7)
