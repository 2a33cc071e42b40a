"""String commands where time and limits matter; their replies are compared with Redis in test_against_redis."""

from typing import TYPE_CHECKING

import pytest

from raftline.kv.commands import strings

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock


def deadline_of(conversation: "Conversation", key: bytes) -> bytes:
    """Return the reply to PEXPIRETIME."""
    return conversation.ask(b"PEXPIRETIME", key)


@pytest.mark.parametrize(
    ("options", "deadline"),
    [
        ((b"EX", b"10"), b":1010000\r\n"),
        ((b"px", b"10"), b":1000010\r\n"),
        ((b"EXAT", b"2000"), b":2000000\r\n"),
        ((b"PXAT", b"2000001"), b":2000001\r\n"),
        ((b"KEEPTTL",), b":1000500\r\n"),
        ((b"XX", b"GET"), b":-1\r\n"),
        ((), b":-1\r\n"),
    ],
)
def test_set_leaves_the_deadline_it_says(
    conversation: "Conversation", options: tuple[bytes, ...], deadline: bytes
) -> None:
    """Relative times count from the log's time, KEEPTTL keeps, anything else takes the deadline away."""
    conversation.ask(b"SET", b"k", b"old", b"PX", b"500")
    conversation.ask(b"SET", b"k", b"new", *options)
    assert conversation.ask(b"GET", b"k") == b"$3\r\nnew\r\n"
    assert deadline_of(conversation, b"k") == deadline


@pytest.mark.parametrize("write", [(b"INCR", b"k"), (b"APPEND", b"k", b"1"), (b"DECRBY", b"k", b"2")])
def test_changing_a_value_keeps_its_deadline(conversation: "Conversation", write: tuple[bytes, ...]) -> None:
    """Only a new value makes a key forget when it expires."""
    conversation.ask(b"SET", b"k", b"5", b"PX", b"500")
    conversation.ask(*write)
    assert deadline_of(conversation, b"k") == b":1000500\r\n"


@pytest.mark.parametrize("write", [(b"GETSET", b"k", b"v"), (b"MSET", b"k", b"v"), (b"GETEX", b"k", b"PERSIST")])
def test_a_new_value_has_no_deadline(conversation: "Conversation", write: tuple[bytes, ...]) -> None:
    """GETSET and MSET set anew; GETEX PERSIST says so."""
    conversation.ask(b"SET", b"k", b"5", b"PX", b"500")
    conversation.ask(*write)
    assert deadline_of(conversation, b"k") == b":-1\r\n"


def test_an_expired_key_counts_as_missing(conversation: "Conversation", clock: "FakeClock") -> None:
    """For NX, XX, GET, INCR, APPEND, DEL and GETDEL an expired key is not there, removed or not."""
    for key in (b"a", b"b", b"c", b"d", b"e", b"f", b"g"):
        conversation.ask(b"SET", key, b"5", b"PX", b"500")
    clock.now_ms += 500
    assert conversation.ask(b"SET", b"a", b"v", b"XX") == b"$-1\r\n"
    assert conversation.ask(b"SET", b"b", b"v", b"NX", b"GET") == b"$-1\r\n"
    assert conversation.ask(b"GET", b"b") == b"$1\r\nv\r\n"
    assert conversation.ask(b"INCR", b"c") == b":1\r\n"
    assert conversation.ask(b"APPEND", b"d", b"xy") == b":2\r\n"
    assert conversation.ask(b"DEL", b"e", b"f") == b":0\r\n"
    assert conversation.ask(b"GETDEL", b"g") == b"$-1\r\n"
    assert deadline_of(conversation, b"c") == b":-1\r\n"


def test_a_deadline_that_has_passed_removes_the_key(conversation: "Conversation") -> None:
    """SET and GETEX with a moment in the past leave nothing."""
    assert conversation.ask(b"SET", b"k", b"v", b"PXAT", b"999999") == b"+OK\r\n"
    assert conversation.ask(b"EXISTS", b"k") == b":0\r\n"
    conversation.ask(b"SET", b"k", b"v")
    assert conversation.ask(b"GETEX", b"k", b"EXAT", b"1") == b"$1\r\nv\r\n"
    assert conversation.ask(b"EXISTS", b"k") == b":0\r\n"


def test_no_value_grows_without_end(conversation: "Conversation", monkeypatch: pytest.MonkeyPatch) -> None:
    """APPEND refuses what would be too large for Redis, too."""
    monkeypatch.setattr(strings, "STRING_BYTES_MAX", 10)
    assert conversation.ask(b"APPEND", b"k", b"12345") == b":5\r\n"
    assert conversation.ask(b"APPEND", b"k", b"67890") == b":10\r\n"
    assert conversation.ask(b"APPEND", b"k", b"x").startswith(b"-ERR string exceeds maximum allowed size")
    assert conversation.ask(b"STRLEN", b"k") == b":10\r\n"


def test_one_mget_cannot_ask_for_everything(conversation: "Conversation", monkeypatch: pytest.MonkeyPatch) -> None:
    """Naming one large value many times does not make a reply of any size."""
    monkeypatch.setattr(strings, "MGET_REPLY_BYTES_MAX", 100)
    conversation.ask(b"SET", b"k", b"v" * 40)
    assert conversation.ask(b"MGET", b"k", b"k", b"nosuch").startswith(b"*3\r\n")
    assert conversation.ask(b"MGET", b"k", b"k", b"k").startswith(b"-ERR the values together are larger")
