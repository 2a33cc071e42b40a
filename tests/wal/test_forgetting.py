"""A group that is hosted no more: nothing of it comes back, whenever the crash came, and the others lose nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.wal.files import OsFiles, ReadOnlyOsFiles
from raftline.wal.inspect import survey
from raftline.wal.wal import Wal, Write

MEMBERS = Membership.of({"n1": "127.0.0.1:1"})


def _open(directory: Path, files: Any = None) -> Wal:
    return Wal.open(files or OsFiles(), str(directory), cluster_id="c", node_id="n1", segment_bytes=1 << 16)


def _write(group: int, first: int, count: int = 1, size: int = 10) -> Write:
    entries = tuple(Entry(first + number, 3, b"x" * size) for number in range(count))
    return Write(group=group, entries=entries, hard_state=HardState(3, "n1"))


def _snapshot(wal: Wal, group: int, index: int) -> None:
    writer = wal.snapshots.create(group, SnapshotMeta(index, 3, MEMBERS))
    writer.write(b"state")
    writer.commit()


def _fill(directory: Path, files: Any = None) -> Wal:
    """Write two groups, each with a snapshot, over two segments."""
    wal = _open(directory, files)
    wal.append([_write(0, 1, 3), _write(5, 1, 8)])
    _snapshot(wal, 0, 2)
    _snapshot(wal, 5, 6)
    wal.append([_write(5, 9, 1, size=60_000)])
    wal.append([_write(0, 4), _write(5, 10, 1, size=20_000)])
    return wal


def test_a_group_that_is_forgotten_does_not_come_back(tmp_path: Path) -> None:
    """Neither its term and vote nor entries nor snapshots; the others are as they were (C1, C5)."""
    wal = _fill(tmp_path)
    wal.forget(5)
    wal.close()
    assert not list(tmp_path.glob("snapshot-5-*"))
    wal = _open(tmp_path)
    assert list(wal.recovered) == [0]
    assert [entry.index for entry in wal.recovered[0].entries] == [3, 4]
    wal.close()
    found = survey(ReadOnlyOsFiles(), str(tmp_path), records=True)
    assert found.problems == ()
    assert [(line.kind, line.group) for line in found.lines if line.kind == "forgotten"] == [("forgotten", 5)]
    assert found.recovered is not None
    assert list(found.recovered) == [0]


def test_a_later_group_of_the_same_number_begins_with_nothing(tmp_path: Path) -> None:
    """Its log starts at 1 again, over restarts and new segments too."""
    wal = _fill(tmp_path)
    wal.forget(5)
    wal.append([_write(5, 1, 2)])
    for index in range(5, 30):
        wal.append([_write(0, index, size=9000)])
    wal.close()
    wal = _open(tmp_path)
    assert [entry.index for entry in wal.recovered[5].entries] == [1, 2]
    assert wal.recovered[5].snapshot is None
    assert [entry.index for entry in wal.fetch(5, wal.locate(5, 1, 1 << 20), 1 << 20)] == [1, 2]
    wal.close()


def test_a_group_that_is_forgotten_holds_no_segment(tmp_path: Path) -> None:
    """What only it needed is removed at once, and the log goes on without a word of it."""
    wal = _open(tmp_path)
    wal.append([_write(5, 1)])
    for index in range(1, 30):
        wal.append([_write(0, index, size=9000)])
    _snapshot(wal, 0, 29)
    assert wal.release(0, 29) == 0
    segments = len(list(tmp_path.glob("wal-*.log")))
    assert segments > 3
    wal.forget(5)
    assert len(list(tmp_path.glob("wal-*.log"))) == 1
    wal.close()
    wal = _open(tmp_path)
    assert list(wal.recovered) == [0]
    wal.close()


def test_a_group_of_which_nothing_was_written_leaves_no_record(tmp_path: Path) -> None:
    """There is nothing to forget."""
    wal = _fill(tmp_path)
    end = wal._end
    wal.forget(9)
    assert wal._end == end
    wal.close()


class _PowerCut(BaseException):
    """The machine stops here."""


class _Mortal(OsFiles):
    """Real files that stop at a chosen call, a write half done."""

    def __init__(self, calls_left: int | None = None) -> None:
        super().__init__()
        self.calls_left = calls_left

    def step(self, work: Callable[[], object]) -> None:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise _PowerCut
        work()

    def open(self, path: str, *, create: bool = False) -> Any:
        file: Any = super().open(path, create=create)
        write_at, sync = file.write_at, file.sync
        file.write_at = lambda offset, data: self.step(lambda: write_at(offset, data))
        file.sync = lambda: self.step(sync)
        return file

    def remove(self, path: str) -> None:
        self.step(lambda: super(_Mortal, self).remove(path))

    def sync_directory(self, directory: str) -> None:
        self.step(lambda: super(_Mortal, self).sync_directory(directory))


def _open_at_last(directory: Path) -> Wal:
    """Start again and again, each time interrupted a little later, until a start comes through."""
    for calls in range(100):
        files = _Mortal(calls)
        try:
            wal = _open(directory, files)
        except _PowerCut:
            continue
        files.calls_left = None
        return wal
    raise AssertionError("no start comes through")


def test_a_crash_while_a_group_is_forgotten_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    """Wherever it comes, also while the next start removes what is left; then a later group begins with nothing."""
    seen: set[bool] = set()
    calls, finished = 0, False
    while not finished:
        directory = tmp_path / str(calls)
        files = _Mortal()
        wal = _fill(directory, files)
        files.calls_left = calls
        try:
            wal.forget(5)
            finished = True
        except _PowerCut:
            calls += 1
        files.calls_left = None
        wal.close()
        wal = _open_at_last(directory)
        assert [entry.index for entry in wal.recovered[0].entries] == [3, 4]
        is_there = 5 in wal.recovered
        seen.add(is_there)
        if is_there:
            assert [entry.index for entry in wal.recovered[5].entries] == [7, 8, 9, 10]
            assert wal.recovered[5].snapshot is not None
            wal.forget(5)
        assert not list(directory.glob("snapshot-5-*"))
        wal.append([_write(5, 1)])
        wal.close()
        wal = _open(directory)
        assert [entry.index for entry in wal.recovered[5].entries] == [1]
        wal.close()
    assert seen == {True, False}
    assert calls == 4, "the record is written and synced, its snapshot is removed, the directory synced"
