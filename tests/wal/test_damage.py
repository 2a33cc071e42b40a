"""Cut or flipped bytes at every position: what was fsynced is there, or the log refuses. Never silently less."""

from pathlib import Path

import pytest

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.errors import ConfigError, CorruptLog
from raftline.wal.files import OsFiles
from raftline.wal.record import (
    END_MARK,
    HEADER,
    SegmentHeader,
    encode_frame,
    first_salt,
    header_checksum,
    payload_checksum,
)
from raftline.wal.wal import Wal, Write

SEGMENT_BYTES = 1 << 16


def _open(directory: Path) -> Wal:
    return Wal.open(OsFiles(), str(directory), cluster_id="c", node_id="n1", segment_bytes=SEGMENT_BYTES)


def _written(directory: Path) -> tuple[Path, bytes, list[int]]:
    """Write a few batches; return the segment, its used bytes and where each frame ends."""
    wal = _open(directory)
    ends = [wal._end]
    wal.append([Write(group=0, hard_state=HardState(term=3, vote="n2"))])
    ends.append(wal._end)
    for index in range(1, 5):
        wal.append([Write(group=0, entries=(Entry(index, 3, b"command %d" % index),))])
        ends.append(wal._end)
    wal.close()
    (path,) = directory.glob("wal-*.log")
    return path, path.read_bytes(), ends


def _recovered(directory: Path) -> list[bytes]:
    wal = _open(directory)
    try:
        recovered = wal.recovered.get(0)
        return [entry.data for entry in recovered.entries] if recovered else []
    finally:
        wal.close()


WHOLE = [b"command %d" % index for index in range(1, 5)]


def test_a_flip_anywhere_is_refused_or_harmless(tmp_path: Path) -> None:
    """Every byte that was fsynced: the log opens whole, or says what is damaged (one bit per byte here)."""
    path, data, ends = _written(tmp_path)
    refused = 0
    for position in range(ends[-1] + 40):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            assert _recovered(tmp_path) == WHOLE, position
        except (CorruptLog, ConfigError) as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017  either outcome is right, each in its way
            assert path.read_bytes() == bytes(damaged), "nothing was changed"
    assert refused >= ends[-1], "every byte of every frame is guarded"


def test_a_write_torn_at_any_byte_is_cut_and_nothing_before_it_is_lost(tmp_path: Path) -> None:
    """The last batch was on its way when the power went: its first bytes are there, the rest still zero."""
    path, data, ends = _written(tmp_path)
    start, end = ends[-2], ends[-1]
    for kept in range(end - start):
        path.write_bytes(data[: start + kept] + bytes(len(data) - start - kept))
        assert _recovered(tmp_path) == WHOLE[:3], kept
        assert _recovered(tmp_path) == WHOLE[:3], "the cut is durable"


def test_a_write_torn_by_sectors_is_cut(tmp_path: Path) -> None:
    """A disk may write later sectors of a batch before earlier ones."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=(Entry(1, 1, b"first"),))])
    start = wal._end
    wal.append([Write(group=0, entries=(Entry(2, 1, bytes(range(1, 256)) * 20),))])
    end = wal._end
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    data = path.read_bytes()
    sectors = range(start // 512, (end - 1) // 512 + 1)
    for lost in sectors:
        damaged = bytearray(data)
        low, high = max(start, lost * 512), min(end, (lost + 1) * 512)
        damaged[low:high] = bytes(high - low)
        path.write_bytes(damaged)
        assert _recovered(tmp_path) == [b"first"], lost


def test_a_file_that_was_shortened_is_refused(tmp_path: Path) -> None:
    """A segment has its full size from the start, so a shorter one lost something, and nobody can tell what."""
    path, data, ends = _written(tmp_path)
    for size in (0, 10, ends[0], ends[2], ends[-1] - 1, ends[-1], len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(CorruptLog):
            _recovered(tmp_path)


def test_damage_before_a_good_frame_is_refused_by_offset(tmp_path: Path) -> None:
    """A zeroed frame in the middle is no torn tail (case B)."""
    path, data, ends = _written(tmp_path)
    damaged = bytearray(data)
    damaged[ends[1] : ends[2]] = bytes(ends[2] - ends[1])
    path.write_bytes(damaged)
    with pytest.raises(CorruptLog, match=rf"offset {ends[1]}.*before a later one"):
        _recovered(tmp_path)


def test_damage_before_a_torn_frame_is_no_torn_tail(tmp_path: Path) -> None:
    """The last write was interrupted, but the header of its frame is there: what stood before was durable (case B)."""
    path, data, ends = _written(tmp_path)
    damaged = bytearray(data)
    damaged[ends[-3] : ends[-2]] = bytes(ends[-2] - ends[-3])
    damaged[ends[-1] - 6 : ends[-1]] = bytes(6)
    path.write_bytes(damaged)
    with pytest.raises(CorruptLog, match=rf"offset {ends[-3]}: .*case B"):
        _recovered(tmp_path)


def test_zeros_across_a_frame_boundary_are_no_torn_tail(tmp_path: Path) -> None:
    """They take the end of one frame and the next header: what is left of that frame was written later (case B)."""
    wal = _open(tmp_path)
    ends = []
    for index in range(1, 4):
        wal.append([Write(group=0, entries=(Entry(index, 1, b"x" * 400),))])
        ends.append(wal._end)
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    data = bytearray(path.read_bytes())
    data[ends[1] - 1 : ends[1] + 24] = bytes(25)
    path.write_bytes(data)
    with pytest.raises(CorruptLog, match=rf"offset {ends[0]}: .*case B"):
        _recovered(tmp_path)


def test_a_value_that_looks_like_a_frame_is_none(tmp_path: Path) -> None:
    """A client may store bytes of a log: inside a torn frame they do not count as a later one."""
    wal = _open(tmp_path)
    start = wal._end
    forged = encode_frame([Write(group=0)], wal._next_number + 1, wal._salt)
    wal.append([Write(group=0, entries=(Entry(1, 1, forged + b"x" * 2000),))])
    end = wal._end
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    data = path.read_bytes()
    for kept in (end - start - 2, end - start - 600):
        path.write_bytes(data[: start + kept] + bytes(len(data) - start - kept))
        assert _recovered(tmp_path) == []


def test_a_last_frame_that_does_not_continue_is_refused(tmp_path: Path) -> None:
    """A whole frame with a number too high says that one before it is gone."""
    wal = _open(tmp_path)
    end, frame = wal._end, encode_frame([Write(group=0)], wal._next_number + 1, wal._salt)
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    data = path.read_bytes()
    path.write_bytes(data[:end] + frame + data[end + len(frame) :])
    with pytest.raises(CorruptLog, match="case B"):
        _open(tmp_path)


@pytest.mark.parametrize("payload", [b"\xc1", b"\x91\x01"])
def test_a_frame_that_is_whole_but_nonsense_is_refused(tmp_path: Path, payload: bytes) -> None:
    """A good checksum around bytes that are no records: a bug or a stranger wrote them, not a crash."""
    wal = _open(tmp_path)
    end = wal._end
    good = encode_frame([], wal._next_number, wal._salt)
    header_crc = header_checksum(good[:4] + len(payload).to_bytes(4, "little") + good[8:16], wal._salt)
    head = HEADER.pack(good[:4], len(payload), wal._next_number, header_crc, payload_checksum(header_crc, payload))
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    data = path.read_bytes()
    frame = head + payload + END_MARK
    path.write_bytes(data[:end] + frame + data[end + len(frame) :])
    with pytest.raises(CorruptLog, match=rf"offset {end}: a frame with a good checksum cannot be read"):
        _open(tmp_path)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    """Segments follow each other without gaps."""
    wal = _open(tmp_path)
    for index in range(1, 40):
        wal.append([Write(group=0, entries=(Entry(index, 1, b"x" * 5000),))])
    wal.close()
    paths = sorted(tmp_path.glob("wal-*.log"))
    assert len(paths) > 2
    paths[1].unlink()
    with pytest.raises(CorruptLog, match=f"{paths[1].name} is missing"):
        _open(tmp_path)


def test_a_missing_first_segment_is_refused(tmp_path: Path) -> None:
    """Even if no entry is left to show the gap: each header says where the logs ended (C5)."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=(Entry(1, 1, b"x" * 40_000),))])
    wal.append([Write(group=1, entries=(Entry(1, 1, b"x" * 40_000),))])
    wal.close()
    first, second = sorted(tmp_path.glob("wal-*.log"))
    data = first.read_bytes()
    first.unlink()
    with pytest.raises(CorruptLog, match="group 0 once ended at index 1"):
        _open(tmp_path)
    first.write_bytes(data)
    second.unlink()
    _open(tmp_path).close()


def test_snapshots_without_any_segment_are_refused(tmp_path: Path) -> None:
    """Term and vote were in the log: without them the node must not start (C3, C14)."""
    wal = _open(tmp_path)
    wal.snapshots.create(0, SnapshotMeta(3, 1)).commit()
    wal.close()
    for path in tmp_path.glob("wal-*.log"):
        path.unlink()
    with pytest.raises(CorruptLog, match="snapshots, but no segment"):
        _open(tmp_path)


def test_segments_of_two_histories_do_not_mix(tmp_path: Path) -> None:
    """A segment put back from an older copy of the directory does not continue the one before it."""
    for name, count in (("a", 20), ("b", 40)):
        wal = _open(tmp_path / name)
        for index in range(1, count):
            wal.append([Write(group=0, entries=(Entry(index, 1, b"x" * (5000 if name == "a" else 3000)),))])
        wal.close()
    second = "wal-0000000000000002.log"
    (tmp_path / "a" / second).write_bytes((tmp_path / "b" / second).read_bytes())
    with pytest.raises(CorruptLog, match=f"{second}, offset 0: its header is frame"):
        _open(tmp_path / "a")


def test_headers_are_held_against_what_came_before(tmp_path: Path) -> None:
    """Two histories with the same count of frames differ in what their headers say."""
    for name, term in (("a", 1), ("b", 2)):
        wal = _open(tmp_path / name)
        wal.append([Write(group=0, hard_state=HardState(term=term))])
        for index in range(1, 16):
            wal.append([Write(group=0, entries=(Entry(index, 1, b"x" * 5000),))])
        wal.close()
    second = "wal-0000000000000002.log"
    (tmp_path / "a" / second).write_bytes((tmp_path / "b" / second).read_bytes())
    with pytest.raises(CorruptLog, match=f"{second}, offset 0: its header gives other term and vote"):
        _open(tmp_path / "a")


def test_a_newer_format_is_not_called_damage(tmp_path: Path) -> None:
    """A directory that a later raftline wrote needs that raftline, not a wipe."""
    path, data, _ = _written(tmp_path)
    path.write_bytes(b"RLw2" + data[4:])
    with pytest.raises(ConfigError, match="format 2, this raftline reads up to 1"):
        _open(tmp_path)
    header = SegmentHeader(7, "c", "n1", 1, len(data), {}, {}, {})
    frame = encode_frame(header, 1, first_salt(1))
    path.write_bytes(frame + bytes(len(data) - len(frame)))
    with pytest.raises(ConfigError, match="format 7, this raftline reads up to 1"):
        _open(tmp_path)
    frame = encode_frame([], 1, first_salt(1))
    path.write_bytes(frame + bytes(len(data) - len(frame)))
    with pytest.raises(CorruptLog, match="its header cannot be read"):
        _open(tmp_path)


def test_a_refused_directory_is_left_as_it_was(tmp_path: Path) -> None:
    """Refusing comes before repairing: whoever looks into it finds everything, leftovers too."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=(Entry(1, 1, b"x"),))])
    wal.append([Write(group=0, reset=SnapshotMeta(9, 1))])
    end = wal._end
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    data = bytearray(path.read_bytes())
    data[end : end + 10] = b"RLw1 torn "
    path.write_bytes(data)
    (tmp_path / "snapshot-0-0000000000000012-1.snap.taken.tmp").write_bytes(b"half")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CorruptLog, match="follows a snapshot at index 9, the newest one here is at 0"):
        _open(tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {**after, "LOCK": b""} == {**before, "LOCK": b""}


def test_damage_in_a_finished_segment_is_refused(tmp_path: Path) -> None:
    """Only the last segment can have a torn tail (case C)."""
    wal = _open(tmp_path)
    for index in range(1, 40):
        wal.append([Write(group=0, entries=(Entry(index, 1, b"x" * 5000),))])
    wal.close()
    path = min(tmp_path.glob("wal-*.log"))
    data = bytearray(path.read_bytes())
    used = len(data.rstrip(b"\0"))
    data[used - 3000 : used] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises(CorruptLog):
        _open(tmp_path)


def test_a_frame_of_another_life_of_the_file_does_not_fit(tmp_path: Path) -> None:
    """Bytes of another segment, or of another place, are no frame here: number and segment are in the checksum."""
    path, data, ends = _written(tmp_path)
    moved = bytearray(data)
    frame = data[ends[1] : ends[2]]
    moved[ends[-1] : ends[-1] + len(frame)] = frame
    path.write_bytes(moved)
    with pytest.raises(CorruptLog):
        _recovered(tmp_path)
    assert len(frame) > HEADER.size + len(END_MARK)


def test_another_nodes_or_clusters_directory_is_refused(tmp_path: Path) -> None:
    """Two nodes must not share a history."""
    _written(tmp_path)
    with pytest.raises(ConfigError, match="belongs to node 'n1'"):
        Wal.open(OsFiles(), str(tmp_path), cluster_id="c", node_id="n2")
    with pytest.raises(ConfigError, match="belongs to cluster 'c'"):
        Wal.open(OsFiles(), str(tmp_path), cluster_id="other", node_id="n1")
    assert _recovered(tmp_path) == WHOLE
