"""Replies as RESP3 bytes, read back by hiredis."""

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.kv.resp import replies


def read(reply: bytes) -> Any:
    """Return what a client makes of one reply."""
    reader = hiredis.Reader()
    reader.feed(reply)
    value = reader.gets()
    assert not reader.has_data()
    return value


@given(st.binary())
def test_strings_come_back(value: bytes) -> None:
    """Any bytes can be a string."""
    assert read(replies.bulk(value)) == value
    assert read(replies.bulk_or_null(value)) == value


@given(st.lists(st.binary(max_size=10)))
def test_arrays_come_back(values: list[bytes]) -> None:
    """Arrays and sets of strings come back in order."""
    assert read(replies.bulk_array(values)) == values
    assert read(replies.array([replies.bulk(value) for value in values])) == values
    assert read(replies.set_of([replies.bulk(value) for value in values])) == values


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (replies.OK, b"OK"),
        (replies.PONG, b"PONG"),
        (replies.NULL, None),
        (replies.ZERO, 0),
        (replies.ONE, 1),
        (replies.EMPTY_ARRAY, []),
        (replies.EMPTY_BULK, b""),
        (replies.integer(-(2**63)), -(2**63)),
        (replies.simple("RESET"), b"RESET"),
        (replies.verbatim("two\r\nlines"), b"two\r\nlines"),
        (replies.bulk_or_null(None), None),
        (replies.mapping([(replies.bulk(b"a"), replies.ONE)]), {b"a": 1}),
    ],
)
def test_values_come_back(reply: bytes, value: object) -> None:
    """Each kind of reply means what it says."""
    assert read(reply) == value


@given(st.text())
def test_an_error_is_one_line(text: str) -> None:
    """Whatever is quoted in an error, it ends where it should."""
    reply = replies.error(f"ERR {replies.shown(text.encode('utf-8', 'surrogatepass'))}")
    assert reply.count(b"\r") == reply.count(b"\n") == 1
    assert isinstance(read(reply), hiredis.ReplyError)


def test_what_is_shown_is_short() -> None:
    """Errors quote the beginning of an argument, up to a NUL byte."""
    assert replies.shown(b"a\x00b") == "a"
    assert replies.shown(b"x" * 5000) == "x" * 1024
