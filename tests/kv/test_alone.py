"""A small command that comes alone takes a short way; what it does, and what is looked at, is what it always is."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.errors import Timeout
from raftline.kv.connection import Connection
from raftline.kv.intake import Intake
from raftline.kv.limits import Limits

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

    Encode = Callable[..., bytes]
    NewConversation = Callable[..., Conversation]

_REQUESTS = (
    (b"SET", b"k", b"v"),
    (b"set", b"n", b"1"),
    (b"sEt", b"n", b"2"),
    (b"SET", b"k", b"line\r\nends"),
    (b"SET", b"k", b"v", b"EX", b"9"),
    (b"SET", b"k"),
    (b"SET", b"k", b"x" * 900),
    (b"SET", b"k", b"x" * 4095),
    (b"SET", b"k", b"x" * 4096),
    (b"SET", b"k", b"\r\n" * 2048),
    (b"SET", b"k", b"x" * 9000),
    (b"HSET", b"h", b"x" * 5000, b"1"),
    (b"SET", b"k" * 101, b"v"),
    (b"SETEX", b"k", b"0", b"v"),
    (b"INCR", b"n"),
    (b"INCR", b"k"),
    (b"APPEND", b"k", b"v"),
    (b"MSET", *(b"%d" % number for number in range(100))),
    (b"DEL", *(b"%d" % number for number in range(70))),
    (b"GET", b"k"),
    (b"get", b"n", b"more"),
    (b"GET",),
    (b"GET", b"k" * 101),
    (b"HGETALL", b"h"),
    (b"HSET", b"h", b"f", b"1"),
    (b"LPUSH", b"k", b"x"),
    (b"KEYS", b"*"),
    (b"WATCH", b"k"),
    (b"PING",),
    (b"MULTI",),
    (b"EXEC",),
    (b"CLIENT", b"REPLY", b"OFF"),
    (b"CLIENT", b"REPLY", b"ON"),
    (b"CLIENT", b"REPLY", b"SKIP"),
    (b"SUBSCRIBE", b"c"),
    (b"UNSUBSCRIBE", b"c"),
    (b"HELLO", b"2"),
    (b"HELLO", b"3"),
    (b"CONFIG", b"SET", b"maxmemory", b"1"),
    (b"CONFIG", b"SET", b"maxmemory", b"0"),
    (b"QUIT",),
    (b"NO", b"SUCH"),
)
_LIMITS = (
    Limits(slowlog_log_slower_than=0),
    Limits(key_bytes_max=100),
    Limits(value_bytes_max=100),
    Limits(args_max=63),
    Limits(request_bytes_max=800),
    Limits(request_bytes_max=5000),
    Limits(value_bytes_max=4095),
    Limits(output_pause_bytes=1),
    Limits(pipeline_max=1, pipeline_bytes=1),
)


def _told(talk: "Conversation", request: bytes, *, in_pieces: bool, is_answered: bool = True) -> tuple[Any, ...]:
    """Return the reply to a request, and all that is known afterwards of it."""
    take = talk.raw if is_answered else talk.send
    found = talk.send(request[:3]) if in_pieces else b""
    found += take(request[3:] if in_pieces else request)
    return _known(talk, found)


def _known(talk: "Conversation", found: bytes) -> tuple[Any, ...]:
    """Return what came, and all that can be seen of the connection."""
    connection, client = talk.connection, talk.connection.client
    statistics = client.server.statistics
    return (
        re.sub(rb"id\r\n:\d+|[$=]\d+\r\nid=\d+", b"", found),
        tuple(talk.node.log),
        (client.last_command, client.pending, client.closing, connection.is_finished, connection.is_idle),
        (dict(statistics.calls), statistics.commands, statistics.failed_requests, statistics.protocol_errors),
        (connection.parser.parsed_count, connection.intake.has_backlog, connection.is_in_order),
        [(entry.arguments, entry.duration_us) for entry in client.server.slowlog.entries],
    )


@given(requests=st.lists(st.sampled_from(_REQUESTS), max_size=12), limits=st.sampled_from(_LIMITS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_it_is_carried_out_as_what_comes_in_pieces(
    new_conversation: "NewConversation", request_of: "Encode", requests: list[Any], limits: Limits
) -> None:
    """Replies, the log, limits, rights and what is counted are the same, in whatever state the connection is."""
    whole, pieces = new_conversation(limits=limits), new_conversation(limits=limits)
    for request in requests:
        data = request_of(*request)
        assert _told(whole, data, in_pieces=False) == _told(pieces, data, in_pieces=True), request


@given(
    events=st.lists(st.sampled_from((*_REQUESTS, "answer", "answer the first", "fail", "push")), max_size=16),
    limits=st.sampled_from(_LIMITS),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_so_it_is_when_answers_come_late(
    new_conversation: "NewConversation", request_of: "Encode", events: list[Any], limits: Limits
) -> None:
    """Or in part, or are failures, or something is pushed in between."""
    whole, pieces = new_conversation(limits=limits), new_conversation(limits=limits)
    for event in (*events, "answer", "answer"):
        if isinstance(event, tuple):
            data = request_of(*event)
            told = [_told(talk, data, in_pieces=talk is pieces, is_answered=False) for talk in (whole, pieces)]
        else:
            told = [_known(talk, _happen(talk, event)) for talk in (whole, pieces)]
        assert told[0] == told[1], event


def _happen(talk: "Conversation", event: str) -> bytes:
    """Let something else happen than a request; return what comes."""
    node = talk.node
    if event == "push":
        talk.connection.push(b"+pushed\r\n")
    elif event == "answer the first":
        late, node.waiting = node.waiting[1:], node.waiting[:1]
        node.answer()
        node.waiting[:0] = late
    else:
        node.answer(Timeout("no outcome in time") if event == "fail" else None)
    return talk.take()


def test_a_value_above_its_limit_is_refused_in_one_piece_too(
    new_conversation: "NewConversation", request_of: "Encode"
) -> None:
    """Also where the limit is so low that the request is shorter than the longest key may be."""
    talk = new_conversation(limits=Limits(value_bytes_max=10))
    assert talk.raw(request_of(b"SET", b"k", b"x" * 11)) == b"-ERR a value of 11 bytes is above the limit of 10\r\n"
    assert talk.raw(request_of(b"SET", b"k", b"x" * 11) * 2).count(b"above the limit of 10") == 2
    assert talk.node.log == []


def test_what_does_not_fit_is_parsed_once(conversation: "Conversation", monkeypatch: pytest.MonkeyPatch) -> None:
    """Most commands need more than the short way looks at; those go on from where it has found them."""
    monkeypatch.setattr(Intake, "feed", None)
    assert conversation.ask(b"PING") == b"+PONG\r\n"
    assert conversation.ask(b"SET", b"k", b"v", b"EX", b"9") == b"+OK\r\n"
    assert conversation.ask(b"NO", b"SUCH").startswith(b"-ERR unknown command")
    assert conversation.connection.parser.parsed_count == 3
    assert not conversation.connection.intake.has_backlog
    assert conversation.connection.intake.backlog_bytes == 0


def test_it_takes_no_turn(conversation: "Conversation", monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when it comes nor when it is answered: that is what the short way is for; long ones take it in a row."""
    assert conversation.ask(b"SET", b"k", b"x" * 5000) == b"+OK\r\n"
    monkeypatch.setattr(Connection, "turn", None)
    assert conversation.ask(b"SET", b"k", b"x" * 5000) == b"+OK\r\n"
    assert conversation.ask(b"SET", b"k", b"v") == b"+OK\r\n"
    assert conversation.ask(b"GET", b"k") == b"$1\r\nv\r\n"
    assert conversation.connection.is_idle


def test_nothing_is_carried_out_while_replies_cannot_leave(conversation: "Conversation", request_of: "Encode") -> None:
    """However small it is: the client is behind with reading, and what it asks waits."""
    conversation.connection.is_output_blocked = True
    assert conversation.raw(request_of(b"SET", b"k", b"v")) == b""
    assert conversation.node.log == []
    conversation.connection.is_output_blocked = False
    conversation.connection.turn()
    assert conversation.raw(b"") == b"+OK\r\n"


def test_nothing_is_carried_out_for_who_is_gone(conversation: "Conversation", request_of: "Encode") -> None:
    """What a socket still brings when its connection is abandoned counts no more."""
    conversation.connection.abandon()
    assert conversation.raw(request_of(b"SET", b"k", b"v")) == b""
    assert conversation.node.log == []


def test_what_the_parser_refused_is_the_end(conversation: "Conversation", request_of: "Encode") -> None:
    """Behind a request that is none nothing is one, whole as it may look."""
    assert conversation.raw(b"*1\r\n+oh\r\n").startswith(b"-ERR Protocol error")
    assert conversation.raw(request_of(b"SET", b"k", b"v")) == b""
    assert conversation.node.log == []


def test_a_failure_is_told(conversation: "Conversation", request_of: "Encode") -> None:
    """What is not known of a write is said to be unknown, and counted (G5)."""
    conversation.send(request_of(b"SET", b"k", b"v"))
    conversation.node.answer(Timeout("no outcome in time"))
    assert b"may have been applied" in conversation.take()
    assert conversation.connection.client.server.statistics.failed_requests == 1


def test_a_reply_waits_for_those_before_it(conversation: "Conversation", request_of: "Encode") -> None:
    """The second of two that came one by one is not the only one under way."""
    conversation.send(request_of(b"INCR", b"k"))
    conversation.send(request_of(b"INCR", b"k"))
    (_, first), (_, second) = conversation.node.waiting
    conversation.node.waiting = []
    second(b":2\r\n")
    assert conversation.take() == b""
    first(b":1\r\n")
    assert conversation.take() == b":1\r\n:2\r\n"


def test_a_message_and_a_reply_leave_in_order(conversation: "Conversation", request_of: "Encode") -> None:
    """What was pushed before the reply came stands before it."""
    conversation.ask(b"HELLO", b"3")
    conversation.send(request_of(b"INCR", b"k"))
    conversation.connection.push(b">1\r\n+message\r\n")
    conversation.node.answer()
    assert conversation.take() == b">1\r\n+message\r\n:1\r\n"


@pytest.mark.parametrize(
    ("args", "name", "reply"),
    [
        ((b"EXEC",), "exec", b"-ERR EXEC without MULTI\r\n"),
        ((b"RAFTLINE.ONCE", b"7", b"1", b"SET", b"k", b"v"), "raftline.once", b"+OK\r\n"),
    ],
)
def test_a_command_that_waits_is_counted_once(
    conversation: "Conversation", request_of: "Encode", args: tuple[bytes, ...], name: str, reply: bytes
) -> None:
    """However often it is looked at before those in front of it are answered."""
    conversation.send(request_of(b"GET", b"k"))
    conversation.send(request_of(*args))
    for _ in range(3):
        conversation.connection.turn()
    conversation.node.answer_all()
    told = conversation.take()
    conversation.node.answer_all()
    assert told + conversation.take() == b"$-1\r\n" + reply
    calls = conversation.connection.client.server.statistics.calls
    assert (calls["get"], calls[name]) == (1, 1)
