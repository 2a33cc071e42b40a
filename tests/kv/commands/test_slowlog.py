"""SLOWLOG as clients see it, and what is measured: from being taken up until the reply is known."""

from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from raftline.kv.limits import Limits

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock


def _parsed(reply: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(reply)
    return reader.gets()


def _request(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


def _slowly(conversation: "Conversation", clock: "FakeClock", ms: int, *args: bytes) -> None:
    """Send a command whose answer comes after `ms`."""
    conversation.send(_request(*args))
    clock.now_ms += ms
    assert conversation.raw(b"")


def test_writes_and_reads_that_took_long_are_kept(conversation: "Conversation", clock: "FakeClock") -> None:
    """The way through the log counts, the usual 10 ms are the bound."""
    conversation.ask(b"CLIENT", b"SETNAME", b"me")
    _slowly(conversation, clock, 9, b"set", b"k", b"quick")
    _slowly(conversation, clock, 12, b"set", b"k", b"v")
    _slowly(conversation, clock, 25, b"GET", b"k")
    entries = _parsed(conversation.ask(b"SLOWLOG", b"GET"))
    assert entries == [
        [1, 1000, 25_000, [b"GET", b"k"], b"127.0.0.1:5000", b"me"],
        [0, 1000, 12_000, [b"SET", b"k", b"v"], b"127.0.0.1:5000", b"me"],
    ]


def test_get_takes_a_count(conversation: "Conversation", clock: "FakeClock") -> None:
    """Ten unless told otherwise, all with -1."""
    for number in range(12):
        _slowly(conversation, clock, 50, b"SET", b"k", b"%d" % number)
    assert len(_parsed(conversation.ask(b"SLOWLOG", b"GET"))) == 10
    assert len(_parsed(conversation.ask(b"SLOWLOG", b"GET", b"-1"))) == 12
    assert [entry[3][2] for entry in _parsed(conversation.ask(b"SLOWLOG", b"GET", b"2"))] == [b"11", b"10"]
    assert _parsed(conversation.ask(b"SLOWLOG", b"LEN")) == 12
    assert conversation.ask(b"SLOWLOG", b"RESET") == b"+OK\r\n"
    assert _parsed(conversation.ask(b"SLOWLOG", b"LEN")) == 0


def test_wrong_counts_are_refused_as_redis_does(conversation: "Conversation") -> None:
    """Numbers from -1 on, one of them."""
    assert conversation.ask(b"SLOWLOG", b"GET", b"-2") == b"-ERR count should be greater than or equal to -1\r\n"
    assert conversation.ask(b"SLOWLOG", b"GET", b"x") == b"-ERR value is not an integer or out of range\r\n"
    assert conversation.ask(b"SLOWLOG", b"GET", b"1", b"2").startswith(b"-ERR wrong number of arguments")


@pytest.mark.parametrize("limits", [Limits(slowlog_log_slower_than=-1)])
def test_it_can_be_switched_off(conversation: "Conversation", clock: "FakeClock", limits: Limits) -> None:
    """-1 keeps nothing, however long it took; CONFIG GET says so."""
    assert limits.slowlog_log_slower_than == -1
    _slowly(conversation, clock, 10_000, b"SET", b"k", b"v")
    assert _parsed(conversation.ask(b"SLOWLOG", b"LEN")) == 0
    found = _parsed(conversation.ask(b"CONFIG", b"GET", b"slowlog*"))
    assert found == [b"slowlog-log-slower-than", b"-1", b"slowlog-max-len", b"128"]


@pytest.mark.parametrize("limits", [Limits(slowlog_log_slower_than=0, slowlog_max_len=3)])
def test_zero_keeps_every_command_up_to_the_length(conversation: "Conversation", limits: Limits) -> None:
    """What clients asked of the store is kept, what concerns the connection alone is not."""
    assert limits.slowlog_max_len == 3
    for number in range(5):
        conversation.ask(b"SET", b"k", b"%d" % number)
        conversation.ask(b"PING")
    kept = _parsed(conversation.ask(b"SLOWLOG", b"GET"))
    assert [(entry[0], entry[3][2]) for entry in kept] == [(4, b"4"), (3, b"3"), (2, b"2")]


def test_of_commands_answered_together_the_first_stands_for_all(
    conversation: "Conversation", clock: "FakeClock"
) -> None:
    """A slow pipeline is one entry, so that an overloaded node does not spend its time on the log of it."""
    conversation.send(_request(b"SET", b"k", b"1") + _request(b"SET", b"k", b"2") + _request(b"SET", b"k", b"3"))
    clock.now_ms += 40
    conversation.raw(b"")
    assert [entry[3] for entry in _parsed(conversation.ask(b"SLOWLOG", b"GET"))] == [[b"SET", b"k", b"1"]]
