"""Restoring: what a snapshot gave is taken, anything else is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.errors import ConfigError, StorageError
from raftline.kv.key_walks import alive_keys
from raftline.kv.restore import Restorer
from raftline.kv.store import Store

contents = st.dictionaries(
    st.binary(max_size=8), st.tuples(st.binary(max_size=8), st.one_of(st.none(), st.integers(1001, 10**6)))
)


def restored(chunks: list[bytes]) -> Store:
    """Return a store made of chunks, which held something else before."""
    store = Store()
    store.put(b"before", b"x")
    restorer = Restorer(store)
    for chunk in chunks:
        restorer.take(chunk)
    restorer.end()
    return store


@given(contents)
def test_a_snapshot_is_restored(content: dict[bytes, tuple[bytes, int | None]]) -> None:
    """Keys, values, deadlines, time and counters are as they were, and so is the next snapshot."""
    store = Store()
    store.time_ms = 1000
    for key, (value, deadline_ms) in content.items():
        store.put(key, value)
        if deadline_ms is not None:
            store.expire_at(key, deadline_ms)
    chunks = list(store.snapshot())
    copy = restored(chunks)
    assert {key: (copy.get(key), copy.deadline_ms(key)) for key in alive_keys(copy, 0)} == content
    assert (copy.time_ms, copy.count, copy.used_bytes) == (store.time_ms, store.count, store.used_bytes)
    assert list(copy.snapshot()) == chunks


def test_a_large_value_comes_back_whole() -> None:
    """Pieces are put together again."""
    store = Store()
    value = bytes(range(256)) * 10_000
    store.put(b"large", value)
    store.put(b"small", b"s")
    copy = restored(list(store.snapshot()))
    assert copy.get(b"large") == value
    assert copy.get(b"small") == b"s"


def test_a_piece_that_is_missing_is_noticed() -> None:
    """Fewer keys than the header says are no restore."""
    store = Store()
    for number in range(10_000):
        store.put(b"%d" % number, b"")
    chunks = list(store.snapshot())
    with pytest.raises(StorageError, match="not complete"):
        restored(chunks[:-1])
    with pytest.raises(StorageError, match="not complete"):
        restored([])


ONE_KEY = msgspec.msgpack.encode([1, 0, 1])


@pytest.mark.parametrize(
    ("chunks", "kind", "words"),
    [
        ([b"\xc1"], StorageError, "cannot be read"),
        ([msgspec.msgpack.encode([3, 0, 0])], ConfigError, "format 3, this raftline reads those up to 2: use a newer"),
        ([ONE_KEY, b"garbage"], StorageError, "cannot be read"),
        (
            [msgspec.msgpack.encode([1, 0, 1]), msgspec.msgpack.encode([[0, [[b"k", 9, 0, b""]]]])],
            ConfigError,
            "kind 9",
        ),
    ],
)
def test_what_cannot_be_a_snapshot_is_refused(chunks: list[bytes], kind: type[Exception], words: str) -> None:
    """Garbage is told from later formats and unknown kinds of values, which take a newer raftline."""
    with pytest.raises(kind, match=words):
        restored(chunks)
