"""Writes and syncs of the log are timed, everything else is passed on as it is."""

from pathlib import Path

from raftline.runtime.histogram import Histogram
from raftline.runtime.timed_files import TimedFiles
from raftline.wal.files import OsFiles
from raftline.wal.segment import segment_name


class _Steps:
    """A clock that gains a second each time it is read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_segments_are_timed_and_snapshots_are_not(tmp_path: Path) -> None:
    """One measurement for each write and each sync of a segment of the log."""
    append, fsync = Histogram(), Histogram()
    files = TimedFiles(OsFiles(), _Steps(), append, fsync)
    for name in (f"{segment_name(1)}.tmp", "snapshot-of-something"):
        file = files.open(str(tmp_path / name), create=True)
        file.allocate(100)
        file.write_at(0, b"abc")
        file.write_at(3, b"def")
        file.sync()
        assert file.read_at(1, 4) == b"bcde"
        file.truncate(6)
        assert file.size() == 6
        file.close()
    assert (append.count, append.sum_s) == (2, 2.0)
    assert (fsync.count, fsync.sum_s) == (1, 1.0)


def test_the_file_system_is_the_one_behind_it(tmp_path: Path) -> None:
    """Names, directories and the lock go through unchanged."""
    files = TimedFiles(OsFiles(), _Steps(), Histogram(), Histogram())
    directory = str(tmp_path / "d")
    files.make_directory(directory)
    files.open(f"{directory}/a", create=True).close()
    files.rename(f"{directory}/a", f"{directory}/b")
    files.sync_directory(directory)
    assert files.list(directory) == ["b"]
    assert files.exists(f"{directory}/b")
    files.remove(f"{directory}/b")
    files.lock(f"{directory}/LOCK").release()
    assert files.list(directory) == ["LOCK"]
