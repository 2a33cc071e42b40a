"""RESP3 replies as RESP2 clients get them."""

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.kv.resp import replies
from raftline.kv.resp.downgrade import as_resp3, downgrade


@pytest.mark.parametrize(
    ("reply", "old"),
    [
        (b"+OK\r\n", b"+OK\r\n"),
        (b":5\r\n", b":5\r\n"),
        (b"-ERR x\r\n", b"-ERR x\r\n"),
        (b"$3\r\n_\r\n\r\n", b"$3\r\n_\r\n\r\n"),
        (b"_\r\n", b"$-1\r\n"),
        (b"#t\r\n", b":1\r\n"),
        (b"#f\r\n", b":0\r\n"),
        (b",1.5\r\n", b"$3\r\n1.5\r\n"),
        (b"(123456789012345678901\r\n", b"$21\r\n123456789012345678901\r\n"),
        (b"=7\r\ntxt:abc\r\n", b"$3\r\nabc\r\n"),
        (b"!7\r\nERR x\r\n\r\n", b"-ERR x\r\n\r\n"),
        (b"%1\r\n$1\r\na\r\n_\r\n", b"*2\r\n$1\r\na\r\n$-1\r\n"),
        (b"~2\r\n:1\r\n#t\r\n", b"*2\r\n:1\r\n:1\r\n"),
        (b">2\r\n+message\r\n:1\r\n", b"*2\r\n+message\r\n:1\r\n"),
        (b"*2\r\n_\r\n$1\r\na\r\n", b"*2\r\n$-1\r\n$1\r\na\r\n"),
        (b"*1\r\n*1\r\n%1\r\n+a\r\n~0\r\n", b"*1\r\n*1\r\n*2\r\n+a\r\n*0\r\n"),
        (b"*1\r\n$5\r\na\n_\r\n\r\n", b"*1\r\n$5\r\na\n_\r\n\r\n"),
        (b"|1\r\n+ttl\r\n:5\r\n+value\r\n", b"+value\r\n"),
        (b"*1\r\n$-1\r\n", b"*1\r\n$-1\r\n"),
        (b"*0\r\n", b"*0\r\n"),
    ],
)
def test_each_kind_has_its_old_form(reply: bytes, old: bytes) -> None:
    """Every RESP3 type becomes what Redis sends to a client that did not say HELLO 3."""
    assert downgrade(reply) == old


trees = st.recursive(
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=12)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.binary(max_size=4), inner, max_size=3).map(lambda d: (d,))
    ),
    max_leaves=12,
)


def encode(tree: Any) -> bytes:
    """Write nested values in RESP3; a tuple of one dictionary is a map."""
    if tree is None:
        return replies.NULL
    if isinstance(tree, int):
        return replies.integer(tree)
    if isinstance(tree, bytes):
        return replies.bulk(tree)
    if isinstance(tree, tuple):
        return replies.mapping((replies.bulk(key), encode(value)) for key, value in tree[0].items())
    return replies.array([encode(item) for item in tree])


def flat(tree: Any) -> Any:
    """Return what a RESP2 client sees: maps as flat lists."""
    if isinstance(tree, tuple):
        return [part for key, value in tree[0].items() for part in (key, flat(value))]
    return [flat(item) for item in tree] if isinstance(tree, list) else tree


@given(trees)
def test_nested_values_keep_their_meaning(tree: Any) -> None:
    """However values are nested, a RESP2 client reads the same ones, maps as flat arrays."""
    reader = hiredis.Reader()
    reader.feed(downgrade(encode(tree)))
    assert reader.gets() == flat(tree)


def test_pairs_are_flat_in_resp2_and_nested_in_resp3() -> None:
    """RESP3 has arrays of two where RESP2 has one flat array, at the top and within others; each has its null array."""
    pairs = b"&2\r\n*2\r\n$1\r\na\r\n,1.5\r\n*2\r\n$4\r\n\n&3\r\r\n,inf\r\n"
    nested = b"*2\r\n*2\r\n$1\r\na\r\n,1.5\r\n*2\r\n$4\r\n\n&3\r\r\n,inf\r\n"
    flat = b"*4\r\n$1\r\na\r\n$3\r\n1.5\r\n$4\r\n\n&3\r\r\n$3\r\ninf\r\n"
    assert downgrade(pairs) == flat
    assert as_resp3(pairs) == nested
    assert downgrade(b"*2\r\n" + pairs + b"&-1\r\n") == b"*2\r\n" + flat + b"*-1\r\n"
    assert as_resp3(b"*2\r\n" + pairs + b"&-1\r\n") == b"*2\r\n" + nested + b"_\r\n"
    assert as_resp3(b"%1\r\n+k\r\n" + pairs) == b"%1\r\n+k\r\n" + nested
    assert (downgrade(b"&-1\r\n"), as_resp3(b"&-1\r\n")) == (b"*-1\r\n", b"_\r\n")
    assert as_resp3(b"$4\r\n\n&3\r\r\n") == b"$4\r\n\n&3\r\r\n"
