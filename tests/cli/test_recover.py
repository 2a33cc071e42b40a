"""`raftline recover`: what it refuses, what it asks, and that it can be repeated after a crash."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raftline.cli import recover as recover_module
from raftline.cli.main import app
from raftline.cli.recover import Recovery
from raftline.cli.server import with_cluster_id
from raftline.cli.settings import node_config_of
from raftline.cli.settings_loading import load_settings
from raftline.cli.sharding import mark_sharded
from raftline.cli.wal import report_on
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.replica.commands import history_lost
from raftline.sim.disk import SimFiles
from raftline.wal.files import OsFiles
from raftline.wal.inspect import survey
from raftline.wal.wal import Wal, Write

OLD = Membership.of({"n1": "h:1@10001", "n2": "h:2@10002", "n3": "h:3@10003"})


@pytest.fixture
def survivor(tmp_path: Path) -> Path:
    """A directory of n1 with a snapshot, entries behind it, and the vote of term 4."""
    directory = tmp_path / "n1"
    wal = Wal.open(OsFiles(), str(directory), cluster_id="c", node_id="n1", segment_bytes=1 << 16)
    wal.append([Write(group=0, hard_state=HardState(4, "n3"))])
    wal.append([Write(group=0, entries=tuple(Entry(index, 3, b"\0x") for index in range(1, 10)))])
    writer = wal.snapshots.create(0, SnapshotMeta(5, 3, OLD))
    writer.write(b"state")
    writer.commit()
    wal.close()
    return directory


def run(directory: Path, *more: str, typed: str | None = None, node: str = "n1") -> tuple[int, str, str]:
    """Run the command; return exit code, output and complaints."""
    arguments = ["recover", "--data-dir", str(directory), "--id", node, "--cluster", f"{node}=h:7,n3=h:8", *more]
    result = CliRunner().invoke(app, arguments, input=typed)
    return result.exit_code, result.stdout, result.stderr


def content_of(directory: Path) -> dict[str, bytes]:
    """Return every file, the lock's aside."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "LOCK"}


def test_the_survivor_is_alone_in_a_new_cluster(survivor: Path) -> None:
    """Its log goes on by two entries in the next term; its address is the one that was given."""
    code, out, _ = run(survivor, "--yes")
    assert code == 0
    report = report_on(str(survivor))
    (group,) = report.groups
    assert (report.cluster_id, report.problems) == ("c-r1", ())
    assert group.membership == Membership.of({"n1": "h:7@10007"})
    assert (group.term, group.vote, group.last_index, group.last_term) == (5, "n1", 11, 5)
    assert out.splitlines()[-1] == f"  raftline server --id n1 --cluster n1=h:7@10007 --data-dir {survivor}"
    assert "The other members (n2, n3) are turned away" in out


def test_what_may_be_lost_is_written_down(survivor: Path) -> None:
    """Positions, members, both clusters and the words, as they were before."""
    assert run(survivor, "--yes", "--cluster-id", "other")[0] == 0
    (record,) = survivor.glob("recovered-*.json")
    written = json.loads(record.read_text())
    assert (written["old_cluster_id"], written["new_cluster_id"]) == ("c", "other")
    assert written["old_members"] == dict(OLD.addresses)
    assert (written["term"], written["snapshot_index"], written["last_index"]) == (4, 5, 9)
    assert len(written["may_be_lost"]) == 2


def test_it_is_done_only_when_the_name_is_typed(survivor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else, and the end of input, leave the directory as it was."""
    monkeypatch.setattr(recover_module, "_is_terminal", lambda: True)
    before = content_of(survivor)
    for typed in ("yes\n", "n2\n", "\n", ""):
        code, out, err = run(survivor, typed=typed)
        assert (code, err) == (2, "raftline recover: not confirmed. Nothing was changed\n")
        assert "It cannot be undone." in out
    assert content_of(survivor) == before
    assert run(survivor, typed="n1\n")[0] == 0
    assert report_on(str(survivor)).cluster_id == "c-r1"


def test_without_a_terminal_it_must_be_said_beforehand(survivor: Path) -> None:
    """A script that forgot --yes changes nothing."""
    before = content_of(survivor)
    code, _, err = run(survivor, typed="n1\n")
    assert code == 2
    assert "there is no terminal to confirm on: give --yes" in err
    assert content_of(survivor) == before


def test_a_directory_that_had_not_caught_up_is_warned_of(tmp_path: Path) -> None:
    """Its log may be far behind what was acknowledged."""
    wal = Wal.open(OsFiles(), str(tmp_path / "n1"), cluster_id="c", node_id="n1")
    wal.append([Write(group=0, entries=(Entry(1, 1, b"\0x"),), hard_state=HardState(1, None, established=False))])
    wal.close()
    code, out, _ = run(tmp_path / "n1", "--yes")
    assert code == 0
    assert "had not caught up with its cluster" in out
    assert report_on(str(tmp_path / "n1")).groups[0].may_vote


@pytest.mark.parametrize(
    ("more", "node", "words"),
    [
        (("--yes",), "n2", "--id: the directory is that of node 'n1'"),
        (("--yes", "--cluster-id", "c"), "n1", "'c' is the old cluster"),
        (("--yes", "--cluster-id", "-"), "n1", "--cluster-id: '-' is no name"),
    ],
)
def test_what_cannot_be_is_refused(survivor: Path, more: tuple[str, ...], node: str, words: str) -> None:
    """Before anything is changed."""
    before = content_of(survivor)
    code, _, err = run(survivor, *more, node=node)
    assert code == 2
    assert words in err
    assert content_of(survivor) == before


def test_a_node_of_a_sharded_cluster_is_left_alone(survivor: Path) -> None:
    """Its other groups would be left with members that a cluster of a new name turns away."""
    mark_sharded(str(survivor))
    before = content_of(survivor)
    code, _, err = run(survivor, "--yes")
    assert code == 2
    assert "is of a node of a sharded cluster" in err
    assert content_of(survivor) == before


def test_nothing_can_be_recovered_from_nothing(tmp_path: Path) -> None:
    """No directory, an empty one, and one that never held an entry."""
    assert "is no directory" in run(tmp_path / "gone", "--yes")[2]
    assert "holds no log: there is nothing to recover from" in run(tmp_path, "--yes")[2]
    Wal.open(OsFiles(), str(tmp_path / "new"), cluster_id="c", node_id="n1").close()
    code, _, err = run(tmp_path / "new", "--yes")
    assert code == 2
    assert "holds no log" in err


def test_damage_and_newer_formats_are_refused(survivor: Path) -> None:
    """With the codes of the server."""
    (segment,) = survivor.glob("wal-*")
    data = segment.read_bytes()
    segment.write_bytes(b"?" + data[1:])
    code, _, err = run(survivor, "--yes")
    assert code == 76
    assert "`raftline wal verify` lists all that is wrong" in err
    segment.write_bytes(b"RLw2" + data[4:])
    code, _, err = run(survivor, "--yes")
    assert code == 2
    assert "use a newer raftline" in err


@pytest.mark.parametrize("is_behind", [True, False])
def test_a_node_that_ran_while_somebody_thought_about_it_loses_nothing(
    survivor: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_behind: bool,  # noqa: FBT001
) -> None:
    """A supervisor started and stopped it before the answer: its new entries, or its vote, would be overwritten."""

    def answer() -> str:
        wal = Wal.open(OsFiles(), str(survivor), cluster_id="c", node_id="n1", segment_bytes=1 << 16)
        newer = Write(group=0, hard_state=HardState(5, "n1"))
        wal.append([Write(group=0, entries=(Entry(10, 4, b"\0x"),)) if is_behind else newer])
        wal.close()
        return "n1"

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(recover_module, "_is_terminal", lambda: True)
    code, _, err = run(survivor)
    assert code == 2
    assert "a node ran here since this command looked at it: nothing was changed; give the command again" in err
    assert not list(survivor.glob("recovered-*"))
    assert report_on(str(survivor)).cluster_id == "c"
    assert run(survivor, "--yes")[0] == 0


class _Breaking(OsFiles):
    """Files that fail when the new segment is to get its name."""

    def rename(self, old: str, new: str) -> None:
        if "wal-" in new:
            raise OSError(5, "Input/output error", f"{old} {new}")
        super().rename(old, new)


def test_it_can_be_repeated_after_a_crash_in_the_middle(survivor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is there first; then the membership and the cluster's id, both or neither."""
    with monkeypatch.context() as patch:
        patch.setattr(recover_module, "OsFiles", _Breaking)
        code, _, err = run(survivor, "--yes")
    assert code == 74
    assert "could not make" in err
    assert len(list(survivor.glob("recovered-*.json"))) == 1
    assert report_on(str(survivor)).cluster_id == "c"
    assert run(survivor, "--yes")[0] == 0
    report = report_on(str(survivor))
    assert (report.cluster_id, report.groups[0].last_index, report.problems) == ("c-r1", 11, ())
    assert report.groups[0].membership.voters == ("n1",)


def test_a_crash_at_any_step_leaves_the_old_cluster_or_the_new_one(crashes_of: Any) -> None:
    """Never one that is alone under the old name, nor the old members under the new one; it can be given again."""
    recovery = Recovery(
        node_id="n1", address="h:7@10007", time="2026-01-02T03:04:05Z", old_cluster_id="c", new_cluster_id="c-r1",
        old_members=dict(OLD.addresses), term=4, snapshot_index=0, last_index=9, last_term=3, may_vote=True,
        may_be_lost=(), new_membership_index=10,
    )  # fmt: skip

    def survive(files: SimFiles) -> None:
        wal = Wal.open(files, "/d", cluster_id="c", node_id="n1", segment_bytes=3000)
        wal.append([Write(group=0, hard_state=HardState(4, "n3"))])
        wal.append([Write(group=0, entries=tuple(Entry(index, 3, b"\0x") for index in range(1, 10)))])
        wal.close()

    def recover(files: SimFiles) -> None:
        recover_module.carry_out(files, "/d", recovery, 3000)

    found: Counter[str] = Counter()
    for point, files in crashes_of(survive, recover):
        before = survey(files, "/d")
        assert before.problems == (), point
        assert before.owner in {("c", "n1"), ("c-r1", "n1")}, point
        if before.owner == ("c", "n1"):
            recovered = (before.recovered or {})[0]
            assert (recovered.hard_state, len(recovered.entries)) == (HardState(4, "n3"), 9), point
            recover(files)
        after = survey(files, "/d")
        assert after.owner == ("c-r1", "n1"), point
        recovered = (after.recovered or {})[0]
        assert recovered.hard_state == HardState(5, "n1"), point
        assert (len(recovered.entries), recovered.entries[-2].kind) == (11, KIND_MEMBERSHIP), point
        assert recovered.entries[-1].data == history_lost(), point
        assert json.loads(_content(files, "/d/recovered-2026-01-02T030405Z.json"))["new_cluster_id"] == "c-r1", point
        found[str(before.owner)] += 1
    assert min(found.values()) > 1
    assert len(found) == 2


def _content(files: SimFiles, path: str) -> bytes:
    file = files.open(path)
    return file.read_at(0, file.size())


def test_a_second_recovery_counts_on(survivor: Path) -> None:
    """Each gives the cluster another name, within its length."""
    assert run(survivor, "--yes")[0] == 0
    wal = Wal.open(OsFiles(), str(survivor), cluster_id="c-r1", node_id="n1", segment_bytes=1 << 16)
    wal.append([Write(group=0, entries=(Entry(12, 5, encode_membership(OLD), KIND_MEMBERSHIP),))])
    wal.close()
    assert run(survivor, "--yes")[0] == 0
    assert report_on(str(survivor)).cluster_id == "c-r2"
    assert recover_module._new_cluster_id("x" * 64) == "x" * 61 + "-r1"


def test_what_is_alone_already_is_left_alone(survivor: Path) -> None:
    """Given a second time, as after a crash that came late, it makes no third cluster, and says how to go on."""
    assert run(survivor, "--yes")[0] == 0
    before = content_of(survivor)
    code, _, err = run(survivor, "--yes")
    assert code == 2
    assert "a cluster of one already (c-r1)" in " ".join(err.split())
    assert "raftline server --id n1 --cluster n1=h:7" in " ".join(err.split())
    assert content_of(survivor) == before


def test_the_server_takes_the_cluster_from_the_directory(survivor: Path) -> None:
    """Unless it is told one; a directory that is not there, or not readable, leaves the default."""
    assert run(survivor, "--yes")[0] == 0
    flags = {"id": "n1", "cluster": "n1=h:7", "data_dir": str(survivor)}
    assert with_cluster_id(load_settings(flags, {}).settings).cluster_id == "c-r1"
    assert with_cluster_id(load_settings({**flags, "cluster_id": "x"}, {}).settings).cluster_id == "x"
    assert with_cluster_id(load_settings({**flags, "data_dir": "gone"}, {}).settings).cluster_id == ""
    for path in survivor.glob("wal-*"):
        path.write_bytes(b"RL")
    settings = with_cluster_id(load_settings(flags, {}).settings)
    assert (settings.cluster_id, node_config_of(settings).cluster_id) == ("", "raftline")
