"""Small writes of one connection that are started together: what is looked at once for all of them still counts."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.errors import Timeout
from raftline.kv.bundles import decode_bundle
from raftline.kv.limits import Limits
from raftline.kv.machine import encode_command

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

    Encode = Callable[..., bytes]
    NewConversation = Callable[..., Conversation]


def test_small_writes_wait_for_reads_under_way(conversation: "Conversation", request_of: "Encode") -> None:
    """They would be seen by a read that was sent before them, and is asked for already."""
    conversation.raw(request_of(b"SET", b"k", b"old"))
    conversation.send(request_of(b"GET", b"k"))
    assert [command for command, _ in conversation.node.waiting] == [None]
    assert conversation.send(request_of(b"SET", b"k", b"1") + request_of(b"INCR", b"k")) == b""
    assert [command for command, _ in conversation.node.waiting] == [None]
    conversation.node.answer()
    assert conversation.take() == b"$3\r\nold\r\n"
    assert [command for command, _ in conversation.node.waiting] == [
        encode_command([b"SET", b"k", b"1"]),
        encode_command([b"INCR", b"k"]),
    ]


def test_a_long_key_among_small_writes_is_refused(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """The limit counts for each of them, and those around it are carried out."""
    talk = new_conversation(limits=Limits(key_bytes_max=100))
    found = talk.raw(b"".join(request_of(b"SET", b"k" * length, b"v") for length in (100, 101, 1)))
    first, refusal, last, end = found.split(b"\r\n")
    assert (first, last, end) == (b"+OK", b"+OK", b"")
    assert refusal == b"-ERR a key of 101 bytes is above the limit of 100"


def test_many_small_writes_are_bounded_in_bytes(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """A pipeline waits once those under way take too much memory, however small each is."""
    talk = new_conversation(limits=Limits(pipeline_bytes=10_000))
    data = b"".join(request_of(b"SET", b"k", b"v" * 1_000) for _ in range(30))
    talk.send(data)
    assert len(talk.node.waiting) == 10
    found = b""
    while talk.node.waiting:
        talk.node.answer()
        found += talk.take()
    assert found == b"+OK\r\n" * 30


def test_a_turn_starts_only_so_many(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """However much a client has sent, the others have their turns in between."""
    talk = new_conversation(limits=Limits(pipeline_max=5_000))
    for _ in range(3):
        talk.connection.intake.feed(request_of(b"SET", b"k", b"v") * 600)
    talk.connection.turn()
    assert len(talk.node.waiting) == 1024
    assert talk.ready == [talk.connection]
    talk.take()
    assert len(talk.node.waiting) == 1800


def test_each_is_counted(conversation: "Conversation", request_of: "Encode") -> None:
    """INFO commandstats and CLIENT LIST tell of writes that were started together, too."""
    statistics = conversation.connection.client.server.statistics
    conversation.raw(request_of(b"SET", b"k", b"1") * 2 + request_of(b"INCR", b"k") * 3)
    assert (statistics.calls["set"], statistics.calls["incr"], statistics.commands) == (2, 3, 5)
    assert conversation.connection.client.last_command == "incr"


class _Collecting:
    """Lets the node's turns begin when the test says so: what comes before is one entry."""

    def __init__(self, talk: "Conversation", monkeypatch: pytest.MonkeyPatch) -> None:
        self.talk = talk
        self.calls: list[Callable[[], None]] = []
        monkeypatch.setattr(talk.node, "before_turn", self.calls.append)

    def take(self) -> None:
        """Let a turn begin."""
        calls, self.calls[:] = [*self.calls], []
        for call in calls:
            call()

    def raw(self, data: bytes) -> bytes:
        """Feed bytes, let the node answer whatever it is asked, and return all output."""
        output = self.talk.send(data)
        while self.calls or self.talk.node.waiting:
            self.take()
            self.talk.node.answer()
            output += self.talk.take()
        return output


_WRITES = (
    (b"SET", b"k", b"v"),
    (b"set", b"n", b"1"),
    (b"INCR", b"n"),
    (b"INCR", b"k"),
    (b"LPUSH", b"k", b"x"),
    (b"LPUSH", b"l", b"x", b"y"),
    (b"ZINCRBY", b"z", b"1.5", b"m"),
    (b"ZADD", b"z", b"NX", b"INCR", b"1", b"m"),
    (b"ZADD", b"y", b"XX", b"INCR", b"1", b"m"),
    (b"SET", b"k", b"w", b"NX"),
    (b"SET", b"k", b"w", b"GET"),
    (b"SET", b"k", b"x" * 3000),
    (b"SET", b"k"),
    (b"DEL", b"k", b"l"),
    (b"PING",),
    (b"GET", b"n"),
    (b"HGETALL", b"h"),
    (b"HSET", b"h", b"f", b"1"),
    (b"CLIENT", b"REPLY", b"SKIP"),
    (b"MULTI",),
    (b"EXEC",),
    (b"HELLO", b"2"),
    (b"HELLO", b"3"),
    (b"NO", b"SUCH"),
)


@given(
    requests=st.lists(st.sampled_from(_WRITES), max_size=90),
    protocol=st.sampled_from([b"2", b"3"]),
    cuts=st.lists(st.integers(0, 4000), max_size=4),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_pipeline_is_answered_as_its_commands_one_by_one(
    new_conversation: "NewConversation", request_of: "Encode", requests: list[Any], protocol: bytes, cuts: list[int]
) -> None:
    """However it is cut, and whichever of its replies leave together: each has its own, in order, in its protocol."""
    hello = re.compile(rb"id\r\n:\d+|[$=]\d+\r\nid=\d+")
    with pytest.MonkeyPatch.context() as monkeypatch:
        one_by_one, at_once = (_Collecting(new_conversation(), monkeypatch) for _ in range(2))
        for each in (one_by_one, at_once):
            each.raw(request_of(b"HELLO", protocol))
        expected = b"".join(one_by_one.raw(request_of(*request)) for request in requests)
        data = b"".join(request_of(*request) for request in requests)
        found, begin = at_once.talk.take(), 0
        for end in sorted({min(cut, len(data)) for cut in cuts}):
            found += at_once.talk.send(data[begin:end])
            begin = end
        found += at_once.raw(data[begin:])
        assert hello.sub(b"", found) == hello.sub(b"", expected)
        assert at_once.talk.connection.client.pending == 0
        assert at_once.talk.connection.is_idle


def test_commands_that_share_a_place_count_one_by_one(
    new_conversation: "NewConversation", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLIENT LIST tells how many wait, and no more than `pipeline_max` do."""
    at_once = _Collecting(new_conversation(limits=Limits(pipeline_max=10)), monkeypatch)
    talk = at_once.talk
    assert talk.send(request_of(b"INCR", b"k") * 30) == b""
    assert talk.connection.client.pending == 10
    at_once.take()
    assert [len(decode_bundle(command or b"")) for command, _ in talk.node.waiting] == [10]
    talk.node.answer()
    assert talk.take() == b"".join(b":%d\r\n" % number for number in range(1, 11))
    assert talk.connection.client.pending == 10
    assert at_once.raw(b"") == b"".join(b":%d\r\n" % number for number in range(11, 31))
    assert talk.connection.client.pending == 0


def test_a_failure_is_told_to_each_of_those_that_share_a_place(
    new_conversation: "NewConversation", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of unknown outcome is every one of them (G5); and each counts."""
    at_once = _Collecting(new_conversation(), monkeypatch)
    talk = at_once.talk
    talk.send(request_of(b"INCR", b"k") * 3)
    at_once.take()
    talk.node.answer(Timeout("no outcome in time"))
    refusals = talk.take().splitlines()
    assert len(refusals) == 3
    assert {refusal[:9] for refusal in refusals} == {refusals[0][:9]}
    assert talk.connection.client.server.statistics.failed_requests == 3


def test_while_members_know_no_bundles_those_that_share_a_place_have_entries_of_their_own(
    new_conversation: "NewConversation", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their replies leave together all the same, once all of them are there."""
    at_once = _Collecting(new_conversation(), monkeypatch)
    talk = at_once.talk
    talk.node.command_version = 2
    talk.send(request_of(b"INCR", b"k") * 3)
    at_once.take()
    entries, talk.node.waiting = talk.node.waiting, []
    assert [command for command, _ in entries] == [encode_command([b"INCR", b"k"])] * 3
    for number in (2, 3, 1):  # as when the second is refused at the door while the first is still on its way
        assert talk.take() == b""
        entries[number - 1][1](b":%d\r\n" % number)
    assert talk.take() == b":1\r\n:2\r\n:3\r\n"


def test_pipelines_of_two_clients_in_one_entry_have_their_own_replies(
    new_conversation: "NewConversation", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client sends after another has sent something stands behind that."""
    first = _Collecting(new_conversation(), monkeypatch)
    service = first.talk.connection.client.server
    second = type(first.talk)(service, first.talk.node)  # type: ignore[arg-type]
    for talk in (first.talk, second, first.talk):
        assert talk.send(request_of(b"INCR", b"k") * 2) == b""
    first.take()
    assert [len(decode_bundle(command or b"")) for command, _ in first.talk.node.waiting] == [6]
    first.talk.node.answer()
    assert second.take() == b":3\r\n:4\r\n"
    assert first.talk.take() == b":1\r\n:2\r\n:5\r\n:6\r\n"
