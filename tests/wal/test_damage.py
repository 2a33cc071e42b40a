"""Cut or flipped bytes at every position: what was fsynced is there, or the log refuses. Never silently less."""

from pathlib import Path

import pytest

from raftline.core.entries import Entry, HardState
from raftline.errors import ConfigError, CorruptLog
from raftline.wal.files import OsFiles
from raftline.wal.record import END_MARK, HEADER
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
    with pytest.raises(CorruptLog, match=rf"offset {ends[1]}.*before a good one"):
        _recovered(tmp_path)


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
