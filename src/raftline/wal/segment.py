"""Reading one segment: its frames in order, and what stands behind the last good one.

A segment is made aside, at its full size, with its header, and renamed only when it is durable; a file with a
segment's name and another size than its header says has been damaged. Nothing here changes a file.
"""

import struct
from collections.abc import Iterator
from typing import NoReturn

import msgspec

from raftline.errors import ConfigError, CorruptLog
from raftline.wal.files import File, Files
from raftline.wal.record import (
    END_MARK,
    HEADER,
    MAGIC,
    SegmentHeader,
    Write,
    decode_header,
    decode_writes,
    first_salt,
    frame_bytes,
    header_checksum,
    payload_checksum,
    salt_of,
)
from raftline.wal.recovery import Finding
from raftline.wal.storage_errors import REMEDY

__all__ = ["FORMAT_VERSION", "SegmentReader", "owner_of", "segment_name", "segment_sequence"]

FORMAT_VERSION = 1
_HEADER_BYTES_MAX = 1 << 20
_SECTOR = 512
_ZERO_SECTOR = bytes(_SECTOR)
_CHECKED_BYTES = HEADER.size - 4
"""The part of a frame's header that is whole if its first checksum fits."""


def segment_name(sequence: int) -> str:
    """Return the file name of a segment."""
    return f"wal-{sequence:016d}.log"


def segment_sequence(name: str) -> int | None:
    """Return the number in a segment's file name, None for any other file."""
    digits = name.removeprefix("wal-").removesuffix(".log")
    return int(digits) if digits.isdecimal() and name == segment_name(int(digits)) else None


def owner_of(files: Files, directory: str) -> tuple[str, str] | None:
    """Return the (cluster id, node id) that the last segment's header gives, None if it cannot be told.

    Reads that header only, and judges nothing: opening the log does.
    """
    try:
        names = [name for name in files.list(directory) if segment_sequence(name) is not None]
        if not names:
            return None
        file = files.open(f"{directory}/{names[-1]}")
    except OSError:
        return None
    try:
        _, length, *_ = HEADER.unpack(file.read_at(0, HEADER.size))
        header = decode_header(file.read_at(HEADER.size, min(length, _HEADER_BYTES_MAX)))
    except (OSError, struct.error, msgspec.MsgspecError):
        return None
    finally:
        file.close()
    return header.cluster_id, header.node_id


class SegmentReader:
    """The frames of one segment; raises `CorruptLog` on opening if the header is damaged, `ConfigError` if it is newer.

    Invariants: `end` is the offset behind the last good frame, `last_offset` where that one starts, `next_number` the
    number the next one must have.
    """

    def __init__(self, path: str, file: File, sequence: int) -> None:
        self.path = path
        self._data = file.read_at(0, file.size())
        self.salt = first_salt(sequence)
        if self._data[:3] == MAGIC[:3] and self._data[3:4] > MAGIC[3:]:
            raise self._newer(self._data[3:4].decode("latin-1"))
        body = self._frame_at(0)
        if body is None:
            self.refuse(0, "its header is damaged")
        try:
            header = decode_header(body)
        except msgspec.MsgspecError as error:
            self.refuse(0, f"its header cannot be read: {error}")
        if header.version > FORMAT_VERSION:
            raise self._newer(str(header.version))
        if header.size_bytes != len(self._data):
            self.refuse(
                min(len(self._data), header.size_bytes),
                f"it has {len(self._data)} bytes, but was made with {header.size_bytes}",
            )
        self.header: SegmentHeader = header
        self.number = self._number_at(0)
        self.next_number = self.number + 1
        self.salt = salt_of(self._data)
        self.last_offset = 0
        self._first_end = self.end = frame_bytes(len(body))

    def again(self) -> "SegmentReader":
        """Return self, back behind the header."""
        self.end, self.next_number, self.last_offset = self._first_end, self.number + 1, 0
        return self

    def frames(self) -> Iterator[tuple[int, tuple[Write, ...]]]:
        """Yield (offset, records) of each good frame behind the header, in order."""
        while (body := self._frame_at(self.end)) is not None and self._number_at(self.end) == self.next_number:
            try:
                writes = decode_writes(body)
            except msgspec.MsgspecError as error:
                self.refuse(self.end, f"a frame with a good checksum cannot be read: {error}")
            yield self.end, writes
            self.next_number += 1
            self.last_offset = self.end
            self.end += frame_bytes(len(body))

    def last_frame(self) -> bytes:
        """Return the bytes of the last good frame, to be written once more."""
        return self._data[self.last_offset : self.end]

    def finding(self, *, last_segment: bool) -> Finding:
        """Say what stands behind the last good frame."""
        clean = self.dirty_end() <= self.end
        return Finding(
            last_segment=last_segment,
            clean=clean,
            later_frame=not clean and self._has_later_frame(),
            has_holes=not clean and self._has_holes(),
        )

    def dirty_end(self) -> int:
        """Return the offset behind the last byte that is not zero."""
        return len(self._data.rstrip(b"\0"))

    def refuse(self, offset: int, reason: str) -> NoReturn:
        """Raise `CorruptLog` naming file, offset and reason."""
        raise CorruptLog(f"{self.path}, offset {offset}: {reason}. Nothing was changed; {REMEDY}")

    def _newer(self, version: str) -> ConfigError:
        return ConfigError(
            f"{self.path} has format {version}, this raftline reads up to {FORMAT_VERSION}: use a newer raftline"
        )

    def _number_at(self, offset: int) -> int:
        return int(HEADER.unpack_from(self._data, offset)[2])

    def _header_at(self, offset: int) -> tuple[int, int, int, int] | None:
        """Return (payload length, number, both checksums) of a frame whose header is whole."""
        if offset + HEADER.size > len(self._data):
            return None
        magic, length, number, header_crc, crc = HEADER.unpack_from(self._data, offset)
        if magic != MAGIC or header_crc != header_checksum(self._data[offset : offset + 16], self.salt):
            return None
        return length, number, header_crc, crc

    def _frame_at(self, offset: int) -> bytes | None:
        """Return the payload of a frame whose every check passes."""
        header = self._header_at(offset)
        if header is None:
            return None
        length, _, header_crc, crc = header
        stop = offset + frame_bytes(length)
        body = self._data[offset + HEADER.size : stop - len(END_MARK)]
        if self._data[stop - len(END_MARK) : stop] != END_MARK or payload_checksum(header_crc, body) != crc:
            return None
        return body

    def _torn_stop(self) -> int | None:
        """Return where the frame behind the last good one should end, None if its header is not whole."""
        header = self._header_at(self.end)
        if header is None or header[1] != self.next_number:
            return None
        stop = self.end + frame_bytes(header[0])
        return stop if stop <= len(self._data) else None

    def _has_later_frame(self) -> bool:
        """Say whether something was written behind the damaged frame.

        A whole header says where it ends, and any byte behind that is later; else a later header must be found.
        """
        stop = self._torn_stop()
        if stop is not None:
            return self.dirty_end() > stop
        position = self._data.find(MAGIC, self.end)
        while position >= 0:
            header = self._header_at(position)
            if header is not None and header[1] > self.next_number:
                return True
            position = self._data.find(MAGIC, position + 1)
        return False

    def _has_holes(self) -> bool:
        """Say whether part of the frame at `end` was never written: a zero sector, or a zero tail."""
        data, start = self._data, self.end
        boundary = (start // _SECTOR + 1) * _SECTOR
        stop = self._torn_stop()
        if stop is None:
            # The header is not whole: its first sector, its second one, or everything from some byte on is missing.
            second_lost = boundary < start + HEADER.size and not any(data[boundary : boundary + _SECTOR])
            return second_lost or not any(data[start:boundary]) or self.dirty_end() <= start + HEADER.size
        mark = data[stop - len(END_MARK) : stop]
        if not mark[-1] and all(found in (0, wanted) for found, wanted in zip(mark, END_MARK, strict=True)):
            return True
        # The header up to the payload's checksum is there; a sector that begins with what is left of it may not be.
        first = (start + _CHECKED_BYTES + _SECTOR - 1) // _SECTOR * _SECTOR
        return any(data[at : at + _SECTOR] == _ZERO_SECTOR for at in range(first, stop - _SECTOR + 1, _SECTOR))
