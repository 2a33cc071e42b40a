"""Looking into a data directory: every record is named, damage too, and nothing is changed."""

import os
from pathlib import Path
from typing import Any

import pytest

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.errors import CorruptLog, StorageError
from raftline.wal.files import OsFiles, ReadOnlyOsFiles
from raftline.wal.inspect import Line, inspect, survey
from raftline.wal.wal import Wal, Write


def _open(directory: Path) -> Wal:
    return Wal.open(OsFiles(), str(directory), cluster_id="c", node_id="n1", segment_bytes=1 << 16)


def _lines(directory: Path, files: Any = None) -> list[Line]:
    return list(inspect(files or ReadOnlyOsFiles(), str(directory)))


def _kinds(directory: Path) -> list[str]:
    return [line.kind for line in _lines(directory)]


def _damage(directory: Path) -> list[str]:
    return [f"{line.file}@{line.offset}: {line.text}" for line in _lines(directory) if line.is_damage]


def _fill(directory: Path) -> list[Path]:
    """Write two full segments and a third, and a snapshot; return the segments."""
    wal = _open(directory)
    for index in range(1, 30):
        wal.append([Write(group=0, entries=(Entry(index, 1, b"x" * 5000),))])
    writer = wal.snapshots.create(0, SnapshotMeta(5, 1))
    writer.write(b"state")
    writer.commit()
    wal.close()
    return sorted(directory.glob("wal-*.log"))


def test_everything_is_listed_and_nothing_changed(tmp_path: Path) -> None:
    """Also while a node holds the directory."""
    wal = _open(tmp_path)
    start = wal._end
    wal.append(
        [
            Write(group=0, hard_state=HardState(3, "n2"), entries=(Entry(1, 2, b"ab"), Entry(2, 3, b"c"))),
            Write(group=7, reset=SnapshotMeta(4, 2), hard_state=HardState(established=False)),
        ]
    )
    writer = wal.snapshots.create(7, SnapshotMeta(4, 2))
    writer.write(b"state")
    writer.commit()
    (tmp_path / "snapshot-0-0000000000000009-1.snap.taken.tmp").write_bytes(b"half")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    lines = _lines(tmp_path)
    wal.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    segment = "wal-0000000000000001.log"
    size = (tmp_path / "snapshot-7-0000000000000004-2.snap").stat().st_size
    assert [(line.file, line.offset, line.kind, line.group, line.text) for line in lines] == [
        (segment, 0, "segment", None, "node n1 of cluster c, frame 1, 65536 bytes; ends of logs {}"),
        (segment, start, "hard state", 0, "term 3, vote n2"),
        (segment, start, "entries", 0, "1 to 2, terms 2 to 3, 3 bytes of data"),
        (segment, start, "reset", 7, "starts anew behind index 4 of term 2"),
        (segment, start, "hard state", 7, "term 0, vote none, may not vote yet"),
        (segment, wal._end, "end", None, "the log ends here: everything found is good"),
        (
            "snapshot-0-0000000000000009-1.snap.taken.tmp",
            0,
            "leftover",
            None,
            "being made, or left behind; removed at start-up",
        ),
        (
            "snapshot-7-0000000000000004-2.snap",
            0,
            "snapshot",
            7,
            f"up to index 4 of term 2, 1 chunks, {size} bytes",
        ),
    ]
    assert not any(line.is_damage for line in lines)


def test_an_interrupted_write_is_no_damage(tmp_path: Path) -> None:
    """Start-up cuts it, and says so beforehand."""
    wal = _open(tmp_path)
    start = wal._end
    wal.append([Write(group=0, entries=(Entry(1, 1, b"x"),))])
    end = wal._end
    wal.close()
    (path,) = tmp_path.glob("wal-*.log")
    data = path.read_bytes()
    path.write_bytes(data[: end - 2] + bytes(len(data) - end + 2))
    last = _lines(tmp_path)[-1]
    assert (last.kind, last.offset) == ("end", start)
    assert "the last write was interrupted" in last.text


def test_damage_is_named_and_what_lies_behind_is_shown(tmp_path: Path) -> None:
    """A flipped byte in the middle of a finished segment: records before it, and the segments behind it."""
    first, *_ = _fill(tmp_path)
    whole = _kinds(tmp_path)
    assert whole.count("segment") == 3
    data = bytearray(first.read_bytes())
    data[30_000] ^= 1
    first.write_bytes(data)
    (damage, number) = _damage(tmp_path)
    assert "case B" in damage
    assert "its header is frame" in number
    assert _kinds(tmp_path).count("segment") == 3
    with pytest.raises(CorruptLog):
        _open(tmp_path)


def test_a_damaged_header_and_a_missing_segment_are_named(tmp_path: Path) -> None:
    """Whatever start-up would stop at is there; the walk goes on."""
    first, second, third = _fill(tmp_path)
    data = first.read_bytes()
    first.write_bytes(b"?" + data[1:])
    assert "its header is damaged" in _damage(tmp_path)[0]
    assert _kinds(tmp_path).count("segment") == 2
    first.write_bytes(data)
    second_data = second.read_bytes()
    second.unlink()
    assert _damage(tmp_path)[0] == f"{second.name}@0: it is missing"
    second.write_bytes(second_data)
    assert _damage(tmp_path) == []
    first.unlink()
    second.unlink()
    assert "starts at index" in _damage(tmp_path)[0]
    third.unlink()
    assert _damage(tmp_path) == ["@0: there are snapshots, but no segment of the log"]


def test_records_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    """Good checksums around a gap, or around a header that does not continue."""
    for name, term in (("a", 1), ("b", 2)):
        wal = _open(tmp_path / name)
        wal.append([Write(group=0, hard_state=HardState(term=term))])
        for index in range(1, 16):
            wal.append([Write(group=0, entries=(Entry(index, 1, b"x" * 5000),))])
        wal.close()
    second = "wal-0000000000000002.log"
    (tmp_path / "a" / second).write_bytes((tmp_path / "b" / second).read_bytes())
    assert _damage(tmp_path / "a") == [f"{second}@0: its header gives other term and vote than the segments before it"]
    wal = _open(tmp_path / "b")
    start = wal._end
    wal._log_ends = {}
    wal.append([Write(group=0, entries=(Entry(99, 1, b"x"),))])
    wal.close()
    assert _damage(tmp_path / "b") == [f"{second}@{start}: entry 99 follows entry 15 in group 0"]


def test_damaged_snapshots_are_named(tmp_path: Path) -> None:
    """Header and chunks, which start-up alone would not read."""
    _fill(tmp_path)
    (path,) = tmp_path.glob("*.snap")
    data = path.read_bytes()
    for position, words in ((3, "its header is damaged"), (len(data) - 20, "a chunk is damaged")):
        path.write_bytes(data[:position] + b"?" + data[position + 1 :])
        (found,) = _damage(tmp_path)
        assert path.name in found
        assert words in found


def test_nonsense_with_a_good_checksum_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only decoding fails."""
    wal = _open(tmp_path)
    start = wal._end
    monkeypatch.setattr("raftline.wal.record._encode", lambda _: b"\xc1")
    wal.append([])
    wal.close()
    (found,) = _damage(tmp_path)
    assert f"offset {start}: a frame with a good checksum cannot be read" in found


def test_what_a_running_node_removes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    """Files are listed first and opened one by one: some are gone by then."""
    first, second, _ = _fill(tmp_path)
    (snapshot,) = tmp_path.glob("*.snap")

    class Vanishing(ReadOnlyOsFiles):
        def list(self, directory: str) -> list[str]:
            names = super().list(directory)
            for path in (first, second, snapshot):
                path.unlink()
            return names

    lines = _lines(tmp_path, Vanishing())
    assert [line.kind for line in lines].count("segment") == 1


def test_a_directory_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """Not there, or not ours."""
    with pytest.raises(StorageError, match="could not read"):
        _lines(tmp_path / "nowhere")

    class Refusing(ReadOnlyOsFiles):
        def open(self, path: str, *, create: bool = False) -> Any:
            raise PermissionError(13, os.strerror(13), f"{path} {create}")

    _fill(tmp_path)
    with pytest.raises(StorageError, match="check owner and permissions"):
        _lines(tmp_path, Refusing())


def test_a_survey_adds_up_what_a_node_would_start_from(tmp_path: Path) -> None:
    """Whose it is, and positions by group; records only if asked for; nothing once something is damaged."""
    first, *_ = _fill(tmp_path)
    found = survey(ReadOnlyOsFiles(), str(tmp_path))
    assert found.owner == ("c", "n1")
    assert found.recovered is not None
    assert found.recovered[0].snapshot == SnapshotMeta(5, 1)
    assert [entry.index for entry in found.recovered[0].entries] == list(range(6, 30))
    assert {line.kind for line in found.lines} == {"segment", "end", "snapshot"}
    assert "entries" in {line.kind for line in survey(ReadOnlyOsFiles(), str(tmp_path), records=True).lines}
    first.write_bytes(b"?" + first.read_bytes()[1:])
    assert survey(ReadOnlyOsFiles(), str(tmp_path)).recovered is None


def test_a_survey_looks_again_when_a_running_node_moved_on(tmp_path: Path) -> None:
    """A snapshot came and what it covers went, between the list and the reading: no damage."""
    first, second, _ = _fill(tmp_path)
    (old,) = tmp_path.glob("*.snap")
    looks = 0

    class MovingOn(ReadOnlyOsFiles):
        def list(self, directory: str) -> list[str]:
            nonlocal looks
            names = super().list(directory)
            looks += 1
            if looks == 1:
                wal = _open(tmp_path)
                writer = wal.snapshots.create(0, SnapshotMeta(29, 1))
                writer.write(b"state")
                writer.commit()
                wal.snapshots.prune(0, 29)
                wal.release(0, 29)
                wal.close()
            return names

    found = survey(MovingOn(), str(tmp_path))
    assert looks == 2
    assert not any(path.exists() for path in (first, second, old))
    assert found.problems == ()
    assert found.recovered is not None
    assert found.recovered[0].snapshot == SnapshotMeta(29, 1)


def test_frames_that_came_while_the_last_segment_was_read_are_no_damage(tmp_path: Path) -> None:
    """A reading that missed a frame but saw the one behind it is taken again; damage that stays is damage."""
    wal = _open(tmp_path)
    start = wal._end
    for index in (1, 2, 3):
        wal.append([Write(group=0, entries=(Entry(index, 1, b"x" * 5000),))])
    wal.close()
    torn_reads = 1

    class Racing(ReadOnlyOsFiles):
        def open(self, path: str, *, create: bool = False) -> Any:
            file = super().open(path, create=create)
            read = file.read_at

            def read_at(offset: int, size: int) -> bytes:
                nonlocal torn_reads
                data = bytearray(read(offset, size))
                if torn_reads and offset == 0:
                    torn_reads -= 1
                    data[start : start + 5000] = bytes(5000)
                return bytes(data)

            file.read_at = read_at  # type: ignore[method-assign]
            return file

    assert survey(Racing(), str(tmp_path)).problems == ()
    assert torn_reads == 0
    torn_reads = 100
    assert "case B" in survey(Racing(), str(tmp_path)).problems[0].text
