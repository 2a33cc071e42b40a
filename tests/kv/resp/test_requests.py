"""Requests: any split of the bytes gives the same commands, and no header buys memory."""

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raftline.kv.limits import Limits
from raftline.kv.resp.requests import RequestParser

if TYPE_CHECKING:
    from collections.abc import Callable

    Encode = Callable[..., bytes]

arguments = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"SET", b"\r\n", b"*1\r\n$4\r\nPING\r\n", b"$3", b"x" * 5000])
)
requests = st.lists(st.lists(arguments, min_size=1, max_size=5), min_size=1, max_size=8)


def parse(pieces: list[bytes], limits: Limits | None = None) -> tuple[list[list[bytes]], RequestParser]:
    """Feed pieces one after the other."""
    parser = RequestParser(limits or Limits())
    commands = []
    for piece in pieces:
        commands += parser.feed(piece)
    return commands, parser


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut `data` at places, which may lie behind its end."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


@given(commands=requests, places=st.lists(st.integers(0, 1 << 16), max_size=12))
def test_any_split_gives_the_same_commands(commands: list[list[bytes]], places: list[int]) -> None:
    """What was encoded comes out, whatever the pieces and whatever the arguments hold."""
    data = b"".join(
        b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args) for args in commands
    )
    found, parser = parse(cut(data, places))
    assert (found, parser.error, parser.partial_bytes) == (commands, None, 0)
    assert parser.parsed_count == len(commands)


def encoded(parts: list[list[bytes] | bytes]) -> bytes:
    """Return commands as clients send them, and what is bytes as it is."""
    return b"".join(
        part
        if isinstance(part, bytes)
        else b"*%d\r\n" % len(part) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in part)
        for part in parts
    )


headers = st.sampled_from(
    [b"*1\r\n", b"*2\r\n", b"*01\r\n", b"*\r\n", b"$4\r\n", b"$04\r\n", b"$-1\r\n", b"$+4\r\n", b"$4 \r\n"]
)
pieces_of_requests = st.one_of(
    headers,
    st.sampled_from([b"PING\r\n", b"ping", b"\r\n", b"\r", b"$", b"*0\r\n", b"x" * 3000]),
    st.binary(max_size=6),
)


@example([b"*1\r\n", b"\r\n"], 0)
@given(
    st.lists(st.one_of(st.lists(arguments, min_size=1, max_size=4), pieces_of_requests), max_size=8), st.integers(0, 2)
)
def test_long_commands_are_read_by_the_same_grammar(parts: list[list[bytes] | bytes], missing: int) -> None:
    """What comes behind a long command is read from header to header: with the same outcome, be it right or wrong."""
    data = encoded(parts)
    data = data[: len(data) - missing]
    fresh, after_long = RequestParser(Limits()), RequestParser(Limits())
    long = b"x" * 9000
    assert after_long.feed(b"*2\r\n$4\r\nECHO\r\n$9000\r\n" + long + b"\r\n") == [[b"ECHO", long]]
    assert after_long._is_long
    found = [
        (parser.feed(data), parser.error, parser.partial_bytes, parser.is_amid_request)
        for parser in (fresh, after_long)
    ]
    assert found[0] == found[1]


@example([[b"SET", b"k", b"x" * 4095]], 0)
@example([[b"SET", b"k", b"x" * 4096]], 0)
@example([[b"SET", b"k", b"\r\n" * 2048]], 0)
@example([[b"x"] * 9, [b"x"] * 11], 0)
@example([[b"x" * 900] * 10], 0)
@example([[b"SET", b"k", b"x" * 2000], b"\r\n"], 0)
@example([[b"SET", b"x" * 2000, b""]], 1)
@given(
    st.lists(st.one_of(st.lists(arguments, min_size=1, max_size=12), pieces_of_requests), max_size=4), st.integers(0, 2)
)
def test_what_is_found_alone_is_what_is_parsed(parts: list[list[bytes] | bytes], missing: int) -> None:
    """Short or long, the one command that these bytes are; whatever else they may be is left to the other readers."""
    data = encoded(parts)
    data = data[: len(data) - missing]
    parser = RequestParser(Limits())
    parser._is_long = True
    alone = parser.find_alone(data)
    if alone is not None:
        assert parse([data])[0] == [alone]
        assert (parser.partial_bytes, parser.is_amid_request, parser.parsed_count) == (0, False, 1)
        assert parser.feed(b"*1\r\n$4\r\nPING\r\n") == [[b"PING"]]
    else:
        assert parser.parsed_count == 0
        assert not (len(parts) == 1 and isinstance(parts[0], list) and is_easy(parts[0]) and not missing)


def is_easy(args: list[bytes]) -> bool:
    """Say whether a command can be found alone: up to nine arguments, and line ends in a long last one at most."""
    breaks = [b"\r\n" in arg or arg[-1:] == b"\r" for arg in args]
    return len(args) < 10 and not any(breaks[:-1]) and (not breaks[-1] or len(args[-1]) > 1024)


def test_a_short_command_alone_ends_the_long_ones() -> None:
    """What comes behind it is split in C again: from header to header short commands take four times as long."""
    parser = RequestParser(Limits())
    parser.feed(b"*2\r\n$4\r\nECHO\r\n$9000\r\n" + b"x" * 9000 + b"\r\n")
    assert parser._is_long
    assert parser.find_alone(b"*1\r\n$4\r\nPING\r\n") == [b"PING"]
    assert not parser._is_long
    assert parser.parsed_count == 2


def test_long_commands_alone_are_looked_for_behind_long_ones() -> None:
    """Among short ones, a packet of some kilobytes is a pipeline: to look for one command in it would be in vain."""
    parser = RequestParser(Limits())
    long = encoded([[b"ECHO", b"x" * 5000]])
    medium = encoded([[b"MSET"] + [b"x" * 250] * 8])
    assert parser.find_alone(long) is None
    assert parser.feed(long) == [[b"ECHO", b"x" * 5000]]
    assert parser.find_alone(long) == [b"ECHO", b"x" * 5000]
    assert parser.find_alone(long) == [b"ECHO", b"x" * 5000]
    assert parser.find_alone(medium) is not None
    assert parser.find_alone(medium) is None
    assert parser.parsed_count == 4


def test_byte_by_byte_is_enough(request_of: "Encode") -> None:
    """A client may send single bytes."""
    data = request_of(b"SET", b"k", b"v\r\n") + b"PING\r\n" + b"*0\r\n\r\n" + request_of(b"GET", b"k")
    found, parser = parse([data[place : place + 1] for place in range(len(data))])
    assert found == [[b"SET", b"k", b"v\r\n"], [b"PING"], [b"GET", b"k"]]
    assert parser.partial_bytes == 0


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_never_raises_and_nothing_follows_an_error(pieces: list[bytes]) -> None:
    """Any bytes give commands, an error or a wait; after an error the parser is silent and empty."""
    _, parser = parse(pieces)
    assert parser.partial_bytes <= 4096
    if parser.error is not None:
        assert parser.feed(b"*1\r\n$4\r\nPING\r\n") == []
        assert parser.partial_bytes == 0


@given(st.lists(st.sampled_from([b"*", b"$", b"\r\n", b"1", b"3", b"-1", b"SET", b"+", b":", b">9", b"~", b"'"])))
def test_near_misses_never_raise(parts: list[bytes]) -> None:
    """Pieces of the grammar in the wrong order do no harm, whole or byte by byte, and mean the same both ways."""
    data = b"".join(parts)
    whole, parser = parse([data])
    single, other = parse([data[place : place + 1] for place in range(len(data))])
    assert (whole, parser.error) == (single, other.error)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"*2000000000\r\n", "invalid multibulk length"),
        (b"*1\r\n$2000000000\r\n", "invalid bulk length"),
        (b"*1\r\n$1001\r\n", "invalid bulk length"),
        (b"*2\r\n$600\r\n" + b"x" * 600 + b"\r\n$600\r\n", "invalid bulk length"),
        (b"*1\r\n*1\r\n", "expected '$', got '*'"),
        (b"*11\r\n", "invalid multibulk length"),
    ],
)
def test_limits_are_checked_by_the_header(data: bytes, error: str) -> None:
    """A request that would be too large is refused before any of it is there."""
    _, parser = parse([data], Limits(request_bytes_max=1000, args_max=10))
    assert parser.error == error
    assert parser.partial_bytes == 0


def test_a_large_value_is_held_once(request_of: "Encode") -> None:
    """While a value arrives its bytes are counted, and afterwards they are gone from the parser."""
    value = b"v" * 1_000_000
    data = request_of(b"SET", b"k", value)
    parser = RequestParser(Limits())
    found = []
    for start in range(0, len(data), 32 << 10):
        found += parser.feed(data[start : start + (32 << 10)])
        assert parser.partial_bytes < 1_100_000
    assert found == [[b"SET", b"k", value]]
    assert parser.partial_bytes == 0


def test_a_limit_within_one_piece_is_noticed(request_of: "Encode") -> None:
    """Requests above the limits are refused even if they arrive whole, in one piece with good ones."""
    good, large = request_of(b"PING"), request_of(b"ECHO", b"x" * 2000)
    found, parser = parse([good + large], Limits(request_bytes_max=1000))
    assert (found, parser.error) == ([[b"PING"]], "invalid bulk length")
    found, parser = parse([good + request_of(*[b"x"] * 20)], Limits(args_max=10))
    assert (found, parser.error) == ([[b"PING"]], "invalid multibulk length")
