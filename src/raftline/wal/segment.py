"""Reading one segment: its frames in order, and what stands behind the last good one.

A segment is made aside, at its full size, with its header, and renamed only when it is durable; a file with a
segment's name and another size than its header says has been damaged.
"""

from collections.abc import Iterator
from typing import NoReturn

import msgspec

from raftline.errors import CorruptLog
from raftline.wal.files import File
from raftline.wal.record import (
    END_MARK,
    HEADER,
    MAGIC,
    SegmentHeader,
    Write,
    decode_payload,
    header_checksum,
    payload_checksum,
)
from raftline.wal.recovery import Finding

__all__ = ["FORMAT_VERSION", "SegmentReader", "segment_name", "segment_sequence"]

FORMAT_VERSION = 1
_SECTOR = 512


def segment_name(sequence: int) -> str:
    """Return the file name of a segment."""
    return f"wal-{sequence:016d}.log"


def segment_sequence(name: str) -> int | None:
    """Return the number in a segment's file name, None for any other file."""
    if name.startswith("wal-") and name.endswith(".log") and name[4:-4].isdigit():
        return int(name[4:-4])
    return None


class SegmentReader:
    """The frames of one segment.

    Invariant: `end` is the offset behind the last good frame, `next_number` the number the next one must have.
    """

    def __init__(self, path: str, file: File, sequence: int) -> None:
        self.path = path
        self.sequence = sequence
        self._data = file.read_at(0, file.size())
        self.end = 0
        body = self._frame_at(0)
        if body is None:
            self.refuse(0, "its header is damaged")
        self.next_number = self._number_at(0) + 1
        try:
            header = decode_payload(body, first=True)
        except msgspec.MsgspecError as error:
            self.refuse(0, f"its header cannot be read: {error}")
        assert isinstance(header, SegmentHeader), "the first frame is the header"
        self.header = header
        if header.version > FORMAT_VERSION:
            self.refuse(
                0, f"it has format {header.version}, this raftline reads up to {FORMAT_VERSION}: use a newer one"
            )
        if header.size_bytes != len(self._data):
            self.refuse(
                min(len(self._data), header.size_bytes),
                f"it has {len(self._data)} bytes, but was made with {header.size_bytes}",
            )
        self.end = HEADER.size + len(body) + len(END_MARK)

    def frames(self) -> Iterator[tuple[int, tuple[Write, ...]]]:
        """Yield (offset, records) of each good frame behind the header, in order."""
        while (body := self._frame_at(self.end)) is not None and self._number_at(self.end) == self.next_number:
            try:
                writes = decode_payload(body, first=False)
            except msgspec.MsgspecError as error:
                self.refuse(self.end, f"a frame with a good checksum cannot be read: {error}")
            assert not isinstance(writes, SegmentHeader), "only the first frame is a header"
            yield self.end, writes
            self.next_number += 1
            self.end += HEADER.size + len(body) + len(END_MARK)

    def finding(self, *, last_segment: bool) -> Finding:
        """Say what stands behind the last good frame."""
        rest = self._data[self.end :]
        clean = not rest.strip(b"\0")
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
        raise CorruptLog(
            f"{self.path}, offset {offset}: {reason}. Nothing was changed; restore the file from a backup, or wipe "
            f"this node's data directory and let it catch up from the others"
        )

    def _number_at(self, offset: int) -> int:
        return int(HEADER.unpack_from(self._data, offset)[2])

    def _frame_at(self, offset: int) -> bytes | None:
        """Return the payload of a frame whose every check passes."""
        data = self._data
        if offset + HEADER.size > len(data):
            return None
        magic, length, _, header_crc, crc = HEADER.unpack_from(data, offset)
        if magic != MAGIC or header_crc != header_checksum(data[offset : offset + 16], self.sequence):
            return None
        start = offset + HEADER.size
        body = data[start : start + length]
        if len(body) != length or payload_checksum(header_crc, body) != crc:
            return None
        return body if data[start + length : start + length + len(END_MARK)] == END_MARK else None

    def _has_later_frame(self) -> bool:
        position = self._data.find(MAGIC, self.end + 1)
        while position >= 0:
            if self._frame_at(position) is not None and self._number_at(position) > self.next_number:
                return True
            position = self._data.find(MAGIC, position + 1)
        return False

    def _has_holes(self) -> bool:
        """Say whether part of the frame at `end` was never written: a zero sector, or a zero tail."""
        data, start = self._data, self.end
        header = data[start : start + HEADER.size]
        magic, length, number, header_crc, _ = HEADER.unpack(header.ljust(HEADER.size, b"\0"))
        known = (
            magic == MAGIC
            and header_crc == header_checksum(header[:16], self.sequence)
            and number == self.next_number
            and start + HEADER.size + length + len(END_MARK) <= len(data)
        )
        if not known:
            # The header itself is not whole: either its tail is missing and everything behind it, or all of it is.
            behind = data[start + HEADER.size :]
            split = -start % _SECTOR
            in_two = split < HEADER.size and not (header[:split].strip(b"\0") and header[split:].strip(b"\0"))
            return not header.strip(b"\0") or in_two or not behind.strip(b"\0")
        stop = start + HEADER.size + length + len(END_MARK)
        if not any(data[stop - len(END_MARK) : stop]):
            return True
        if not data[stop - 1] and all(
            found in (0, wanted) for found, wanted in zip(data[stop - 4 : stop], END_MARK, strict=True)
        ):
            return True
        first = (start + HEADER.size + _SECTOR - 1) // _SECTOR * _SECTOR
        zero = bytes(_SECTOR)
        return any(data[sector : sector + _SECTOR] == zero for sector in range(first, stop - _SECTOR + 1, _SECTOR))
