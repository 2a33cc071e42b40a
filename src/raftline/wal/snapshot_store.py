"""Snapshot files: written aside, checksummed end to end, renamed when durable.

    header   magic (8), length (4), CRC32C (4), MessagePack of (version, group, meta)
    chunks   length (4), CRC32C (4) of the chunk seeded with the CRC before it, the chunk
    footer   0xFFFFFFFF (4), CRC32C (4) of the count seeded with the last chunk's, count of chunks (8)

A file travels to a follower byte for byte; a chunk that is missing, moved or changed breaks the chain of checksums.
"""

import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import google_crc32c
import msgspec

from raftline.core.entries import SnapshotMeta
from raftline.core.ids import GroupId, Index
from raftline.errors import ConfigError, CorruptLog, StorageError
from raftline.wal.files import File, Files
from raftline.wal.storage_errors import REMEDY, storage_error

__all__ = ["SnapshotReader", "SnapshotReceiver", "SnapshotStore", "SnapshotWriter", "parse_snapshot_name"]

_MAGIC = b"RLsnap01"
_HEAD = struct.Struct("<8sII")
_CHUNK = struct.Struct("<II")
_COUNT = struct.Struct("<Q")
_FOOTER_LENGTH = 0xFFFFFFFF
_VERSION = 1
_HEADER_BYTES_MAX = 16 << 20
_SYNC_EVERY_BYTES = 256 << 10
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
        return self.open(named[-1][1])

    def find(self, group: GroupId, meta: SnapshotMeta) -> "SnapshotReader | None":
        """Open the snapshot `meta` of `group`, or the newest if that one is gone already."""
        name = _name(group, meta)
        return self.open(name) if any(name == known for _, known in self._names(group)) else self.latest(group)

    def open(self, name: str) -> "SnapshotReader":
        """Open the snapshot file `name`."""
        path = f"{self._directory}/{name}"
        try:
            file = self._files.open(path)
        except OSError as error:
            raise storage_error("read", path, error) from error
        try:
            reader = SnapshotReader(path, file)
            reader.check_name(name)
        except BaseException:
            file.close()
            raise
        return reader

    def prune(self, group: GroupId, keep_index: Index) -> int:
        """Remove the snapshots of `group` before `keep_index`; return how many."""
        old = [name for index, name in self._names(group) if index < keep_index]
        self._remove(old)
        return len(old)

    def remove(self, group: GroupId) -> None:
        """Remove every snapshot of `group`, finished or not, durably; raises `StorageError`."""
        try:
            names = self._files.list(self._directory)
        except OSError as error:
            raise storage_error("read", self._directory, error) from error
        self._remove([name for name in names if name.startswith(f"snapshot-{group}-")])

    def _remove(self, names: Sequence[str]) -> None:
        try:
            for name in names:
                self._files.remove(f"{self._directory}/{name}")
            if names:
                self._files.sync_directory(self._directory)
        except OSError as error:
            raise storage_error("remove old snapshots in", self._directory, error) from error

    def newest(self, *, without: Collection[GroupId] = ()) -> dict[GroupId, SnapshotMeta]:
        """Return the newest snapshot of each group but those in `without`, its header checked.

        Raises `CorruptLog` if one is damaged or misnamed: a snapshot gets its name only when it is whole.
        """
        found: dict[GroupId, SnapshotMeta] = {}
        for group in sorted(self.reach().keys() - set(without)):
            reader = self.latest(group)
            assert reader is not None, "a name of this group was listed"
            found[group] = reader.meta
            reader.close()
        return found

    def reach(self) -> dict[GroupId, Index]:
        """Return up to where the newest snapshot of each group reaches, by its name; nothing is opened."""
        keys = [key for name in self._files.list(self._directory) if (key := parse_snapshot_name(name)) is not None]
        return dict(sorted(keys))

    def _names(self, group: GroupId) -> list[tuple[Index, str]]:
        """Return (index, name) of the snapshots of `group`, oldest first."""
        parsed = [
            (key, name) for name in self._files.list(self._directory) if (key := parse_snapshot_name(name)) is not None
        ]
        return sorted((index, name) for (owner, index), name in parsed if owner == group)


class _Aside:
    """A snapshot file being made under another name.

    Invariants: nothing of it is visible before `publish`; after a failure nothing more is written.
    """

    def __init__(self, files: Files, directory: str, name: str, suffix: str) -> None:
        self._files = files
        self._directory = directory
        self._final_path = f"{directory}/{name}"
        self.path = f"{self._final_path}.{suffix}.tmp"
        self._broken: StorageError | None = None
        self._unsynced = 0
        self.size = 0
        self._file: File | None = None
        with self._turning_errors():
            self._file = files.open(self.path, create=True)
            self._file.truncate(0)

    def put(self, data: bytes) -> None:
        """Write at the end; a little is synced at a time, so that the log's fsync never queues behind all of it."""
        file = self._open_file()
        with self._turning_errors():
            file.write_at(self.size, data)
            self.size += len(data)
            self._unsynced += len(data)
            if self._unsynced >= _SYNC_EVERY_BYTES:
                file.sync()
                self._unsynced = 0

    def reader(self) -> "SnapshotReader":
        """Return a reader of what was written."""
        return SnapshotReader(self.path, self._open_file())

    def publish(self) -> None:
        """Make it durable, then visible, then its name durable."""
        file = self._open_file()
        with self._turning_errors():
            file.sync()
            file.close()
            self._file = None
            self._files.rename(self.path, self._final_path)
            self._files.sync_directory(self._directory)

    def abort(self) -> None:
        """Remove it; nothing happens if it is finished."""
        if self._file is not None:
            file, self._file = self._file, None
            with self._turning_errors():
                file.close()
                self._files.remove(self.path)

    def _open_file(self) -> File:
        if self._broken is not None:
            raise self._broken
        assert self._file is not None, "it is not finished"
        return self._file

    @contextmanager
    def _turning_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._broken = storage_error("write", self.path, error)
            raise self._broken from error


class SnapshotWriter:
    """A snapshot of this node's own state, being written aside; every method raises `StorageError`."""

    def __init__(self, files: Files, directory: str, group: GroupId, meta: SnapshotMeta) -> None:
        self._aside = _Aside(files, directory, _name(group, meta), "taken")
        self._count = 0
        body = _encode(_Header(_VERSION, group, meta))
        self._checksum = int(_crc(0, body))
        self._aside.put(_HEAD.pack(_MAGIC, len(body), self._checksum) + body)

    def write(self, chunk: bytes) -> None:
        """Add a chunk of the state machine's."""
        self._checksum = int(_crc(self._checksum, chunk))
        self._count += 1
        self._aside.put(_CHUNK.pack(len(chunk), self._checksum) + chunk)

    def commit(self) -> None:
        """Make it whole, durable and visible, in this order."""
        count = _COUNT.pack(self._count)
        self._aside.put(_CHUNK.pack(_FOOTER_LENGTH, int(_crc(self._checksum, count))) + count)
        self._aside.publish()

    def abort(self) -> None:
        """Give it up."""
        self._aside.abort()


class SnapshotReceiver:
    """A snapshot arriving in pieces, in order; every method raises `StorageError`."""

    def __init__(self, files: Files, directory: str, group: GroupId, meta: SnapshotMeta) -> None:
        self._aside = _Aside(files, directory, _name(group, meta), "received")
        self._group = group
        self._meta = meta
        self._chain = _Chain()

    @property
    def next_offset(self) -> int:
        """Return how many bytes have arrived."""
        return self._aside.size

    def write_at(self, offset: int, data: bytes) -> None:
        """Add the piece that starts at `offset`, which must be `next_offset`."""
        assert offset == self.next_offset, "pieces arrive in order"
        self._aside.put(data)
        self._chain.feed(data)

    def commit(self) -> bool:
        """Make it durable and visible if every byte was as it was written; False, and it is gone, if not."""
        whole = self._chain.is_whole
        if whole:
            try:
                reader = self._aside.reader()
                whole = reader.group == self._group and reader.meta == self._meta
            except CorruptLog:
                whole = False
        if whole:
            self._aside.publish()
        else:
            self._aside.abort()
        return whole

    def abort(self) -> None:
        """Give it up."""
        self._aside.abort()


class _Chain:
    """Follows the checksums of a snapshot file as its bytes come, so that at its end nothing has to be read again.

    Invariants: `_wanted` bytes complete what `_next` looks at; of a chunk no more than one piece is ever held.
    """

    def __init__(self) -> None:
        self._held = b""
        self._wanted = _HEAD.size
        self._next: Callable[[bytes], None] = self._on_head
        self._chunk_left = 0
        self._checksum = 0
        self._expected = 0
        self._count = 0
        self._is_damaged = False
        self.is_whole = False
        """Whether the footer has come and all before it was right."""

    def feed(self, data: bytes) -> None:
        """Look at the bytes that follow."""
        position = 0
        while position < len(data) and not self._is_damaged:
            if self._chunk_left:
                piece = data[position : position + self._chunk_left]
                self._checksum = int(_crc(self._checksum, piece))
                self._chunk_left -= len(piece)
                self._expect(self._chunk_left or self._checksum == self._expected)
            else:
                piece = data[position : position + self._wanted - len(self._held)]
                self._held += piece
                if len(self._held) == self._wanted:
                    held, self._held = self._held, b""
                    self._next(held)
            position += len(piece)

    def _expect(self, right: object) -> None:
        self._is_damaged = self._is_damaged or not right
        self.is_whole = self.is_whole and not self._is_damaged

    def _on_head(self, held: bytes) -> None:
        magic, self._wanted, self._expected = _HEAD.unpack(held)
        self._expect(magic == _MAGIC and 0 < self._wanted <= _HEADER_BYTES_MAX)
        self._next = self._on_body

    def _on_body(self, held: bytes) -> None:
        self._checksum = int(_crc(0, held))
        self._expect(self._checksum == self._expected)
        self._wanted, self._next = _CHUNK.size, self._on_chunk_head

    def _on_chunk_head(self, held: bytes) -> None:
        length, self._expected = _CHUNK.unpack(held)
        if length == _FOOTER_LENGTH:
            self._wanted, self._next = _COUNT.size, self._on_footer
        else:
            self._count += 1
            self._chunk_left = length
            self._expect(length or self._checksum == self._expected)

    def _on_footer(self, held: bytes) -> None:
        self._expect(held == _COUNT.pack(self._count) and int(_crc(self._checksum, held)) == self._expected)
        self.is_whole = not self._is_damaged
        self._wanted, self._next = 1, lambda _: self._expect(right=False)  # nothing comes behind it


class SnapshotReader:
    """A snapshot file, as raw bytes for a follower and as checked chunks for the state machine.

    Raises `CorruptLog` on opening if the header is damaged, and from `chunks` where a chunk is. The snapshot may begin
    at `start` of a larger file; all offsets but those in errors count from there.
    """

    def __init__(self, path: str, file: File, *, start: int = 0, remedy: str = f"To go on, {REMEDY}") -> None:
        self._path = path
        self._file = file
        self._base = start
        self._remedy = remedy
        try:
            self.size = file.size() - start
        except OSError as error:
            raise storage_error("read", path, error) from error
        head = self.read(0, _HEAD.size)
        if len(head) < _HEAD.size:
            raise self.corrupt(0, "it ends inside its header")
        magic, length, checksum = _HEAD.unpack(head)
        body = self.read(_HEAD.size, min(length, self.size))
        if magic != _MAGIC or len(body) != length or _crc(0, body) != checksum:
            raise self.corrupt(0, "its header is damaged")
        try:
            header = _decode(body)
        except msgspec.MsgspecError as error:
            raise self.corrupt(0, f"its header cannot be read: {error}") from error
        if header.version > _VERSION:
            raise ConfigError(
                f"{path} has format {header.version}, this raftline reads up to {_VERSION}: use a newer raftline"
            )
        self.group = header.group
        self.meta = header.meta
        self._checksum = int(checksum)
        self._start = _HEAD.size + length

    def check_name(self, name: str) -> None:
        """Raise `CorruptLog` if the file should have another name."""
        own = _name(self.group, self.meta)
        if own != name:
            raise self.corrupt(0, f"it holds what should be in {own}")

    def read(self, offset: int, limit: int) -> bytes:
        """Return up to `limit` raw bytes from `offset`; raises `StorageError`."""
        try:
            return self._file.read_at(self._base + offset, limit)
        except OSError as error:
            raise storage_error("read", self._path, error) from error

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks in order, each one checked; behind the last the footer."""
        offset, checksum, count = self._start, self._checksum, 0
        while True:
            head = self.read(offset, _CHUNK.size)
            if len(head) < _CHUNK.size:
                raise self.corrupt(offset, "it ends before its footer")
            length, wanted = _CHUNK.unpack(head)
            if length == _FOOTER_LENGTH:
                tail = self.read(offset + _CHUNK.size, _COUNT.size + 1)
                if tail != _COUNT.pack(count) or _crc(checksum, tail) != wanted:
                    raise self.corrupt(offset, "its footer is damaged")
                return
            if offset + _CHUNK.size + length > self.size:
                raise self.corrupt(offset, "it ends inside a chunk")
            chunk = self.read(offset + _CHUNK.size, length)
            checksum = int(_crc(checksum, chunk))
            if checksum != wanted:
                raise self.corrupt(offset, "a chunk is damaged")
            yield chunk
            count += 1
            offset += _CHUNK.size + length

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def corrupt(self, offset: int, reason: str) -> CorruptLog:
        """Return the error that names this file, the offset and the reason."""
        return CorruptLog(f"{self._path}, offset {self._base + offset}: {reason}. {self._remedy}")


def _name(group: GroupId, meta: SnapshotMeta) -> str:
    return f"snapshot-{group}-{meta.index:016d}-{meta.term}.snap"


def parse_snapshot_name(name: str) -> tuple[GroupId, Index] | None:
    """Return (group, index) of a snapshot's file name, None for any other file."""
    parts = name.removesuffix(".snap").split("-")
    if not name.endswith(".snap") or len(parts) != 4 or parts[0] != "snapshot":
        return None
    if not all(part.isdigit() for part in parts[1:]):
        return None
    return int(parts[1]), int(parts[2])
