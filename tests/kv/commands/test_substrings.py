"""Parts of strings where Redis is no help: limits; replies are compared with Redis's elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.kv.commands import substrings
from raftline.kv.commands.strings import STRING_BYTES_MAX
from raftline.kv.store import Store

texts = st.text("abc", max_size=12).map(str.encode)


def test_a_deadline_stays_and_memory_is_counted() -> None:
    """SETRANGE changes the value only."""
    store = Store()
    store.put(b"k", b"abc")
    store.expire_at(b"k", 500)
    before = store.used_bytes
    assert substrings.setrange(store, [b"SETRANGE", b"k", b"5", b"xy"], 0) == b":7\r\n"
    assert (store.get(b"k"), store.deadline_ms(b"k")) == (b"abc\0\0xy", 500)
    assert store.used_bytes == before + 4


def test_no_value_grows_beyond_the_limit() -> None:
    """An offset does not make a value larger than 512 MiB."""
    store = Store()
    for offset in (STRING_BYTES_MAX, 2**63 - 1):
        reply = substrings.setrange(store, [b"SETRANGE", b"k", b"%d" % offset, b"x"], 0)
        assert reply == b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
    assert store.count == 0


@given(texts, texts)
def test_what_two_strings_have_in_common(first: bytes, second: bytes) -> None:
    """It is found in both in its order, and LEN and IDX say the same."""
    store = Store()
    store.put(b"a", first)
    store.put(b"b", second)
    common = substrings.lcs(store, [b"LCS", b"a", b"b"], 0).split(b"\r\n", 1)[1][:-2]
    for text in (first, second):
        rest = iter(text)
        assert all(byte in rest for byte in common)
    assert substrings.lcs(store, [b"LCS", b"a", b"b", b"LEN"], 0) == b":%d\r\n" % len(common)
    assert substrings.lcs(store, [b"LCS", b"a", b"b", b"IDX"], 0).endswith(b"$3\r\nlen\r\n:%d\r\n" % len(common))


@pytest.mark.parametrize(("size", "is_refused"), [(1024, False), (1025, True)])
def test_a_comparison_is_bounded(size: int, *, is_refused: bool) -> None:
    """Two long strings do not hold the node up."""
    store = Store()
    store.put(b"a", b"x" * size)
    assert substrings.lcs(store, [b"LCS", b"a", b"a", b"LEN"], 0).startswith(b"-ERR the product") == is_refused
