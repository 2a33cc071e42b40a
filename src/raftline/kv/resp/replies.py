"""Replies as RESP3 bytes: the one form in which results are made, sent between nodes, remembered and compared.

A client that speaks RESP2 gets them through `downgrade`, at the very end. Nothing here knows what a command is.
There is one type beside those of RESP3, which no client sees: pairs, `&`, which RESP3 has as arrays of two within an
array, RESP2 as one flat array; `&-1` is the null array.
"""

from collections.abc import Iterable, Sequence

__all__ = [
    "EMPTY_ARRAY",
    "EMPTY_BULK",
    "NULL",
    "NULL_ARRAY",
    "OK",
    "ONE",
    "PONG",
    "ZERO",
    "array",
    "bulk",
    "bulk_array",
    "bulk_or_null",
    "double",
    "error",
    "integer",
    "mapping",
    "pairs",
    "set_of",
    "shown",
    "simple",
    "verbatim",
]

OK = b"+OK\r\n"
PONG = b"+PONG\r\n"
NULL = b"_\r\n"
NULL_ARRAY = b"&-1\r\n"
"""Null where an array is usual: RESP2 has a null of its own for that."""
ZERO = b":0\r\n"
ONE = b":1\r\n"
EMPTY_ARRAY = b"*0\r\n"
EMPTY_BULK = b"$0\r\n\r\n"

_LINE_BREAKS = str.maketrans("\r\n", "  ")


def simple(text: str) -> bytes:
    """Return a simple string; `text` is one line."""
    assert "\r" not in text, "a simple string is one line"
    assert "\n" not in text, "a simple string is one line"
    return b"+%b\r\n" % text.encode()


def error(text: str) -> bytes:
    """Return an error; `text` begins with its code, as in `ERR syntax error`. Line breaks become blanks."""
    return b"-%b\r\n" % text.strip("\r\n").translate(_LINE_BREAKS).encode("utf-8", "surrogateescape")


def shown(argument: bytes, bytes_max: int = 1 << 10) -> str:
    """Return an argument as errors quote it: cut short, and at a NUL byte, as C sees it."""
    return argument.partition(b"\0")[0][:bytes_max].decode("utf-8", "surrogateescape")


def integer(number: int) -> bytes:
    """Return an integer."""
    return b":%d\r\n" % number


def bulk(value: bytes) -> bytes:
    """Return a string of any bytes."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def bulk_or_null(value: bytes | None) -> bytes:
    """Return a string, or null for None."""
    return NULL if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(items: Sequence[bytes]) -> bytes:
    """Return an array of items that are replies already."""
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def bulk_array(values: Sequence[bytes]) -> bytes:
    """Return an array of strings."""
    return b"*%d\r\n%b" % (len(values), b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in values]))


def mapping(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a map; keys and values are replies already."""
    parts = [key + value for key, value in pairs]
    return b"%%%d\r\n%b" % (len(parts), b"".join(parts))


def pairs(items: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return pairs, which are replies already; `&` is made what the client's protocol has for it at the very end."""
    return b"&%d\r\n%b" % (len(items), b"".join([b"*2\r\n%b%b" % pair for pair in items]))


def double(number: float) -> bytes:
    """Return a 64-bit float, with 17 significant digits, which are enough to read the same float back."""
    return b",%.17g\r\n" % number


def set_of(items: Sequence[bytes]) -> bytes:
    """Return a set of items that are replies already, all different."""
    return b"~%d\r\n%b" % (len(items), b"".join(items))


def verbatim(text: str) -> bytes:
    """Return text for people to read, as INFO does."""
    data = text.encode()
    return b"=%d\r\ntxt:%b\r\n" % (len(data) + 4, data)
