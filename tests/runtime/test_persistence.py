"""Batches on their way to disk: what waits goes out together, and nothing leaves before its batch is there."""

from typing import Any

from raftline.core.entries import Entry
from raftline.core.ready import Ready
from raftline.errors import StorageError
from raftline.runtime.persistence import Persistence


class _Bench:
    """A disk that finishes when told to."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Any, Any]] = []
        self.written: list[list[int]] = []
        self.durable: list[list[int]] = []
        self.failures: list[BaseException] = []
        wal: Any = self
        disk: Any = self
        self.persistence = Persistence(
            0, wal, disk, lambda batch: self.durable.append([ready.number for ready in batch]), self.failures.append
        )

    def submit(self, work: Any, done: Any) -> None:
        self.under_way.append((work, done))

    def append(self, writes: list[Any]) -> None:
        self.written.append([write.entries[0].index for write in writes])

    def finish(self, error: BaseException | None = None) -> None:
        work, done = self.under_way.pop(0)
        work()
        done(error)

    def persist(self, number: int, *, empty: bool = False) -> bool:
        entries = () if empty else (Entry(number, 1, b""),)
        return self.persistence.persist(Ready(number, entries=entries))


def test_what_comes_during_a_write_goes_out_in_the_next_one() -> None:
    """Group commit: one write and one fsync for all that waited, in their order (C2)."""
    bench = _Bench()
    assert not bench.persist(1)
    for number in (2, 3, 4):
        assert not bench.persist(number)
    assert len(bench.under_way) == 1
    bench.finish()
    assert bench.durable == [[1]]
    bench.finish()
    assert bench.durable == [[1], [2, 3, 4]]
    assert bench.written == [[1], [2, 3, 4]]
    assert bench.persistence.batches == 2
    assert not bench.under_way


def test_nothing_to_write_waits_only_for_what_is_under_way() -> None:
    """Its messages speak of what came before it (C2)."""
    bench = _Bench()
    assert bench.persist(1, empty=True)
    assert not bench.persist(2)
    assert not bench.persist(3, empty=True)
    bench.finish()
    assert bench.durable == [[2, 3]]
    assert bench.persist(4, empty=True)
    assert not bench.under_way


def test_after_a_failure_nothing_more_is_said() -> None:
    """What is on disk is not known any more (C2)."""
    bench = _Bench()
    bench.persist(1)
    error = StorageError("no space")
    bench.finish(error)
    assert bench.failures == [error]
    assert not bench.durable
