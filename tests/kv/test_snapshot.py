"""Snapshots: the state as of the call, in bounded chunks, whatever happens while they are read."""

import gc

from raftline.kv.snapshot import decode_header, decode_records
from raftline.kv.store import Store


def content(chunks: list[bytes]) -> dict[bytes, tuple[bytes, int]]:
    """Return the keys, values and deadlines in chunks."""
    found: dict[bytes, tuple[bytes, int]] = {}
    for chunk in chunks[1:]:
        for _, records in decode_records(chunk):
            for record in records:
                before = found.get(record.key, (b"", 0))[0]
                found[record.key] = (before + record.value, record.deadline_ms)
    return found


def test_later_writes_are_not_in_it() -> None:
    """New, changed, expired, deleted and flushed keys are as they were when the snapshot was asked for."""
    store = Store()
    expected = {}
    for number in range(9000):
        key = b"k%d" % number
        store.put(key, b"old")
        expected[key] = (b"old", 0)
    store.expire_at(b"k1", 77_000)
    expected[b"k1"] = (b"old", 77_000)
    chunks = store.snapshot()
    taken = [next(chunks), next(chunks)]
    for number in range(0, 9000, 2):
        store.put(b"k%d" % number, b"new")
    store.delete(b"k5")
    store.put(b"another", b"x")
    store.expire_at(b"k7", 80_000)
    store.persist(b"k1")
    taken.append(next(chunks))
    store.time_ms = 100_000
    store.remove_due(10)
    store.flush()
    store.put(b"k3", b"after the flush")
    while store._garbage:
        store.release_garbage()
    taken += list(chunks)
    assert content(taken) == expected
    assert decode_header(taken[0]).count == 9000


def test_chunks_are_small_whatever_the_values() -> None:
    """No chunk is above 1 MiB or 1,024 records; large values come in pieces."""
    store = Store()
    large = bytes(range(256)) * 12_000
    store.put(b"large", large)
    store.put(b"empty", b"")
    store.put(b"K" * (512 << 10), b"v" * (300 << 10))
    for number in range(10_000):
        store.put(b"{same}%d" % number, b"x" * 10)
    chunks = list(store.snapshot())
    assert max(map(len, chunks)) <= 1 << 20
    assert all(sum(len(records) for _, records in decode_records(chunk)) <= 1024 for chunk in chunks[1:])
    found = content(chunks)
    assert found[b"large"] == (large, 0)
    assert found[b"empty"] == (b"", 0)
    assert len(found) == 10_003


def test_an_empty_store_has_a_header_only() -> None:
    """Nothing is something, too."""
    chunks = list(Store().snapshot())
    assert len(chunks) == 1
    assert decode_header(chunks[0]).count == 0


def test_two_at_a_time_do_not_disturb_each_other() -> None:
    """Snapshots of different moments each keep their own."""
    store = Store()
    store.put(b"a", b"1")
    first = store.snapshot()
    store.put(b"a", b"2")
    second = store.snapshot()
    store.put(b"a", b"3")
    assert content(list(second)) == {b"a": (b"2", 0)}
    assert content(list(first)) == {b"a": (b"1", 0)}


def test_one_that_is_given_up_costs_nothing_further() -> None:
    """A finished, closed or forgotten snapshot no longer makes writes copy anything."""
    store = Store()
    store.put(b"a", b"1")
    list(store.snapshot())
    forgotten = store.snapshot()
    next(forgotten)
    del forgotten
    closed = store.snapshot()
    closed.close()
    assert list(closed) == []
    never_begun = store.snapshot()
    del never_begun
    gc.collect()
    assert store._frozen == []
