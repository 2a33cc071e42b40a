"""One group's batches on their way to disk: nothing leaves before its batch is there, whoever else writes."""

from typing import Any

import pytest

from raftline.core.entries import Entry, HardState
from raftline.core.messages import TimeoutNow
from raftline.core.ready import Outgoing, Ready
from raftline.errors import StorageError
from raftline.runtime import log_writer
from raftline.runtime.log_writer import LogWriter
from raftline.runtime.persistence import Persistence


class _Bench:
    """A disk that finishes when told to."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Any, Any]] = []
        self.written: list[list[tuple[int, int]]] = []
        self.writes: list[list[Any]] = []
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
        self.writes.append(writes)
        self.written.append([(write.group, write.entries[0].index) for write in writes])

    def finish(self, error: BaseException | None = None) -> None:
        work, done = self.under_way.pop(0)
        work()
        done(error)

    def persist(self, number: int, *, group: int = 0, empty: bool = False) -> bool:
        if empty:
            return self.groups[group].persist(Ready(number, messages_after_persist=(_WORD,)))
        return self.groups[group].persist(Ready(number, entries=(Entry(number, 1, b""),)))

    def persist_many(self, number: int, sizes: dict[int, int], *, group: int = 0, **more: Any) -> bool:
        """Persist entries of those sizes, by index, in one batch."""
        entries = tuple([Entry(index, 1, bytes(size)) for index, size in sizes.items()])
        return self.groups[group].persist(Ready(number, entries=entries, **more))

    def indices(self) -> list[list[tuple[int, int]]]:
        """Return (group, index) of every entry, write by write."""
        return [[(write.group, entry.index) for write in writes for entry in write.entries] for writes in self.writes]


_WORD = Outgoing("n2", TimeoutNow(1))


@pytest.fixture
def small_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a write take what three entries of 1,000 bytes need, in one batch."""
    monkeypatch.setattr(log_writer, "_WRITE_BYTES_MAX", 1000 + 3 * 1150)


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


@pytest.mark.usefixtures("small_writes")
def test_more_than_a_write_takes_goes_out_in_several() -> None:
    """However much has piled up, it is written: no more at a time than fits, or an entry more (C5, F24)."""
    bench = _Bench()
    bench.persist_many(1, {1: 0})
    for number in (2, 3, 4, 5):
        bench.persist_many(number, {number: 1000})
    while bench.under_way:
        bench.finish()
    assert bench.indices() == [[(0, 1)], [(0, 2), (0, 3), (0, 4)], [(0, 5)]]
    assert bench.durable == [(0, [1]), (0, [2, 3, 4]), (0, [5])]
    assert bench.writer.behind_bytes == 0


@pytest.mark.usefixtures("small_writes")
def test_a_batch_is_on_disk_with_its_last_entry() -> None:
    """What is larger than a write goes in parts, its term first; it is reported, and speaks, with the last one (C2)."""
    bench = _Bench()
    hard_state = HardState(1, "n1")
    bench.persist_many(1, {1: 0})
    bench.persist_many(7, dict.fromkeys(range(2, 9), 1000), hard_state=hard_state, messages_after_persist=(_WORD,))
    said: list[list[Any]] = []
    bench.groups[0].on_durable = lambda batch: said.append(
        [(each.number, each.messages_after_persist) for each in batch]
    )
    while bench.under_way:
        bench.finish()
    assert bench.indices() == [[(0, 1)], *[[(0, index) for index in part] for part in ((2, 3, 4), (5, 6, 7), (8,))]]
    assert [[write.hard_state for write in writes] for writes in bench.writes] == [[None], [hard_state], [None], [None]]
    assert said == [[(1, ())], [(6, ())], [(6, ())], [(7, (_WORD,))]]
    assert bench.writer.behind_bytes == 0


@pytest.mark.usefixtures("small_writes")
def test_a_group_with_much_to_write_leaves_room_for_the_others() -> None:
    """What of it did not fit goes out behind those who came meanwhile; an entry of any size goes out alone (F24)."""
    bench = _Bench()
    bench.persist_many(1, {1: 0})
    bench.persist_many(2, dict.fromkeys(range(2, 9), 1000), group=1)
    bench.persist_many(3, {3: 99_000}, group=2)
    bench.finish()
    bench.persist_many(4, {4: 0})
    while bench.under_way:
        bench.finish()
    assert bench.indices()[1:] == [
        [(1, 2), (1, 3), (1, 4)],
        [(2, 3)],
        [(0, 4), (1, 5), (1, 6)],
        [(1, 7), (1, 8)],
    ]
    assert [group for group, _ in bench.durable] == [0, 1, 2, 0, 1, 1]
    assert bench.writer.behind_bytes == 0


@pytest.mark.usefixtures("small_writes")
def test_all_that_is_kept_is_written_anew_when_nothing_else_waits() -> None:
    """Behind a part of what waits it would be written before the rest, twice; and only while it is little."""
    bench = _Bench()
    kept = [tuple(Entry(index, 1, b"") for index in range(1, 9))]
    persistence = Persistence(3, bench.writer, lambda _: None, bench.failures.append, lambda: kept[0])
    heard: list[tuple[int, int]] = []
    persistence.persist(Ready(1, entries=kept[0][:1]))
    persistence.persist(Ready(2, entries=tuple(Entry(index, 1, bytes(1000)) for index in range(2, 9))))
    persistence.write_anew(lambda size_bytes: heard.append((len(bench.writes), size_bytes)))
    while bench.under_way:
        bench.finish()
    assert [[len(write.entries) for write in writes] for writes in bench.writes] == [[1], [3], [3], [1, 8]]
    assert heard == [(4, 1200)]
    kept[0] = (Entry(1, 1, bytes(9000)),)
    persistence.write_anew(lambda size_bytes: heard.append((len(bench.writes), size_bytes)))
    bench.finish()
    assert heard == [(4, 1200), (5, 0)]
    assert bench.writes[4] == []
    persistence.write_anew(lambda size_bytes: heard.append((len(bench.writes), size_bytes)))
    persistence.write_anew(lambda size_bytes: heard.append((len(bench.writes), size_bytes)))
    persistence.stop()
    assert heard[2:] == [(5, 0)]
    bench.finish()
    assert heard[3:] == [(6, 0)]
    assert bench.writer.behind_bytes == 0


@pytest.mark.usefixtures("small_writes")
def test_what_is_written_anew_is_part_of_what_a_write_takes() -> None:
    """It leaves less for those behind, and takes no more than is left; no disk is behind by it (F24)."""
    bench = _Bench()
    kept = tuple(Entry(index, 1, bytes(1000)) for index in range(1, 4))
    heard: list[tuple[int, int]] = []
    first, last = (
        Persistence(group, bench.writer, lambda _: None, bench.failures.append, lambda: kept) for group in (3, 4)
    )
    bench.persist(1)
    first.write_anew(lambda size_bytes: heard.append((3, size_bytes)))
    last.write_anew(lambda size_bytes: heard.append((4, size_bytes)))
    bench.persist_many(2, dict.fromkeys(range(2, 5), 1000), group=1)
    behind_bytes = bench.writer.behind_bytes
    bench.finish()
    assert bench.writer.behind_bytes == behind_bytes - 1150 + 1000, "a batch is two now"
    while bench.under_way:
        bench.finish()
    assert bench.indices()[1:] == [[(3, 1), (3, 2), (3, 3), (1, 2)], [(1, 3), (1, 4)]]
    assert heard == [(3, 3450), (4, 0)]
    assert bench.writer.behind_bytes == 0


@pytest.mark.usefixtures("small_writes")
def test_what_speaks_of_a_part_that_is_being_written_waits_for_it() -> None:
    """Also where the next write begins at once, because all is to be written anew (C2)."""
    bench = _Bench()
    bench.persist_many(1, {1: 0})
    for number in (2, 3, 4):
        bench.persist_many(number, {number: 1000})
    bench.persist(5, empty=True)
    bench.groups[0].write_anew(lambda _: None)
    bench.finish()
    assert bench.durable == [(0, [1])]
    bench.finish()
    assert bench.indices()[:2] == [[(0, 1)], [(0, 2), (0, 3), (0, 4)]]
    assert bench.durable[1:] == [(0, [2, 3, 4, 5])]
    assert bench.writer.behind_bytes == 0


@pytest.mark.usefixtures("small_writes")
def test_who_hears_that_all_was_written_anew_may_ask_again_at_once() -> None:
    """That begins a write as well, in the middle of the end of another one (C2)."""
    bench = _Bench()
    group = bench.groups[0]
    heard: list[int] = []

    def ask_again(_: object) -> None:
        group.write_anew(lambda _: heard.append(len(bench.writes)))

    bench.persist_many(1, {1: 0})
    bench.persist_many(2, {2: 0})
    group.write_anew(ask_again)
    bench.finish()
    for number in (3, 4, 5):
        bench.persist_many(number, {number: 1000})
    bench.persist(6, empty=True)
    bench.finish()
    assert bench.durable == [(0, [1]), (0, [2])]
    while bench.under_way:
        bench.finish()
    assert bench.durable[2:] == [(0, [3, 4, 5, 6]), (0, [])]
    assert heard == [4]


def test_what_is_only_said_does_not_pile_up_behind_a_disk_that_hangs() -> None:
    """Words that would be minutes old are lost, as on the way; what is written waits for ever (F24)."""
    bench = _Bench()
    bench.persist(1)
    for number in range(2, 5000):
        bench.persist(number, empty=True)
        assert bench.groups[0].persist(Ready(number)) is False
    assert bench.groups[0].waiting_count == 1000
    bench.persist(5000)
    assert bench.groups[0].waiting_count == 1001
    assert bench.writer.behind_bytes == 1150 + 1000 * 1000 + 1150
    bench.groups[0].stop()
    assert bench.writer.behind_bytes == 1150
    bench.finish()
    assert bench.writer.behind_bytes == 0
