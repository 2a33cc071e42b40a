"""The files of the log with a stopwatch: how long writing and syncing a segment takes, as the disk thread sees it.

Everything else is passed on as it is. Snapshot files are not measured: they are written beside the log.
"""

from collections.abc import Callable

from raftline.runtime.histogram import Histogram
from raftline.wal.files import File, Files, Lock
from raftline.wal.segment import segment_sequence

__all__ = ["TimedFiles"]


class _TimedFile:
    """One segment of the log."""

    __slots__ = ("_append", "_clock", "_file", "_fsync")

    def __init__(self, file: File, clock: Callable[[], float], append: Histogram, fsync: Histogram) -> None:
        self._file = file
        self._clock = clock
        self._append = append
        self._fsync = fsync

    def write_at(self, offset: int, data: bytes) -> None:
        began = self._clock()
        self._file.write_at(offset, data)
        self._append.observe(self._clock() - began)

    def sync(self) -> None:
        began = self._clock()
        self._file.sync()
        self._fsync.observe(self._clock() - began)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._file.read_at(offset, size)

    def size(self) -> int:
        return self._file.size()

    def allocate(self, size: int) -> None:
        self._file.allocate(size)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class TimedFiles:
    """A file system whose segments of the log are timed."""

    def __init__(self, files: Files, clock: Callable[[], float], append: Histogram, fsync: Histogram) -> None:
        self._files = files
        self._clock = clock
        self._append = append
        self._fsync = fsync

    def open(self, path: str, *, create: bool = False) -> File:
        """Open a file; a segment is timed from here on."""
        file = self._files.open(path, create=create)
        if segment_sequence(path.rpartition("/")[2].removesuffix(".tmp")) is None:
            return file
        return _TimedFile(file, self._clock, self._append, self._fsync)

    def exists(self, path: str) -> bool:
        """Say whether there is such a file or directory."""
        return self._files.exists(path)

    def list(self, directory: str) -> list[str]:
        """Return the names in `directory`, sorted."""
        return self._files.list(directory)

    def make_directory(self, path: str) -> None:
        """Make a directory and what leads to it."""
        self._files.make_directory(path)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        self._files.rename(old, new)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._files.remove(path)

    def sync_directory(self, directory: str) -> None:
        """Make creations, renames and removals durable."""
        self._files.sync_directory(directory)

    def lock(self, path: str) -> Lock:
        """Take the lock file `path`, or raise `DirectoryInUse`."""
        return self._files.lock(path)
