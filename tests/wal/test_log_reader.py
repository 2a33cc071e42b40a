"""Entries read back from a log in use are those that were written last, checked, or the reading says why not."""

from pathlib import Path

import pytest

from raftline.core.entries import Entry, SnapshotMeta
from raftline.core.membership import Membership
from raftline.errors import CorruptLog
from raftline.wal.files import OsFiles
from raftline.wal.wal import Wal, Write

ALL = 1 << 30


def _open(directory: Path) -> Wal:
    return Wal.open(OsFiles(), str(directory), cluster_id="c", node_id="n1", segment_bytes=1 << 16)


def _entries(first: int, count: int, term: int = 1, size: int = 1000) -> tuple[Entry, ...]:
    return tuple(Entry(first + n, term, b"%d.%d" % (first + n, term) + b"x" * size) for n in range(count))


def _read(wal: Wal, low: int, bytes_max: int = ALL) -> tuple[Entry, ...]:
    return wal.fetch(0, wal.locate(0, low, bytes_max), bytes_max)


def test_entries_come_back_over_many_segments_and_after_a_restart(tmp_path: Path) -> None:
    """All of them, in order, from any index on, of the segment being written too (D16)."""
    wal = _open(tmp_path)
    written = _entries(1, 500)
    for start in range(0, 500, 10):
        wal.append(
            [Write(group=0, entries=written[start : start + 10]), Write(group=1, entries=_entries(start + 1, 10))]
        )
    assert len(list(tmp_path.glob("wal-*"))) > 5
    assert _read(wal, 1) == written
    assert _read(wal, 234) == written[233:]
    wal.close()
    wal = _open(tmp_path)
    assert _read(wal, 234) == written[233:]
    assert _read(wal, 501) == ()
    wal.close()


def test_as_many_as_fit_and_at_least_one(tmp_path: Path) -> None:
    """The bytes asked for bound what is held, whatever a frame holds."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 40))])
    assert [entry.index for entry in _read(wal, 3, 4500)] == [3, 4, 5, 6]
    assert [entry.index for entry in _read(wal, 3, 1)] == [3]
    wal.close()


def test_what_was_cut_and_written_anew_is_read_in_its_last_version(tmp_path: Path) -> None:
    """In one frame, in later ones and over segments (B7)."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 8)), Write(group=0, entries=_entries(7, 2, term=2))])
    wal.append([Write(group=0, entries=_entries(9, 80, term=2))])
    wal.append([Write(group=0, entries=_entries(12, 3, term=3))])
    terms = [1] * 6 + [2] * 5 + [3] * 3
    assert [(entry.index, entry.term) for entry in _read(wal, 1)] == list(enumerate(terms, 1))
    wal.close()


def test_behind_a_reset_only_what_follows_it_is_there(tmp_path: Path) -> None:
    """An installed snapshot stands for the rest (D10)."""
    wal = _open(tmp_path)
    meta = SnapshotMeta(20, 1, Membership.of({"n1": "127.0.0.1:1"}))
    wal.append([Write(group=0, entries=_entries(1, 8)), Write(group=0, reset=meta, entries=_entries(21, 2))])
    assert _read(wal, 8) == ()
    assert _read(wal, 21) == _entries(21, 2)
    wal.append(
        [
            Write(group=0, entries=_entries(23, 8)),
            Write(group=0, reset=SnapshotMeta(40, 1, meta.membership), entries=_entries(41, 2)),
            Write(group=0, entries=_entries(42, 1, term=2)),
        ]
    )
    assert [(entry.index, entry.term) for entry in _read(wal, 41)] == [(41, 1), (42, 2)]
    wal.close()


def test_a_segment_removed_meanwhile_gives_nothing(tmp_path: Path) -> None:
    """The reader is told so, whether it asked before or after: a snapshot covers what is gone (D6)."""
    wal = _open(tmp_path)
    for start in range(1, 301, 10):
        wal.append([Write(group=0, entries=_entries(start, 10))])
    spans = wal.locate(0, 1, ALL)
    assert wal.release(0, 290) > 0
    assert wal.fetch(0, spans, ALL) == ()
    assert wal.locate(0, 1, ALL) == []
    assert _read(wal, 291) == _entries(291, 10)
    wal.close()


def test_a_damaged_frame_is_refused_by_file_and_offset(tmp_path: Path) -> None:
    """What the disk spoiled since it was written is never sent to anybody."""
    wal = _open(tmp_path)
    wal.append([Write(group=0, entries=_entries(1, 5))])
    (path,) = tmp_path.glob("wal-*")
    data = bytearray(path.read_bytes())
    data[data.index(b"3.1x") + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptLog, match=rf"{path}, offset \d+"):
        _read(wal, 1)
    wal.close()
