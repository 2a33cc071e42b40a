"""The only `os.*` calls of the durable log, behind two small protocols that a simulator can give too.

Everything blocks and runs on a disk thread. Each call is one step of the failure model: a crash may come before,
inside or after it; what was written is lost, kept or torn until `sync`, what was created, renamed or removed may
come back until `sync_directory`.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from typing import Protocol

from raftline.errors import DirectoryInUse

__all__ = ["File", "Files", "Lock", "OsFiles", "ReadOnlyOsFiles"]


class File(Protocol):
    """An open file, addressed by offset."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`; durable after `sync`."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""

    def size(self) -> int:
        """Return the size in bytes."""

    def allocate(self, size: int) -> None:
        """Reserve space so that the file has `size` bytes; what was never written reads as zeros."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""

    def sync(self) -> None:
        """Make everything written durable (fdatasync)."""

    def close(self) -> None:
        """Give the file back; it may be removed while open and stays readable until then."""


class Lock(Protocol):
    """A held lock."""

    def release(self) -> None:
        """Let others have the directory."""


class Files(Protocol):
    """A file system."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing; with `create` make it, empty, if it is not there."""

    def exists(self, path: str) -> bool:
        """Say whether there is such a file or directory."""

    def list(self, directory: str) -> list[str]:
        """Return the names in `directory`, sorted."""

    def make_directory(self, path: str) -> None:
        """Make a directory and what leads to it, durable on return; nothing happens if it is there."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what had it; durable after `sync_directory`."""

    def remove(self, path: str) -> None:
        """Remove a file; durable after `sync_directory`."""

    def sync_directory(self, directory: str) -> None:
        """Make creations, renames and removals in `directory` durable."""

    def lock(self, path: str) -> Lock:
        """Take the lock file `path`, or raise `DirectoryInUse`; a dead process holds nothing."""


class _OsFile:
    """A file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            offset += written
            view = view[written:]

    def read_at(self, offset: int, size: int) -> bytes:
        pieces = []
        while size:
            piece = os.pread(self._descriptor, size, offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def allocate(self, size: int) -> None:
        try:
            os.posix_fallocate(self._descriptor, 0, size)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
            # This file system cannot reserve: a full disk then shows when it is written to.
            if self.size() < size:
                os.ftruncate(self._descriptor, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class _OsLock:
    """A lock that the kernel takes back when the process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


class OsFiles:
    """The operating system's file system; `let_go` gets the last descriptor of each removed file, and closes it."""

    def __init__(self, let_go: Callable[[int], None] | None = None) -> None:
        self._let_go = let_go

    def open(self, path: str, *, create: bool = False) -> File:
        """Open, or make, a file."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return _OsFile(os.open(path, flags, 0o644))

    def exists(self, path: str) -> bool:
        """Look whether the path leads anywhere."""
        return os.path.exists(path)  # noqa: PTH110  strings all the way: a simulator knows no pathlib

    def list(self, directory: str) -> list[str]:
        """List names."""
        return sorted(os.listdir(directory))  # noqa: PTH208

    def make_directory(self, path: str) -> None:
        """Make the directory, for this user alone, and its parents; write down in each parent that it has a child."""
        self._make_directory(path, 0o700)

    def _make_directory(self, path: str, mode: int) -> None:
        path = os.path.abspath(path)  # noqa: PTH100
        if os.path.isdir(path):  # noqa: PTH112
            return
        parent = os.path.dirname(path)  # noqa: PTH120
        self._make_directory(parent, 0o777)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)  # noqa: PTH102
        self.sync_directory(parent)

    def rename(self, old: str, new: str) -> None:
        """Rename in place."""
        os.replace(old, new)  # noqa: PTH105

    def remove(self, path: str) -> None:
        """Unlink; the space is given back when the file is closed."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC) if self._let_go is not None else None
        try:
            os.unlink(path)  # noqa: PTH108
        except OSError:
            if descriptor is not None:
                os.close(descriptor)
            raise
        if descriptor is not None and self._let_go is not None:
            self._let_go(descriptor)

    def sync_directory(self, directory: str) -> None:
        """Fsync the directory itself."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: str) -> Lock:
        """Lock the file for this process alone; its text names the process for whoever is refused."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise DirectoryInUse(
                f"{path} is held by process {holder}: stop it, or give this node another data directory"
            ) from error
        except OSError:
            os.close(descriptor)
            raise
        return _OsLock(descriptor)


class ReadOnlyOsFiles(OsFiles):
    """The operating system's file system for whoever only looks: what it opens cannot be written to."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Open a file that is there."""
        assert not create, "whoever only looks makes nothing"
        return _OsFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
