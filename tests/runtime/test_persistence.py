"""One group's batches on their way to disk: nothing leaves before its batch is there, whoever else writes."""

from typing import Any

from raftline.core.entries import Entry
from raftline.core.ready import Ready
from raftline.errors import StorageError
from raftline.runtime.log_writer import LogWriter
from raftline.runtime.persistence import Persistence


class _Bench:
    """A disk that finishes when told to."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Any, Any]] = []
        self.written: list[list[tuple[int, int]]] = []
        self.durable: list[tuple[int, list[int]]] = []
        self.failures: list[BaseException] = []
        self.flushes = 0
        self.now = 0.0
        wal: Any = self
        disk: Any = self
        self.writer = LogWriter(wal, disk, self._flush, lambda: self.now)
        self.groups = {group: self._make(group) for group in (0, 1, 2)}

    def _make(self, group: int) -> Persistence:
        def on_durable(batch: list[Ready]) -> None:
            self.durable.append((group, [ready.number for ready in batch]))

        return Persistence(group, self.writer, on_durable, self.failures.append)

    def _flush(self) -> None:
        self.flushes += 1

    def submit(self, work: Any, done: Any) -> None:
        self.under_way.append((work, done))

    def append(self, writes: list[Any]) -> None:
        self.written.append([(write.group, write.entries[0].index) for write in writes])

    def finish(self, error: BaseException | None = None) -> None:
        work, done = self.under_way.pop(0)
        work()
        done(error)

    def persist(self, number: int, *, group: int = 0, empty: bool = False) -> bool:
        entries = () if empty else (Entry(number, 1, b""),)
        return self.groups[group].persist(Ready(number, entries=entries))


def test_what_comes_during_a_write_goes_out_in_the_next_one() -> None:
    """Group commit: one write and one fsync for all that waited, in their order (C2)."""
    bench = _Bench()
    assert not bench.persist(1)
    for number in (2, 3, 4):
        assert not bench.persist(number)
    assert len(bench.under_way) == 1
    bench.finish()
    assert bench.durable == [(0, [1])]
    bench.finish()
    assert bench.durable == [(0, [1]), (0, [2, 3, 4])]
    assert bench.written == [[(0, 1)], [(0, 2), (0, 3), (0, 4)]]
    assert bench.groups[0].batches == 2
    assert bench.flushes == 2
    assert not bench.under_way


def test_nothing_to_write_waits_only_for_what_is_under_way() -> None:
    """Its messages speak of what came before it (C2)."""
    bench = _Bench()
    assert bench.persist(1, empty=True)
    assert not bench.persist(2)
    assert not bench.persist(3, empty=True)
    bench.finish()
    assert bench.durable == [(0, [2, 3])]
    assert bench.persist(4, empty=True)
    assert not bench.under_way


def test_nothing_to_write_does_not_wait_for_another_group() -> None:
    """A group's messages rest on its own log; behind what it waits to write itself they go in order (C2)."""
    bench = _Bench()
    assert not bench.persist(1)
    assert bench.persist(1, group=1, empty=True)
    assert not bench.persist(2, group=1)
    assert not bench.persist(3, group=1, empty=True)
    bench.finish()
    assert bench.durable == [(0, [1])]
    bench.finish()
    assert bench.durable == [(0, [1]), (1, [2, 3])]


def test_after_a_failure_nothing_more_is_said() -> None:
    """What is on disk is not known any more (C2)."""
    bench = _Bench()
    bench.persist(1)
    error = StorageError("no space")
    bench.finish(error)
    assert bench.failures == [error]
    assert not bench.durable
