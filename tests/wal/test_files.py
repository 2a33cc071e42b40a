"""The operating system's files behind the protocol: every byte written, every name durable, one owner."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftline.errors import DirectoryInUse
from raftline.wal.files import Files, OsFiles, ReadOnlyOsFiles


def test_files_behave_as_the_protocol_says(tmp_path: Path) -> None:
    """Writing, reading, sizes, names; what was never written reads as zeros."""
    files: Files = OsFiles()
    path, other = f"{tmp_path}/a", f"{tmp_path}/b"
    assert not files.exists(path)
    with pytest.raises(FileNotFoundError):
        files.open(path)
    file = files.open(path, create=True)
    assert file.size() == 0
    file.allocate(100)
    file.write_at(50, b"hello")
    file.sync()
    assert file.size() == 100
    assert file.read_at(48, 9) == b"\0\0hello\0\0"
    assert file.read_at(98, 10) == b"\0\0"
    file.truncate(52)
    assert file.read_at(50, 10) == b"he"
    files.rename(path, other)
    files.sync_directory(str(tmp_path))
    assert files.list(str(tmp_path)) == ["b"]
    files.remove(other)
    assert not files.exists(other)
    assert file.read_at(50, 10) == b"he", "an open file stays readable"
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.size()


def test_short_writes_and_reads_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take or give less than asked for."""
    write, read = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: write(descriptor, data[:3], offset))
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: read(descriptor, min(size, 3), offset))
    file = OsFiles().open(f"{tmp_path}/a", create=True)
    file.write_at(2, b"abcdefgh")
    assert file.read_at(0, 100) == b"\0\0abcdefgh"
    file.close()


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_reserve_still_gives_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The size is what tells a shortened segment; it never makes a file smaller."""

    def refuse(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = OsFiles().open(f"{tmp_path}/a", create=True)
    file.allocate(1000)
    assert file.size() == 1000
    file.allocate(10)
    assert file.size() == 1000
    file.close()


def test_a_full_disk_is_not_taken_for_a_missing_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the file system cannot do is done without."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    file = OsFiles().open(f"{tmp_path}/a", create=True)
    with pytest.raises(OSError, match="No space left"):
        file.allocate(1000)
    file.close()


def test_every_new_directory_is_written_down_in_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data directory whose name is lost with the power would take term and vote with it (C3, C14)."""
    synced: list[str] = []
    monkeypatch.setattr(OsFiles, "sync_directory", lambda _, directory: synced.append(directory))
    files = OsFiles()
    files.make_directory(f"{tmp_path}/a/b")
    assert synced == [str(tmp_path), f"{tmp_path}/a"]
    files.make_directory(f"{tmp_path}/a/b")
    assert len(synced) == 2
    monkeypatch.chdir(tmp_path)
    files.make_directory("c")
    assert (tmp_path / "c").is_dir()
    assert synced[2:] == [str(tmp_path)]


def test_a_lock_is_exclusive_until_released(tmp_path: Path) -> None:
    """Within one process too; whoever is refused learns who holds it."""
    files = OsFiles()
    path = f"{tmp_path}/LOCK"
    lock = files.lock(path)
    with pytest.raises(DirectoryInUse, match=f"held by process {os.getpid()}: stop it"):
        files.lock(path)
    lock.release()
    files.lock(path).release()


def test_a_lock_that_cannot_be_taken_for_another_reason_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without locks is no second process, and nothing stays open."""
    closed: list[int] = []
    close: Callable[[int], None] = os.close

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)

    def note_close(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(os, "close", note_close)
    with pytest.raises(OSError, match="No locks available"):
        OsFiles().lock(f"{tmp_path}/LOCK")
    assert len(closed) == 1


def test_whoever_only_looks_cannot_write(tmp_path: Path) -> None:
    """Files are opened for reading alone."""
    (tmp_path / "a").write_bytes(b"abc")
    file = ReadOnlyOsFiles().open(f"{tmp_path}/a")
    assert file.read_at(0, 10) == b"abc"
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.write_at(0, b"x")
    file.close()


def test_a_data_directory_is_its_users_alone(tmp_path: Path) -> None:
    """What is in it is nobody else's to read; its parents are made like any other directory."""
    OsFiles().make_directory(str(tmp_path / "parent" / "data"))
    assert (tmp_path / "parent" / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "parent").stat().st_mode & 0o700 == 0o700
