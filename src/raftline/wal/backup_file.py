"""Backup files: who made it and when, and behind that a snapshot file, byte for byte.

    header   magic (8), length (4), CRC32C (4), MessagePack of (version, cluster id, node id, time, software)
    rest     the snapshot, with its own chain of checksums up to its footer

Whatever was cut off, moved or changed is noticed when it is read.
"""

import struct
from collections.abc import Iterator

import google_crc32c
import msgspec

from raftline.core.entries import SnapshotMeta
from raftline.core.ids import NodeId
from raftline.errors import ConfigError, CorruptLog
from raftline.wal.files import File, Files
from raftline.wal.snapshot_store import SnapshotReader
from raftline.wal.storage_errors import storage_error

__all__ = ["BACKUP_VERSION", "BackupHeader", "BackupReader", "encode_backup_header"]

BACKUP_VERSION = 1
_MAGIC = b"RLbackup"
_HEAD = struct.Struct("<8sII")
_HEADER_BYTES_MAX = 1 << 16
_REMEDY = "Take another copy of the backup: this one cannot be restored"


class BackupHeader(msgspec.Struct, frozen=True, array_like=True):
    """Where a backup comes from."""

    version: int
    cluster_id: str
    node_id: NodeId
    time_ms: int
    """Milliseconds since 1970 by the clock of the node that gave it."""
    software: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BackupHeader).decode


def encode_backup_header(header: BackupHeader) -> bytes:
    """Return the bytes in front of the snapshot."""
    body = _encode(header)
    return _HEAD.pack(_MAGIC, len(body), google_crc32c.value(body)) + body


class BackupReader:
    """An open backup file.

    Raises on opening `CorruptLog` if it is none or damaged, `ConfigError` if it is newer or there is no such file.
    """

    def __init__(self, files: Files, path: str) -> None:
        try:
            self._file: File = files.open(path)
        except FileNotFoundError as error:
            raise ConfigError(f"{path} is not there: name a file that `raftline backup` made") from error
        except OSError as error:
            raise storage_error("read", path, error) from error
        try:
            head = self._head(path)
            self.header, start = self._read_header(path, head)
            self.snapshot = SnapshotReader(path, self._file, start=start, remedy=_REMEDY)
        except BaseException:
            self._file.close()
            raise

    def _head(self, path: str) -> bytes:
        try:
            return self._file.read_at(0, _HEAD.size)
        except IsADirectoryError as error:
            raise ConfigError(f"{path} is a directory: name a file that `raftline backup` made") from error
        except OSError as error:
            raise storage_error("read", path, error) from error

    @property
    def meta(self) -> SnapshotMeta:
        """Return what the snapshot stands for."""
        return self.snapshot.meta

    def chunks(self) -> Iterator[bytes]:
        """Yield the snapshot's chunks, each one checked; raises `CorruptLog` where one is damaged or missing."""
        return self.snapshot.chunks()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_header(self, path: str, head: bytes) -> tuple[BackupHeader, int]:
        magic, length, checksum = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0)
        if magic != _MAGIC:
            raise CorruptLog(f"{path} is no backup: it does not begin as one. Name a file that `raftline backup` made")
        body = self._file.read_at(_HEAD.size, min(length, _HEADER_BYTES_MAX))
        if len(body) != length or google_crc32c.value(body) != checksum:
            raise CorruptLog(f"{path}, offset 0: its header is damaged. {_REMEDY}")
        try:
            header = _decode(body)
        except msgspec.MsgspecError as error:
            raise CorruptLog(f"{path}, offset 0: its header cannot be read: {error}. {_REMEDY}") from error
        if header.version > BACKUP_VERSION:
            raise ConfigError(
                f"{path} has format {header.version}, this raftline reads up to {BACKUP_VERSION}: use a newer raftline"
            )
        return header, _HEAD.size + length
