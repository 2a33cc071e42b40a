"""Reading entries back from the segments of a log that is in use, for a follower that is far behind.

Only frames that are durable are read, each one checked again; the file may be the one being written to. It knows no
more of the log than the spans it is given, so it may run on another thread than the log's.
"""

from collections.abc import Iterator, Sequence

import msgspec

from raftline.core.entries import Entry, fitting
from raftline.core.ids import GroupId, Index
from raftline.errors import CorruptLog
from raftline.wal.files import File, Files
from raftline.wal.log_index import Span
from raftline.wal.record import (
    END_MARK,
    HEADER,
    MAGIC,
    Write,
    decode_writes,
    frame_bytes,
    header_checksum,
    payload_checksum,
    salt_of,
)
from raftline.wal.segment import segment_name
from raftline.wal.storage_errors import REMEDY, storage_error

__all__ = ["read_entries"]


def read_entries(
    files: Files, directory: str, group: GroupId, spans: Sequence[Span], bytes_max: int
) -> tuple[Entry, ...]:
    """Return the entries of `spans`, from the first on, as many as fit `bytes_max` and at least one.

    None at all if a segment was removed meanwhile. Raises `CorruptLog` for a frame that is damaged, `StorageError`.
    """
    found: list[Entry] = []
    size = 0
    for span in spans:
        path = f"{directory}/{segment_name(span.sequence)}"
        try:
            file = files.open(path)
            try:
                for entry in _entries(path, file, group, span):
                    found.append(entry)
                    size += len(entry.data) + 16
                    if size >= bytes_max:
                        return fitting(found, bytes_max)
            finally:
                file.close()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise storage_error("read", path, error) from error
    return tuple(found)


def _entries(path: str, file: File, group: GroupId, span: Span) -> Iterator[Entry]:
    """Yield the entries of one span."""
    salt = salt_of(file.read_at(0, HEADER.size))
    offset, wanted = span.offset, span.low
    while wanted < span.high:
        body = _frame_at(path, file, offset, salt)
        try:
            writes = decode_writes(body)
        except msgspec.MsgspecError as error:
            raise _corrupt(path, offset) from error
        for entry in _last_version(group, writes):
            if entry.index == wanted < span.high:
                yield entry
                wanted += 1
        offset += frame_bytes(len(body))


def _last_version(group: GroupId, writes: Sequence[Write]) -> list[Entry]:
    """Return what a frame adds to the log of a group: later records may replace what earlier ones hold."""
    entries: list[Entry] = []
    for write in writes:
        if write.group == group:
            if write.reset is not None:
                entries = []
            if write.entries:
                first: Index = write.entries[0].index
                if entries:
                    del entries[max(0, first - entries[0].index) :]
                entries.extend(write.entries)
    return entries


def _frame_at(path: str, file: File, offset: int, salt: int) -> bytes:
    """Return the payload of the frame at `offset`, every check passed."""
    head = file.read_at(offset, HEADER.size)
    if len(head) == HEADER.size:
        magic, length, _, header_crc, crc = HEADER.unpack(head)
        if magic == MAGIC and header_crc == header_checksum(head[:16], salt):
            body = file.read_at(offset + HEADER.size, length + len(END_MARK))
            if body[length:] == END_MARK and payload_checksum(header_crc, body[:length]) == crc:
                return body[:length]
    raise _corrupt(path, offset)


def _corrupt(path: str, offset: int) -> CorruptLog:
    return CorruptLog(f"{path}, offset {offset}: a frame that was written is damaged. Nothing was changed; {REMEDY}")
