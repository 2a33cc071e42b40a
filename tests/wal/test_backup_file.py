"""Backup files: everything is checked, and what is no backup, damaged or newer is told apart."""

from pathlib import Path

import pytest
from tests.conftest import open_files

from raftline.core.entries import SnapshotMeta
from raftline.core.membership import Membership
from raftline.errors import ConfigError, CorruptLog
from raftline.wal.backup_file import BACKUP_VERSION, BackupHeader, BackupReader, encode_backup_header
from raftline.wal.files import OsFiles, ReadOnlyOsFiles
from raftline.wal.snapshot_store import SnapshotStore

META = SnapshotMeta(7, 2, Membership.of({"n1": "h:1@2"}))
HEADER = BackupHeader(BACKUP_VERSION, "c", "n1", 1_700_000_000_000, "raftline x")


def backup_of(directory: Path, header: BackupHeader = HEADER) -> Path:
    """Write a backup of two chunks and return its path."""
    writer = SnapshotStore(OsFiles(), str(directory)).create(0, META)
    for chunk in (b"first", b"second" * 100):
        writer.write(chunk)
    writer.commit()
    (snapshot,) = directory.glob("*.snap")
    path = directory / "backup"
    path.write_bytes(encode_backup_header(header) + snapshot.read_bytes())
    return path


def read(path: Path) -> list[bytes]:
    """Return the checked chunks."""
    reader = BackupReader(ReadOnlyOsFiles(), str(path))
    try:
        return list(reader.chunks())
    finally:
        reader.close()


def test_what_was_backed_up_is_read(tmp_path: Path) -> None:
    """Where it comes from, which moment, and every chunk."""
    path = backup_of(tmp_path)
    assert read(path) == [b"first", b"second" * 100]
    reader = BackupReader(ReadOnlyOsFiles(), str(path))
    assert (reader.header, reader.meta) == (HEADER, META)
    reader.close()


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    """Wherever it is: header, chunks, footer."""
    path = backup_of(tmp_path)
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(CorruptLog, match=r"Take another copy|is no backup"):
            read(path)


def test_every_missing_or_added_end_is_noticed(tmp_path: Path) -> None:
    """A copy that was cut off, or that something was added to."""
    path = backup_of(tmp_path)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(CorruptLog, match=r"Take another copy|is no backup"):
            read(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(CorruptLog, match="its footer is damaged"):
        read(path)


def test_offsets_in_errors_count_in_the_file(tmp_path: Path) -> None:
    """Not in the snapshot inside it."""
    path = backup_of(tmp_path)
    data = path.read_bytes()
    start = data.index(b"first") - 8
    path.write_bytes(data.replace(b"first", b"First"))
    with pytest.raises(CorruptLog, match=f"backup, offset {start}: a chunk is damaged"):
        read(path)


def test_a_newer_format_is_refused_with_words(tmp_path: Path) -> None:
    """It is no damage."""
    path = backup_of(tmp_path, BackupHeader(BACKUP_VERSION + 1, "c", "n1", 0, ""))
    with pytest.raises(ConfigError, match="reads up to 1: use a newer raftline"):
        read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And so is a directory; neither leaves a file open."""
    with pytest.raises(ConfigError, match=r"gone is not there: name a file that `raftline backup` made"):
        read(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"is a directory: name a file that `raftline backup` made"):
        read(tmp_path)
    assert open_files(tmp_path) == []
