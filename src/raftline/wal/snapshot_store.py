"""Snapshot files: written aside, checksummed end to end, renamed when durable.

    header   magic (8), length (4), CRC32C (4), MessagePack of (version, group, meta)
    chunks   length (4), CRC32C (4) of the chunk seeded with the CRC before it, the chunk
    footer   0xFFFFFFFF (4), CRC32C (4) of the count seeded with the last chunk's, count of chunks (8)

A file travels to a follower byte for byte; a chunk that is missing, moved or changed breaks the chain of checksums.
"""

import struct
from collections.abc import Iterator

import google_crc32c
import msgspec

from raftline.core.entries import SnapshotMeta
from raftline.core.ids import GroupId, Index
from raftline.errors import CorruptLog
from raftline.wal.files import File, Files
from raftline.wal.storage_errors import storage_error

__all__ = ["SnapshotReader", "SnapshotReceiver", "SnapshotStore", "SnapshotWriter"]

_MAGIC = b"RLsnap01"
_HEAD = struct.Struct("<8sII")
_CHUNK = struct.Struct("<II")
_COUNT = struct.Struct("<Q")
_FOOTER_LENGTH = 0xFFFFFFFF
_VERSION = 1
_SYNC_EVERY_BYTES = 8 << 20
_crc = google_crc32c.extend


class _Header(msgspec.Struct, frozen=True, array_like=True):
    version: int
    group: GroupId
    meta: SnapshotMeta


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Header).decode


class SnapshotStore:
    """The snapshots in one data directory."""

    def __init__(self, files: Files, directory: str) -> None:
        self._files = files
        self._directory = directory

    def create(self, group: GroupId, meta: SnapshotMeta) -> "SnapshotWriter":
        """Start a snapshot of this node's own state; it appears under its name with `commit`."""
        return SnapshotWriter(self._files, self._directory, group, meta)

    def receive(self, group: GroupId, meta: SnapshotMeta) -> "SnapshotReceiver":
        """Start a snapshot whose bytes come from the leader."""
        return SnapshotReceiver(self._files, self._directory, group, meta)

    def latest(self, group: GroupId) -> "SnapshotReader | None":
        """Open the newest snapshot of `group`; it stays readable even if it is removed meanwhile."""
        named = self._names(group)
        if not named:
            return None
        path = f"{self._directory}/{named[-1][1]}"
        try:
            return SnapshotReader(path, self._files.open(path))
        except OSError as error:
            raise storage_error("read", path, error) from error

    def prune(self, group: GroupId, keep_index: Index) -> int:
        """Remove the snapshots of `group` before `keep_index`; return how many."""
        old = [name for index, name in self._names(group) if index < keep_index]
        try:
            for name in old:
                self._files.remove(f"{self._directory}/{name}")
            if old:
                self._files.sync_directory(self._directory)
        except OSError as error:
            raise storage_error("remove old snapshots in", self._directory, error) from error
        return len(old)

    def recover(self) -> dict[GroupId, SnapshotMeta]:
        """Return the newest snapshot of each group, its header checked, and remove the older ones.

        Raises `CorruptLog` if the newest is damaged: a snapshot gets its name only when it is whole.
        """
        groups = {key[0] for name in self._files.list(self._directory) if (key := _parse_name(name)) is not None}
        found: dict[GroupId, SnapshotMeta] = {}
        for group in sorted(groups):
            reader = self.latest(group)
            assert reader is not None, "a name of this group was listed"
            found[group] = reader.meta
            reader.close()
            self.prune(group, found[group].index)
        return found

    def _names(self, group: GroupId) -> list[tuple[Index, str]]:
        """Return (index, name) of the snapshots of `group`, oldest first."""
        parsed = [(key, name) for name in self._files.list(self._directory) if (key := _parse_name(name)) is not None]
        return sorted((index, name) for (owner, index), name in parsed if owner == group)


class SnapshotWriter:
    """A snapshot being written aside.

    Invariant: nothing of it is visible before `commit`.
    """

    def __init__(self, files: Files, directory: str, group: GroupId, meta: SnapshotMeta) -> None:
        self._files = files
        self._directory = directory
        self._name = _name(group, meta)
        self._path = f"{directory}/{self._name}.taken.tmp"
        self._count = 0
        self._unsynced = 0
        body = _encode(_Header(_VERSION, group, meta))
        self._checksum = int(_crc(0, body))
        try:
            self._file = files.open(self._path, create=True)
            self._file.truncate(0)
            self._offset = 0
            self._put(_HEAD.pack(_MAGIC, len(body), self._checksum) + body)
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def write(self, chunk: bytes) -> None:
        """Add a chunk of the state machine's."""
        self._checksum = int(_crc(self._checksum, chunk))
        self._count += 1
        try:
            self._put(_CHUNK.pack(len(chunk), self._checksum) + chunk)
            if self._unsynced >= _SYNC_EVERY_BYTES:
                # A little at a time, so that the log's own fsync never queues behind a whole snapshot.
                self._file.sync()
                self._unsynced = 0
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def commit(self) -> None:
        """Make it whole, durable and visible, in this order."""
        count = _COUNT.pack(self._count)
        try:
            self._put(_CHUNK.pack(_FOOTER_LENGTH, int(_crc(self._checksum, count))) + count)
            self._file.sync()
            self._file.close()
            self._files.rename(self._path, f"{self._directory}/{self._name}")
            self._files.sync_directory(self._directory)
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def abort(self) -> None:
        """Give it up."""
        self._file.close()
        self._files.remove(self._path)

    def _put(self, data: bytes) -> None:
        self._file.write_at(self._offset, data)
        self._offset += len(data)
        self._unsynced += len(data)


class SnapshotReceiver:
    """A snapshot arriving in pieces, in order.

    Invariant: `next_offset` is how many bytes have arrived.
    """

    def __init__(self, files: Files, directory: str, group: GroupId, meta: SnapshotMeta) -> None:
        self._files = files
        self._directory = directory
        self._meta = meta
        self._name = _name(group, meta)
        self._path = f"{directory}/{self._name}.received.tmp"
        self._unsynced = 0
        self.next_offset = 0
        try:
            self._file = files.open(self._path, create=True)
            self._file.truncate(0)
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def write_at(self, offset: int, data: bytes) -> None:
        """Add the piece that starts at `offset`, which must be `next_offset`."""
        assert offset == self.next_offset, "pieces arrive in order"
        try:
            self._file.write_at(offset, data)
            self.next_offset += len(data)
            self._unsynced += len(data)
            if self._unsynced >= _SYNC_EVERY_BYTES:
                self._file.sync()
                self._unsynced = 0
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def commit(self) -> bool:
        """Check every byte, then make it durable and visible; False, and it is gone, if it is damaged."""
        try:
            reader = SnapshotReader(self._path, self._file)
            whole = reader.meta == self._meta and sum(1 for _ in reader.chunks()) >= 0
        except CorruptLog:
            whole = False
        try:
            if not whole:
                self.abort()
                return False
            self._file.sync()
            self._file.close()
            self._files.rename(self._path, f"{self._directory}/{self._name}")
            self._files.sync_directory(self._directory)
        except OSError as error:
            raise storage_error("write", self._path, error) from error
        return True

    def abort(self) -> None:
        """Give it up."""
        self._file.close()
        self._files.remove(self._path)


class SnapshotReader:
    """A snapshot file, as raw bytes for a follower and as checked chunks for the state machine.

    Raises `CorruptLog` on opening if the header is damaged, and from `chunks` where a chunk is.
    """

    def __init__(self, path: str, file: File) -> None:
        self._path = path
        self._file = file
        self.size = file.size()
        head = file.read_at(0, _HEAD.size)
        if len(head) < _HEAD.size:
            raise self._corrupt(0, "it ends inside its header")
        magic, length, checksum = _HEAD.unpack(head)
        body = file.read_at(_HEAD.size, min(length, self.size))
        if magic != _MAGIC or len(body) != length or _crc(0, body) != checksum:
            raise self._corrupt(0, "its header is damaged")
        try:
            header = _decode(body)
        except msgspec.MsgspecError as error:
            raise self._corrupt(0, f"its header cannot be read: {error}") from error
        if header.version > _VERSION:
            raise self._corrupt(0, f"it has format {header.version}, this raftline reads up to {_VERSION}")
        self.group = header.group
        self.meta = header.meta
        self._checksum = int(checksum)
        self._start = _HEAD.size + length

    def read(self, offset: int, limit: int) -> bytes:
        """Return up to `limit` raw bytes from `offset`."""
        return self._file.read_at(offset, limit)

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks in order, each one checked; behind the last the footer."""
        offset, checksum, count = self._start, self._checksum, 0
        while True:
            head = self._file.read_at(offset, _CHUNK.size)
            if len(head) < _CHUNK.size:
                raise self._corrupt(offset, "it ends before its footer")
            length, wanted = _CHUNK.unpack(head)
            if length == _FOOTER_LENGTH:
                tail = self._file.read_at(offset + _CHUNK.size, _COUNT.size + 1)
                if tail != _COUNT.pack(count) or _crc(checksum, tail) != wanted:
                    raise self._corrupt(offset, "its footer is damaged")
                return
            if offset + _CHUNK.size + length > self.size:
                raise self._corrupt(offset, "it ends inside a chunk")
            chunk = self._file.read_at(offset + _CHUNK.size, length)
            checksum = int(_crc(checksum, chunk))
            if checksum != wanted:
                raise self._corrupt(offset, "a chunk is damaged")
            yield chunk
            count += 1
            offset += _CHUNK.size + length

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _corrupt(self, offset: int, reason: str) -> CorruptLog:
        return CorruptLog(
            f"{self._path}, offset {offset}: {reason}. Restore the file from a backup, or wipe this node's data "
            f"directory and let it catch up from the others"
        )


def _name(group: GroupId, meta: SnapshotMeta) -> str:
    return f"snapshot-{group}-{meta.index:016d}-{meta.term}.snap"


def _parse_name(name: str) -> tuple[GroupId, Index] | None:
    parts = name.removesuffix(".snap").split("-")
    if not name.endswith(".snap") or len(parts) != 4 or parts[0] != "snapshot":
        return None
    if not all(part.isdigit() for part in parts[1:]):
        return None
    return int(parts[1]), int(parts[2])
