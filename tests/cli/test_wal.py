"""`raftline wal inspect|verify` on directories that are whole, damaged, newer, empty, in use or not there."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from raftline.cli.exit_codes import ExitCode
from raftline.cli.main import app
from raftline.cli.wal import holder_of, report_on
from raftline.core.entries import KIND_MEMBERSHIP, Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.wal.files import OsFiles
from raftline.wal.storage_errors import REMEDY
from raftline.wal.wal import Wal, Write

FIRST = Membership.of({"n1": "h:1@2", "n2": "h:3@4", "n3": "h:5@6"})
SECOND = Membership(
    voters=("n1", "n2"), learners=("n4",), addresses=(("n1", "h:1@2"), ("n2", "h:3@4"), ("n4", "h:7@8"))
)


def filled(directory: Path) -> Wal:
    """Write a snapshot and entries behind it, one of which changes the membership; return the open log."""
    wal = Wal.open(OsFiles(), str(directory), cluster_id="c", node_id="n1", segment_bytes=1 << 16)
    entries = [Entry(index, 2, b"x" * 100) for index in range(1, 10)]
    entries[7] = Entry(8, 2, msgspec.msgpack.encode(SECOND), KIND_MEMBERSHIP)
    wal.append([Write(group=0, hard_state=HardState(3, "n2"), entries=tuple(entries))])
    writer = wal.snapshots.create(0, SnapshotMeta(5, 2, FIRST))
    writer.write(b"state")
    writer.commit()
    return wal


def run(*arguments: str) -> tuple[int, str, str]:
    """Run `raftline wal ...`; return exit code, output and complaints."""
    result = CliRunner().invoke(app, ["wal", *arguments])
    return result.exit_code, result.stdout, result.stderr


def bytes_of(directory: Path) -> dict[str, bytes]:
    """Return every file's content."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_positions_members_and_snapshots_are_shown(tmp_path: Path) -> None:
    """Also while a node holds the directory, whose process is named; nothing is changed."""
    wal = filled(tmp_path)
    before = bytes_of(tmp_path)
    code, out, _ = run("inspect", str(tmp_path))
    assert code == 0
    assert "node n1 of cluster c" in out
    assert "in use by process" in out
    assert "group 0: term 3, vote n2; snapshot up to 5, log 6 to 9 (term 2," in out
    assert "  voters: n1=h:1@2, n2=h:3@4\n  learners: n4=h:7@8\n" in out
    assert re.search(r"snapshot-0-0+5-2\.snap +0 +snapshot +0 +up to index 5 of term 2, 1 chunks", out)
    assert "entries" not in out
    assert bytes_of(tmp_path) == before
    wal.close()
    assert holder_of(str(tmp_path)) is None
    assert "in use" not in run("inspect", str(tmp_path))[1]


def test_a_log_that_names_no_members_is_said_to_be_of_those_it_began_with(tmp_path: Path) -> None:
    """Those of --cluster are the members of the node's first group; who founded another stands in that one's log."""
    wal = Wal.open(OsFiles(), str(tmp_path), cluster_id="c", node_id="n1")
    wal.append([Write(group=group, entries=(Entry(1, 1, b""),)) for group in (0, 7)])
    wal.close()
    _, out, _ = run("inspect", str(tmp_path))
    told = [line for line in out.splitlines() if line.startswith("  members: ")]
    assert told == [
        "  members: those of --cluster; the log names none",
        "  members: those that the group began with; the log names none",
    ]


def test_records_are_shown_on_request(tmp_path: Path) -> None:
    """One line for each."""
    filled(tmp_path).close()
    _, out, _ = run("inspect", str(tmp_path), "--records")
    assert "1 to 9, terms 2 to 2" in out
    assert "term 3, vote n2" in out


def test_json_has_everything(tmp_path: Path) -> None:
    """One document with positions, membership and lines."""
    filled(tmp_path).close()
    code, out, _ = run("inspect", str(tmp_path), "--json", "--records")
    document = json.loads(out)
    assert code == 0
    (group,) = document["groups"]
    assert (group["term"], group["vote"], group["may_vote"]) == (3, "n2", True)
    assert (group["snapshot_index"], group["first_index"], group["last_index"], group["last_term"]) == (5, 6, 9, 2)
    assert group["membership"][0] == ["n1", "n2"]
    assert {line["kind"] for line in document["lines"]} == {"segment", "hard state", "entries", "end", "snapshot"}
    assert (document["cluster_id"], document["node_id"], document["in_use_by"]) == ("c", "n1", None)


def test_a_whole_directory_is_verified_in_one_line(tmp_path: Path) -> None:
    """What was read is told, the exit code is 0."""
    filled(tmp_path).close()
    line = f"{tmp_path}: in order: 1 segments, 1 snapshots, every checksum fits\n"
    assert run("verify", str(tmp_path)) == (0, line, "")


def test_damage_is_named_with_code_76(tmp_path: Path) -> None:
    """File and offset on standard error, and still nothing is changed."""
    filled(tmp_path).close()
    (segment,) = tmp_path.glob("wal-*")
    data = bytearray(segment.read_bytes())
    data[40] ^= 1
    segment.write_bytes(data)
    before = bytes_of(tmp_path)
    code, out, err = run("verify", str(tmp_path))
    assert code == ExitCode.CORRUPT
    assert "would refuse to start" in out
    assert f"{segment}, offset 0: its header is damaged" in err
    assert err.count(REMEDY) == 1
    code, out, _ = run("inspect", str(tmp_path))
    assert code == 76
    assert "damage" in out
    assert report_on(str(tmp_path)).groups == ()
    assert bytes_of(tmp_path) == before


@pytest.mark.parametrize("is_half_restored", [False, True])
def test_what_to_do_is_said_once_and_not_where_something_else_is(tmp_path: Path, *, is_half_restored: bool) -> None:
    """Snapshots without a log need what any damage does; half a restore needs its command again."""
    filled(tmp_path).close()
    for segment in tmp_path.glob("wal-*"):
        segment.unlink()
    if is_half_restored:
        (tmp_path / "RESTORING").write_text("raftline restore it again", encoding="ascii")
    code, _, err = run("verify", str(tmp_path))
    assert code == ExitCode.CORRUPT
    assert err.count(REMEDY) == (0 if is_half_restored else 1)
    assert ("raftline restore it again" in err) is is_half_restored


def test_a_newer_format_is_no_damage(tmp_path: Path) -> None:
    """It takes a newer raftline, and says so."""
    filled(tmp_path).close()
    (segment,) = tmp_path.glob("wal-*")
    segment.write_bytes(b"RLw2" + segment.read_bytes()[4:])
    code, out, err = run("verify", str(tmp_path))
    assert code == ExitCode.CONFIG
    assert "of a newer format" in out
    assert "use a newer raftline" in err


def test_an_empty_directory_is_neither_good_nor_bad(tmp_path: Path) -> None:
    """Whoever verifies a copy wants to know that there is nothing in it."""
    code, out, _ = run("verify", str(tmp_path))
    assert (code, out) == (
        1, f"{tmp_path}: empty: a node that starts here is new, and does not vote before it has caught up\n",
    )  # fmt: skip
    assert "nobody's yet" in run("inspect", str(tmp_path))[1]


def test_no_directory_is_the_callers_mistake(tmp_path: Path) -> None:
    """The path is named."""
    code, _, err = run("inspect", str(tmp_path / "gone"))
    assert code == 2
    assert err == f"raftline wal inspect: {tmp_path / 'gone'} is no directory: name a node's data directory\n"
