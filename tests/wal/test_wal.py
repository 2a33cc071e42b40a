"""Promises of the log: what was appended comes back, in order, whatever came in between."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import open_files

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.errors import ConfigError, CorruptLog, DirectoryInUse, SafetyViolation, StorageError, TooLarge
from raftline.wal import record
from raftline.wal import wal as wal_module
from raftline.wal.files import OsFiles
from raftline.wal.wal import Wal, Write

MEMBERS = Membership.of({"n1": "127.0.0.1:1"})


def _open(directory: Path, files: Any = None, segment_bytes: int = 1 << 16) -> Wal:
    return Wal.open(files or OsFiles(), str(directory), cluster_id="c", node_id="n1", segment_bytes=segment_bytes)


def _entries(first: int, *terms: int, size: int = 10) -> tuple[Entry, ...]:
    return tuple(Entry(first + n, term, b"%d" % (first + n) + b"x" * size) for n, term in enumerate(terms))


def _snapshot(wal: Wal, index: int, term: int, group: int = 0) -> None:
    writer = wal.snapshots.create(group, SnapshotMeta(index, term, MEMBERS))
    writer.write(b"state at %d" % index)
    writer.commit()
    wal.snapshots.prune(group, index)


def _indices(wal: Wal, group: int = 0) -> list[tuple[int, int]]:
    return [(entry.index, entry.term) for entry in wal.recovered[group].entries]


def test_a_new_directory_holds_nothing(tmp_path: Path) -> None:
    """It is made, and says that it is new; a hard state that was never written is None (C8, C14)."""
    wal = _open(tmp_path / "made" / "for" / "it")
    assert wal.is_new
    assert wal.recovered == {}
    wal.close()
    wal = _open(tmp_path / "made" / "for" / "it")
    assert not wal.is_new
    assert wal.recovered == {}
    wal.close()


def test_term_vote_and_entries_come_back(tmp_path: Path) -> None:
    """All that Figure 2 calls persistent (C1, C3, C4, C5)."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, hard_state=HardState(term=2, vote="n3"), entries=_entries(1, 1, 2))])
    wal.append([Write(group=0, hard_state=HardState(term=4))])
    wal.close()
    wal = _open(tmp_path)
    assert wal.recovered[0].hard_state == HardState(term=4)
    assert wal.recovered[0].entries == list(_entries(1, 1, 2))
    wal.close()


def test_an_overwritten_tail_stays_overwritten(tmp_path: Path) -> None:
    """A batch whose first index is not behind the end replaces everything from there on (B7)."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1, 1, 1, 1))])
    wal.append([Write(group=0, entries=_entries(3, 2))])
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal) == [(1, 1), (2, 1), (3, 2)]
    wal.close()


def test_groups_do_not_mix(tmp_path: Path) -> None:
    """One log holds many groups, one fsync serves them all."""
    wal = _open(tmp_path)
    wal.append([Write(group=1, entries=_entries(1, 1)), Write(group=2, entries=_entries(1, 5, 5))])
    wal.append([Write(group=1, hard_state=HardState(term=9))])
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal, 1) == [(1, 1)]
    assert _indices(wal, 2) == [(1, 5), (2, 5)]
    assert wal.recovered[1].hard_state == HardState(term=9)
    assert wal.recovered[2].hard_state is None
    wal.close()


def test_segments_follow_each_other_and_large_entries_fit(tmp_path: Path) -> None:
    """A batch larger than a segment gets a segment of its own size."""
    wal = _open(tmp_path)
    index = 1
    for size in (100, 40_000, 40_000, 300_000, 100):
        wal.append([Write(group=0, entries=_entries(index, 1, size=size))])
        index += 1
    assert len(list(tmp_path.glob("wal-*.log"))) >= 3
    wal.close()
    wal = _open(tmp_path)
    assert [len(entry.data) for entry in wal.recovered[0].entries] == [101, 40_001, 40_001, 300_001, 101]
    wal.close()


def test_old_segments_go_once_a_snapshot_covers_them(tmp_path: Path) -> None:
    """And what is left starts behind the snapshot (D1, D18)."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, hard_state=HardState(term=1))])
    for index in range(1, 60):
        wal.append([Write(group=0, entries=_entries(index, 1, size=5000))])
    before = len(list(tmp_path.glob("wal-*.log")))
    _snapshot(wal, 50, 1)
    assert wal.release(0, 50) > 0
    assert len(list(tmp_path.glob("wal-*.log"))) < before
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal)[0] == (51, 1)
    assert _indices(wal)[-1] == (59, 1)
    assert wal.recovered[0].hard_state == HardState(term=1)
    wal.close()


def test_a_group_that_lags_keeps_its_segments(tmp_path: Path) -> None:
    """No segment goes while any group needs it."""
    wal = _open(tmp_path)
    wal.append([Write(group=2, entries=_entries(1, 1))])
    for index in range(1, 40):
        wal.append([Write(group=1, entries=_entries(index, 1, size=5000))])
    assert wal.release(1, 39) == 0
    _snapshot(wal, 1, 1, group=2)
    _snapshot(wal, 39, 1, group=1)
    assert wal.release(2, 1) > 0
    wal.close()
    _open(tmp_path).close()


def test_the_log_behind_a_snapshot_stays_if_it_agrees(tmp_path: Path) -> None:
    """The matching suffix is kept, another history is dropped (D10)."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1, 1, 2, 2))])
    _snapshot(wal, 3, 2)
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal) == [(4, 2)]
    _snapshot(wal, 4, 3)
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal) == []
    assert wal.recovered[0].snapshot == SnapshotMeta(4, 3, MEMBERS)
    wal.append([Write(group=0, entries=_entries(5, 3))])
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal) == [(5, 3)]
    wal.close()


def test_a_snapshot_beyond_the_log_is_followed_by_what_comes_after(tmp_path: Path) -> None:
    """Installed, then the crash came before the log knew: the gap is explained at start-up (C11)."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1, 1))])
    _snapshot(wal, 9, 4)
    wal.close()
    for expected in ([], [(10, 4)], [(10, 4), (11, 4)]):
        wal = _open(tmp_path)
        assert _indices(wal) == expected
        wal.append([Write(group=0, entries=_entries(10 + len(expected), 4))])
        wal.close()


def test_an_installed_snapshot_resets_the_log(tmp_path: Path) -> None:
    """The reset record says that entries follow the snapshot, not what stood there before."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1, 1, 1, 1, 1))])
    _snapshot(wal, 3, 2)
    wal.append([Write(group=0, reset=SnapshotMeta(3, 2, MEMBERS), entries=_entries(4, 2))])
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal) == [(4, 2)]
    wal.close()


def test_a_lost_snapshot_is_noticed(tmp_path: Path) -> None:
    """Entries that follow a snapshot which is not there are no log."""
    wal = _open(tmp_path)
    _snapshot(wal, 3, 2)
    wal.append([Write(group=0, reset=SnapshotMeta(3, 2, MEMBERS), entries=_entries(4, 2))])
    wal.close()
    for path in tmp_path.glob("*.snap"):
        path.unlink()
    with pytest.raises(CorruptLog, match="follows a snapshot at index 3"):
        _open(tmp_path)


def test_leftovers_of_an_interrupted_write_are_removed(tmp_path: Path) -> None:
    """Files being made when the node stopped have no name yet, and go."""
    _open(tmp_path).close()
    for name in ("wal-0000000000000002.log.tmp", "snapshot-0-0000000000000009-1.snap.taken.tmp"):
        (tmp_path / name).write_bytes(b"half")
    _open(tmp_path).close()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_directory_belongs_to_one_process(tmp_path: Path) -> None:
    """A second process is told who holds it; a dead one holds nothing."""
    code = (
        "import sys, time\n"
        "from raftline.wal.files import OsFiles\n"
        "from raftline.wal.wal import Wal\n"
        "wal = Wal.open(OsFiles(), sys.argv[1], cluster_id='c', node_id='n1')\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(DirectoryInUse, match=f"process {holder.pid}"):
            _open(tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    _open(tmp_path).close()


@pytest.mark.parametrize(
    "writes",
    [
        [Write(group=0, entries=_entries(5, 1))],
        [Write(group=0, entries=(*_entries(3, 1), *_entries(5, 1)))],
        [Write(group=0, entries=_entries(3, 1)), Write(group=0, entries=_entries(5, 1))],
        [Write(group=0, reset=SnapshotMeta(9, 1, MEMBERS), entries=_entries(11, 1))],
    ],
)
def test_a_gap_is_refused_before_anything_is_written(tmp_path: Path, writes: list[Write]) -> None:
    """A log with a gap could not be opened again: only a bug asks for one, and it changes nothing."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1, 1))])
    with pytest.raises(SafetyViolation, match="Nothing was written"):
        wal.append(writes)
    wal.append([Write(group=0, entries=_entries(3, 1))])
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal) == [(1, 1), (2, 1), (3, 1)]
    wal.close()


def test_a_batch_that_no_frame_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written; the log goes on."""
    wal = _open(tmp_path)
    monkeypatch.setattr(record, "PAYLOAD_BYTES_MAX", 100)
    with pytest.raises(TooLarge, match="propose less"):
        wal.append([Write(group=0, entries=_entries(1, 1, size=200))])
    wal.append([Write(group=0, entries=_entries(1, 1))])
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal) == [(1, 1)]
    wal.close()


class _Recording(OsFiles):
    """Real files that note every write and sync, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def open(self, path: str, *, create: bool = False) -> Any:
        file: Any = super().open(path, create=create)
        write_at, sync = file.write_at, file.sync

        def recorded_write_at(offset: int, data: bytes) -> None:
            self.calls.append(("write", offset, bytes(data)))
            write_at(offset, data)

        def recorded_sync() -> None:
            self.calls.append(("sync",))
            sync()

        file.write_at, file.sync = recorded_write_at, recorded_sync
        return file

    def rename(self, old: str, new: str) -> None:
        self.calls.append(("rename", Path(new).name))
        super().rename(old, new)

    def sync_directory(self, directory: str) -> None:
        self.calls.append(("sync directory",))
        super().sync_directory(directory)


def test_a_batch_is_one_write_and_one_sync(tmp_path: Path) -> None:
    """Whatever it holds, for however many groups; now and then zeros follow in the same write."""
    files = _Recording()
    wal = _open(tmp_path, files)
    extra = 0
    for index in range(1, 100):
        files.calls.clear()
        start = wal._end
        wal.append([Write(group=group, entries=_entries(index, 1), hard_state=HardState(index)) for group in range(3)])
        (operation, offset, data), sync = files.calls
        assert (operation, offset, sync) == ("write", start, ("sync",))
        assert data[wal._end - start :].strip(b"\0") == b""
        extra += len(data) > wal._end - start
    assert 0 < extra < 99
    wal.close()


def test_a_segment_is_durable_before_it_has_its_name(tmp_path: Path) -> None:
    """And its name is durable before the first batch goes into it."""
    files = _Recording()
    wal = _open(tmp_path, files)
    wal.append([Write(group=0, entries=_entries(1, 1, size=40_000))])
    files.calls.clear()
    wal.append([Write(group=0, entries=_entries(2, 1, size=40_000))])
    wal.close()
    assert [call[:2] if call[0] == "rename" else call[0] for call in files.calls] == [
        "write",
        "sync",
        ("rename", "wal-0000000000000002.log"),
        "sync directory",
        "write",
        "sync",
    ]


def test_zeros_ahead_end_where_the_segment_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing ahead never makes a segment longer than its header says."""
    monkeypatch.setattr(wal_module, "_ZEROS_AHEAD_BYTES_MAX", 1 << 20)
    files = _Recording()
    wal = _open(tmp_path, files, segment_bytes=1 << 26)
    wal._end = wal._zeroed_end = wal._size - 5000
    wal.append([Write(group=0, entries=_entries(1, 1))])
    assert wal._zeroed_end == wal._size
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    assert path.stat().st_size == 1 << 26


def test_start_up_writes_the_last_frame_once_more(tmp_path: Path) -> None:
    """After a failed fsync it may be in the page cache alone, where no later fsync would find it."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1))])
    start = wal._end
    wal.append([Write(group=0, entries=_entries(2, 1))])
    end = wal._end
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    frame = path.read_bytes()[start:end]
    files = _Recording()
    wal = _open(tmp_path, files)
    assert files.calls == [("sync directory",), ("write", start, frame), ("sync",)]
    wal.close()


class _PowerCut(BaseException):
    """The machine stops here."""


class _Mortal(OsFiles):
    """Real files that stop at a chosen call, a write half done."""

    def __init__(self, calls_left: int) -> None:
        super().__init__()
        self.calls_left = calls_left

    def step(self) -> bool:
        self.calls_left -= 1
        return self.calls_left < 0

    def open(self, path: str, *, create: bool = False) -> Any:
        file: Any = super().open(path, create=create)
        write_at = file.write_at

        def mortal_write_at(offset: int, data: bytes) -> None:
            if self.step():
                write_at(offset, data[: len(data) // 2])
                raise _PowerCut
            write_at(offset, data)

        file.write_at = mortal_write_at
        return file

    def remove(self, path: str) -> None:
        if self.step():
            raise _PowerCut
        super().remove(path)


def test_start_up_may_itself_be_interrupted_anywhere(tmp_path: Path) -> None:
    """A torn tail that is being cut, leftovers that are being removed: the next start finds the same log."""
    wal = _open(tmp_path / "first")
    wal.append([Write(group=0, entries=_entries(1, 1, 1))])
    start = wal._end
    wal.append([Write(group=0, entries=_entries(3, 1, 1, 1, size=900))])
    wal.close()
    (path,) = (tmp_path / "first").glob("wal-*.log")
    data = bytearray(path.read_bytes())
    data[start + 1024 : start + 2048] = bytes(1024)
    calls, finished = 0, False
    while not finished:
        directory = tmp_path / str(calls)
        directory.mkdir()
        (directory / path.name).write_bytes(data)
        (directory / "wal-0000000000000002.log.tmp").write_bytes(b"half")
        try:
            _open(directory, _Mortal(calls)).close()
            finished = True
        except _PowerCut:
            calls += 1
        wal = _open(directory)
        assert _indices(wal) == [(1, 1), (2, 1)]
        wal.append([Write(group=0, entries=_entries(3, 2))])
        wal.close()
        wal = _open(directory)
        assert _indices(wal) == [(1, 1), (2, 1), (3, 2)]
        wal.close()
    assert calls == 4, "a leftover, the last frame, and the cut in two steps"


def test_a_snapshot_of_the_whole_log_needs_no_reset(tmp_path: Path) -> None:
    """Nothing is written at start-up when snapshot and log agree (D10)."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1, 1))])
    _snapshot(wal, 2, 1)
    wal.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("wal-*")}
    wal = _open(tmp_path)
    assert _indices(wal) == []
    wal.close()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("wal-*")} == before


def test_the_log_goes_on_behind_a_snapshot_when_all_its_segments_had_gone(tmp_path: Path) -> None:
    """Only a header still knows where the log ended; a snapshot beyond it was installed: entries follow that (C11)."""
    wal = _open(tmp_path)
    for index in range(1, 5):
        wal.append([Write(group=0, entries=_entries(index, 1, size=30_000))])
    _snapshot(wal, 4, 1)
    for index in range(1, 5):
        wal.append([Write(group=1, entries=_entries(index, 1, size=30_000))])
    assert wal.release(0, 4) > 0
    _snapshot(wal, 90, 2)
    wal.close()
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(91, 2))])
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal) == [(91, 2)]
    wal.close()


def test_segments_that_a_snapshot_covers_can_go_after_a_restart_too(tmp_path: Path) -> None:
    """A group that says nothing any more does not hold back segments that its snapshot covers."""
    wal = _open(tmp_path)
    wal.append([Write(group=1, entries=_entries(1, 1))])
    _snapshot(wal, 1, 1, group=1)
    for index in range(1, 40):
        wal.append([Write(group=0, entries=_entries(index, 1, size=5000))])
    _snapshot(wal, 39, 1)
    wal.close()
    wal = _open(tmp_path)
    assert wal.release(0, 39) > 0
    wal.close()


class _Failing(OsFiles):
    """Real files whose writes or syncs fail once told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fail: tuple[str, int] | None = None

    def open(self, path: str, *, create: bool = False) -> Any:
        return _FailingFile(self, super().open(path, create=create))


class _FailingFile:
    def __init__(self, files: _Failing, file: Any) -> None:
        self._files = files
        self._file = file

    def __getattr__(self, name: str) -> Any:
        if self._files.fail is not None and self._files.fail[0] == name:
            code = self._files.fail[1]
            raise OSError(code, os.strerror(code))
        return getattr(self._file, name)


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("write_at", errno.ENOSPC, "the disk is full"),
        ("sync", errno.EIO, "the disk reports an error"),
        ("write_at", errno.EFBIG, "limit on the size of files"),
        ("sync", errno.EDQUOT, "quota"),
    ],
)
def test_a_failed_write_or_sync_is_final(tmp_path: Path, call: str, code: int, words: str) -> None:
    """Never retried, never ignored: what is on disk is not known any more."""
    files = _Failing()
    wal = _open(tmp_path, files)
    wal.append([Write(group=0, entries=_entries(1, 1))])
    files.fail = (call, code)
    with pytest.raises(StorageError, match=words):
        wal.append([Write(group=0, entries=_entries(2, 1))])
    files.fail = None
    for attempt in (lambda: wal.append([Write(group=0, entries=_entries(2, 1))]), lambda: wal.release(0, 1)):
        with pytest.raises(StorageError, match=words):
            attempt()
    wal.close()
    wal = _open(tmp_path)
    assert _indices(wal)[0] == (1, 1)
    wal.close()


def test_a_full_disk_at_a_new_segment_is_final_too(tmp_path: Path) -> None:
    """Making the next segment can fail like any write."""
    files = _Failing()
    wal = _open(tmp_path, files)
    files.fail = ("allocate", errno.ENOSPC)
    wal.append([Write(group=0, entries=_entries(1, 1, size=40_000))])
    with pytest.raises(StorageError, match="disk is full"):
        wal.append([Write(group=0, entries=_entries(2, 1, size=40_000))])
    wal.close()
    files.fail = None
    _open(tmp_path).close()


@pytest.mark.parametrize("call", ["open", "rename", "sync_directory", "remove"])
def test_a_failure_around_segments_is_final(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening, naming and removing segments fail like writes do."""
    files = OsFiles()
    wal = _open(tmp_path, files)
    for index in range(1, 20):
        wal.append([Write(group=0, entries=_entries(index, 1, size=5000))])
    _snapshot(wal, 19, 1)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, call, fail)
    fails = (
        (lambda: wal.release(0, 19))
        if call in {"remove", "sync_directory"}
        else (lambda: wal.append([Write(group=0, entries=_entries(20, 1, size=60_000))]))
    )
    for _ in range(2):
        with pytest.raises(StorageError, match="mounted read-only"):
            fails()
    monkeypatch.undo()
    with pytest.raises(StorageError, match="mounted read-only"):
        wal.append([Write(group=0, entries=_entries(20, 1))])
    wal.close()
    wal = _open(tmp_path)
    assert wal.recovered[0].snapshot == SnapshotMeta(19, 1, MEMBERS)
    wal.close()


def test_a_failed_close_gives_the_directory_back(tmp_path: Path) -> None:
    """The lock does not outlive the log, and closing twice is allowed."""
    files = _Failing()
    wal = _open(tmp_path, files)
    files.fail = ("close", errno.EIO)
    with pytest.raises(StorageError, match="could not close"):
        wal.close()
    files.fail = None
    wal.close()
    _open(tmp_path).close()


def test_a_refused_directory_is_given_back(tmp_path: Path) -> None:
    """Lock and files, so that the operator can mend it and try again in the same process."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1))])
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    data = path.read_bytes()
    for _ in range(3):
        path.write_bytes(data[:-1])
        with pytest.raises(CorruptLog):
            _open(tmp_path)
    assert open_files(tmp_path) == []
    path.write_bytes(data)
    wal = _open(tmp_path)
    assert _indices(wal) == [(1, 1)]
    wal.close()


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    """A path through a file."""
    (tmp_path / "file").write_text("not a directory")
    for place in ("file", "file/below"):
        with pytest.raises(ConfigError, match=f"{place} is a file, or lies below one"):
            _open(tmp_path / place)


def test_many_restarts_do_not_grow_the_directory(tmp_path: Path) -> None:
    """Opening and closing writes nothing new."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 1, 1))])
    wal.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("wal-*")}
    for _ in range(5):
        _open(tmp_path).close()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("wal-*")} == before
