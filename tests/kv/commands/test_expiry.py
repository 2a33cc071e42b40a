"""Deadlines: conditions, units and what reading them says."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock

OLD = b"2000000"
EARLIER, LATER = b"1500000", b"2500000"


@pytest.mark.parametrize(
    ("has_deadline", "new", "condition", "done"),
    [
        (True, LATER, b"NX", False),
        (False, LATER, b"NX", True),
        (True, LATER, b"XX", True),
        (False, LATER, b"XX", False),
        (True, LATER, b"GT", True),
        (True, EARLIER, b"GT", False),
        (True, OLD, b"GT", False),
        (False, LATER, b"GT", False),
        (True, LATER, b"LT", False),
        (True, EARLIER, b"LT", True),
        (True, OLD, b"LT", False),
        (False, LATER, b"LT", True),
    ],
)
def test_conditions_compare_with_the_old_deadline(
    conversation: "Conversation", *, has_deadline: bool, new: bytes, condition: bytes, done: bool
) -> None:
    """No deadline counts as an infinite one; NX wants none, XX one, GT a later, LT an earlier one."""
    conversation.ask(b"SET", b"k", b"v", *([b"PXAT", OLD] if has_deadline else []))
    before = conversation.ask(b"PEXPIRETIME", b"k")
    assert conversation.ask(b"PEXPIREAT", b"k", new, condition) == b":%d\r\n" % done
    assert conversation.ask(b"PEXPIRETIME", b"k") == (b":%b\r\n" % new if done else before)


@pytest.mark.parametrize(
    ("command", "amount", "deadline"),
    [
        (b"EXPIRE", b"10", b":1010000\r\n"),
        (b"PEXPIRE", b"10", b":1000010\r\n"),
        (b"EXPIREAT", b"1234", b":1234000\r\n"),
        (b"PEXPIREAT", b"1234567", b":1234567\r\n"),
    ],
)
def test_units_and_beginnings(conversation: "Conversation", command: bytes, amount: bytes, deadline: bytes) -> None:
    """Seconds or milliseconds, from now or since 1970."""
    conversation.ask(b"SET", b"k", b"v")
    assert conversation.ask(command, b"k", amount) == b":1\r\n"
    assert conversation.ask(b"PEXPIRETIME", b"k") == deadline


def test_remaining_time_counts_down_by_the_readers_clock(conversation: "Conversation", clock: "FakeClock") -> None:
    """TTL rounds to the nearest second, PTTL does not; neither is ever negative for a key that is alive."""
    conversation.ask(b"SET", b"k", b"v", b"PX", b"2600")
    assert conversation.ask(b"TTL", b"k") == b":3\r\n"
    clock.now_ms += 1200
    assert conversation.ask(b"PTTL", b"k") == b":1400\r\n"
    assert conversation.ask(b"TTL", b"k") == b":1\r\n"
    assert conversation.ask(b"EXPIRETIME", b"k") == b":1003\r\n"
    clock.now_ms -= 100_000
    assert conversation.ask(b"PTTL", b"k") == b":2600\r\n"
    assert conversation.ask(b"TTL", b"nosuch") == b":-2\r\n"
    conversation.ask(b"PERSIST", b"k")
    assert conversation.ask(b"PTTL", b"k") == b":-1\r\n"


def test_a_moment_that_has_passed_removes_the_key(conversation: "Conversation") -> None:
    """The command did something, and the key is gone."""
    conversation.ask(b"SET", b"k", b"v")
    assert conversation.ask(b"EXPIREAT", b"k", b"1") == b":1\r\n"
    assert conversation.ask(b"EXISTS", b"k") == b":0\r\n"
    assert conversation.ask(b"EXPIREAT", b"k", b"1") == b":0\r\n"


def test_an_expired_key_cannot_be_brought_back(conversation: "Conversation", clock: "FakeClock") -> None:
    """EXPIRE and PERSIST after the deadline find nothing, also before the key was removed."""
    for key in (b"a", b"b"):
        conversation.ask(b"SET", key, b"v", b"PX", b"100")
    clock.now_ms += 100
    assert conversation.ask(b"PERSIST", b"a") == b":0\r\n"
    assert conversation.ask(b"EXPIRE", b"b", b"100") == b":0\r\n"
    assert conversation.ask(b"EXISTS", b"a", b"b") == b":0\r\n"
