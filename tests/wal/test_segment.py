"""Reading one segment: names, frames, and what is found behind the last good one."""

import itertools
import random
from pathlib import Path

import pytest

from raftline.core.entries import Entry
from raftline.errors import CorruptLog
from raftline.wal.files import OsFiles
from raftline.wal.record import SegmentHeader, Write, encode_frame, first_salt, salt_of
from raftline.wal.recovery import Finding
from raftline.wal.segment import FORMAT_VERSION, SegmentReader, segment_name, segment_sequence

SIZE = 1 << 14


def _segment(directory: Path, *frames: tuple[Write, ...]) -> tuple[Path, bytearray, list[int]]:
    """Write a segment; return its path, its bytes and where each frame ends."""
    data = bytearray(encode_frame(SegmentHeader(FORMAT_VERSION, "c", "n1", 4, SIZE, {}, {}, {}), 10, first_salt(4)))
    salt = salt_of(bytes(data))
    ends = [len(data)]
    for number, writes in enumerate(frames, start=11):
        data += encode_frame(writes, number, salt)
        ends.append(len(data))
    data += bytes(SIZE - len(data))
    return directory / segment_name(4), data, ends


def _read(path: Path, data: bytes | bytearray) -> tuple[SegmentReader, list[tuple[int, tuple[Write, ...]]]]:
    path.write_bytes(data)
    file = OsFiles().open(str(path))
    reader = SegmentReader(str(path), file, 4)
    file.close()
    return reader, list(reader.frames())


def _entry(index: int, size: int = 10) -> tuple[Write, ...]:
    return (Write(group=0, entries=(Entry(index, 1, random.Random(index).randbytes(size)),)),)


def test_names_carry_the_sequence() -> None:
    """Exactly our names are taken for segments, and they sort as numbers do."""
    assert segment_name(12) == "wal-0000000000000012.log"
    assert segment_sequence(segment_name(12)) == 12
    assert segment_sequence(segment_name(10**16)) == 10**16
    for name in ("wal-12.log", "wal-0000000000000012.log.tmp", "wal-x.log", "wal-.log", "wal-²000000000000000.log", ""):
        assert segment_sequence(name) is None


def test_frames_come_in_order_with_their_offsets(tmp_path: Path) -> None:
    """Reading ends behind the last one, and knows the number of the next."""
    path, data, ends = _segment(tmp_path, _entry(1), (), _entry(2))
    reader, frames = _read(path, data)
    assert [offset for offset, _ in frames] == ends[:-1]
    assert [writes for _, writes in frames] == [_entry(1), (), _entry(2)]
    assert (reader.end, reader.last_offset, reader.next_number, reader.number) == (ends[-1], ends[-2], 14, 10)
    assert reader.last_frame() == data[ends[-2] : ends[-1]]
    assert reader.finding(last_segment=True) == Finding(
        last_segment=True, clean=True, later_frame=False, has_holes=False
    )


def test_a_full_segment_ends_without_a_tail(tmp_path: Path) -> None:
    """A frame may end where the file does, or a few bytes before."""
    for spare in (0, 1, 23, 24, 27):
        path, _, ends = _segment(tmp_path, _entry(1, size=2000))
        path, data, ends = _segment(tmp_path, _entry(1, size=2000 + SIZE - ends[-1] - spare))
        assert ends[-1] == SIZE - spare
        reader, frames = _read(path, data)
        assert (len(frames), reader.end) == (1, ends[-1])
        assert reader.finding(last_segment=False).clean


@pytest.mark.parametrize("first_size", range(380, 420))
def test_whatever_is_missing_of_a_write_is_a_hole(tmp_path: Path, first_size: int) -> None:
    """Wherever its header lies within a sector: the first so many bytes, less any sectors, are seen as a torn write."""
    path, data, ends = _segment(tmp_path, _entry(1, size=first_size), _entry(2, size=1300))
    start, end = ends[1], ends[2]
    sectors = range(start // 512, (end - 1) // 512 + 1)
    cuts = [*random.Random(first_size).sample(range(start, end), 3), start + first_size % 24, end]
    for missing, cut in itertools.product(range(1 << len(sectors)), cuts):
        torn = data[:cut] + bytes(len(data) - cut)
        for bit, sector in enumerate(sectors):
            if missing >> bit & 1:
                low, high = max(start, sector * 512), min(end, (sector + 1) * 512)
                torn[low:high] = bytes(high - low)
        if torn == data:
            continue
        reader, frames = _read(path, torn)
        found = reader.finding(last_segment=True)
        assert len(frames) == 1, (missing, cut)
        assert found.clean == (not any(torn[start:end])), (missing, cut)
        assert found.clean or (found.has_holes and not found.later_frame), (missing, cut)


@pytest.mark.parametrize("size", [10, 600])
def test_a_changed_byte_is_no_hole(tmp_path: Path, size: int) -> None:
    """A frame of which every sector was written, and that is wrong all the same, was damaged later."""
    path, data, ends = _segment(tmp_path, _entry(1), _entry(2, size=size))
    for position in range(ends[1], ends[2]):
        changed = bytearray(data)
        changed[position] ^= 0xFF if changed[position] != 0xFF else 0x0F
        reader, frames = _read(path, changed)
        found = reader.finding(last_segment=True)
        assert (len(frames), found.clean, found.has_holes) == (1, False, False), position


def test_a_length_beyond_the_file_is_damage(tmp_path: Path) -> None:
    """A header whose checksum holds, with a length that no segment has room for."""
    path, data, ends = _segment(tmp_path, _entry(1))
    frame = encode_frame(_entry(2, size=SIZE), 12, salt_of(bytes(data)))
    data[ends[1] :] = frame[: SIZE - ends[1]]
    reader, frames = _read(path, data)
    found = reader.finding(last_segment=True)
    assert (len(frames), found.clean, found.has_holes) == (1, False, False)


def test_refusals_name_file_and_offset(tmp_path: Path) -> None:
    """So that somebody can look."""
    path, data, _ = _segment(tmp_path)
    with pytest.raises(CorruptLog, match=r"wal-0000000000000004\.log, offset 0: its header is damaged"):
        _read(path, data[:20])
    with pytest.raises(CorruptLog, match=r"offset 16000: it has 16000 bytes, but was made with 16384"):
        _read(path, data[:16000])
    with pytest.raises(CorruptLog, match=r"offset 16384: it has 16385 bytes"):
        _read(path, data + b"\0")
