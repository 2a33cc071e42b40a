"""Whatever bytes a client sends, and whatever arguments: an answer or an end, never an exception.

Each property begins with bytes that mean something, the corpus below, and damages them; random bytes alone would be
refused by their first.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.kv.client_socket import partial_bytes_of
from raftline.kv.commands.table import COMMANDS
from raftline.kv.limits import Limits

RESP_CORPUS = (
    b"PING\r\n",
    b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n",
    b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*1\r\n$4\r\nPING\r\n",
    b'SET key "a \\x41 \\n" \r\nGET key\r\n',
    b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$1\r\nx\r\n",
    b"*4\r\n$3\r\nACL\r\n$7\r\nSETUSER\r\n$5\r\nalice\r\n$3\r\n+@x\r\n",
    b"*6\r\n$13\r\nRAFTLINE.ONCE\r\n$1\r\n1\r\n$1\r\n1\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
    b"*0\r\n*-1\r\n\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)
"""Requests of all shapes: arrays, lines, nothing, and what is no request."""

Edits = list[tuple[float, str, bytes]]
edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(("flip", "cut", "repeat", "insert")), st.binary(min_size=1, max_size=6)),
    max_size=4,
)
places = st.lists(st.floats(0, 1), max_size=5)


def damaged(data: bytes, changes: Edits) -> bytes:
    """Return `data` after some changes at places between its beginning, 0, and its end, 1."""
    for place, kind, piece in changes:
        position = int(place * len(data))
        if kind == "flip":
            data = data[:position] + piece + data[position + len(piece) :]
        elif kind == "cut":
            data = data[:position] + data[position + piece[0] :]
        elif kind == "repeat":
            data = data[:position] + data[max(0, position - piece[0]) :]
        else:
            data = data[:position] + piece + data[position:]
    return data


def cut(data: bytes, marks: list[float]) -> list[bytes]:
    """Cut `data` into pieces, none of them empty."""
    ends = [0, *sorted(int(mark * len(data)) for mark in marks), len(data)]
    return [data[start:end] for start, end in pairwise(ends) if end > start]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(RESP_CORPUS), min_size=1, max_size=4), edits, places)
def test_no_request_breaks_a_connection(
    new_conversation: Callable[..., Any],
    corpus: list[bytes],
    changes: list[tuple[float, str, bytes]],
    marks: list[float],
) -> None:
    """A damaged stream of requests is answered, refused or waited for; another client notices nothing (G9)."""
    client = new_conversation(limits=Limits(request_bytes_max=4096))
    for piece in cut(damaged(b"".join(corpus), changes), marks):
        client.raw(piece)
        assert partial_bytes_of(client.connection) <= 2 * 4096
    other = type(client)(client.connection.client.server, client.node)
    assert other.ask(b"ECHO", b"still here") == b"$10\r\nstill here\r\n"


words = st.one_of(
    st.sampled_from([b"0", b"1", b"-1", b"key", b"*", b"EX", b"GET", b"", b"9" * 20, b"1e400", b"nan", b"(", b"~*"]),
    st.binary(max_size=8),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    row
                    for row in COMMANDS.values()
                    if row.task is None and row.name != "raftline.backup" and "blocking" not in row.flags
                ]
            ),
            st.lists(words, max_size=7),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_no_arguments_break_a_command(new_conversation: Callable[..., Any], asked: list[Any]) -> None:
    """Every command of the table with arguments of any kind has an answer, and never an internal error."""
    client = new_conversation()
    for row, args in asked:
        middle = [subcommand.name.partition("|")[2].encode() for subcommand in row.subcommands if not subcommand.task]
        names = [row.name.encode(), *middle[: len(args) % (len(middle) + 1)][-1:]]
        answer = client.ask(*names, *args)
        assert b"internal error" not in answer, (names, args)
        if client.connection.is_finished:
            client = new_conversation()
