"""`raftline backup`, `backup verify` and `restore`, with a node of one as the source."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raftline.cli.backup import Checked, check_backup, run_backup
from raftline.cli.local_cluster import LocalCluster, plain_client
from raftline.cli.main import app
from raftline.cli.wal import report_on
from raftline.wal.files import OsFiles
from raftline.wal.wal import Wal

FakeNode = Callable[..., int]
KEYS = 3000
VALUE = "v" * 1000


def run(*arguments: str) -> tuple[int, str, str]:
    """Run `raftline ...`; return exit code, output and complaints."""
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A server with some megabytes of data."""
    with LocalCluster(tmp_path_factory.mktemp("source"), size=1) as cluster:
        cluster.start()
        cluster.wait_for_leader()
        client = plain_client(cluster.nodes["n1"].port)
        pipeline = client.pipeline(transaction=False)
        for number in range(KEYS):
            pipeline.set(f"key{number}", VALUE)
        pipeline.set("large", "x" * (3 << 20))
        pipeline.execute()
        client.close()
        yield cluster
        assert cluster.terminate("n1") == 0


@pytest.fixture(scope="module")
def backup(source: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    path = tmp_path_factory.mktemp("backups") / "first"
    assert run("backup", f"127.0.0.1:{source.nodes['n1'].port}", str(path))[0] == 0
    return path


def test_a_backup_of_one_moment_under_load(source: LocalCluster, tmp_path: Path) -> None:
    """Writes go on meanwhile; what was acknowledged before is in it, and it is a prefix of what came."""
    port = source.nodes["n1"].port
    begun, stop = threading.Event(), threading.Event()

    def write() -> None:
        client = plain_client(port)
        while not stop.is_set():
            client.incr("first")
            client.incr("second")
            begun.set()
        client.close()

    writer = threading.Thread(target=write)
    writer.start()
    path = tmp_path / "backup"
    try:
        client = plain_client(port)
        before = int(client.incr("acknowledged"))
        assert begun.wait(30), "the writer writes"
        code, out, err = run("backup", f"127.0.0.1:{port}", str(path))
    finally:
        stop.set()
        writer.join()
    assert (code, err) == (0, "")
    assert out.startswith(f"{path}: backup of cluster raftline by n1 (raftline ")
    assert list(tmp_path.glob("*.part")) == []
    assert run("backup", "verify", str(path)) == (0, f"{path}: in order: {check_backup(str(path)).text}\n", "")
    assert run("restore", str(path), "--data-dir", str(tmp_path / "n1"), "--id", "n1", "--cluster", "n1=127.0.0.1:7001",
               "--cluster-id", "other")[0] == 0  # fmt: skip
    with LocalCluster(tmp_path, size=1, settings={"cluster_id": "other"}) as copy:
        (tmp_path / "n1").rename(copy.nodes["n1"].data_dir)
        copy.start()
        copy.wait_for_leader()
        restored = plain_client(copy.nodes["n1"].port)
        assert restored.dbsize() == KEYS + 4
        assert restored.strlen("large") == 3 << 20
        assert restored.get(f"key{KEYS - 1}") == VALUE.encode()
        assert restored.get("acknowledged") == str(before).encode()
        first, second = (int(value or 0) for value in restored.mget("first", "second"))
        assert second <= first <= second + 1
        assert restored.set("new", "1")
        client.delete("first", "second", "acknowledged")
        restored.close()
        client.close()


def test_a_restored_directory_is_of_the_new_cluster(backup: Path, tmp_path: Path) -> None:
    """Members, cluster and position are those that were given; the words say how to go on."""
    arguments = ("--id", "n2", "--cluster", "n1=h:1,n2=h:2@3", "--cluster-id", "fresh")
    target = tmp_path / "deep" / "n2"
    code, out, err = run("restore", str(backup), "--data-dir", str(target), *arguments)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"raftline server {' '.join(arguments)} --data-dir {target}"
    report = report_on(str(target))
    assert (report.cluster_id, report.node_id, report.problems) == ("fresh", "n2", ())
    (group,) = report.groups
    assert dict(group.membership.addresses) == {"n1": "h:1@10001", "n2": "h:2@3"}
    assert (group.may_vote, group.snapshot_index, group.last_index) == (
        True, check_backup(str(backup)).meta.index, group.snapshot_index + 1,
    )  # fmt: skip
    assert run("wal", "verify", str(target))[0] == 0


def test_all_nodes_of_one_restore_share_a_history_that_no_first_start_has(backup: Path, tmp_path: Path) -> None:
    """Nodes that were not restored and began anew are not overwritten by one that was: it stops instead (C14)."""
    histories = []
    for node, cluster_id in (("n1", "fresh"), ("n2", "fresh"), ("n1", "other")):
        target = str(tmp_path / cluster_id / node)
        arguments = ("--id", node, "--cluster", "n1=h:1,n2=h:2", "--cluster-id", cluster_id)
        assert run("restore", str(backup), "--data-dir", target, *arguments)[0] == 0
        wal = Wal.open(OsFiles(), target, cluster_id=cluster_id, node_id=node)
        hard_state = wal.recovered[0].hard_state
        assert hard_state is not None
        histories.append(hard_state.history)
        wal.close()
    assert histories[0] == histories[1] != histories[2]
    assert 0 not in histories


def test_a_directory_with_anything_in_it_is_left_alone(backup: Path, tmp_path: Path) -> None:
    """Whatever it is."""
    (tmp_path / "notes").write_text("mine")
    arguments = ("--data-dir", str(tmp_path), "--id", "n1", "--cluster", "n1=h:1", "--cluster-id", "fresh")
    code, _, err = run("restore", str(backup), *arguments)
    assert code == 2
    assert err == (
        f"raftline restore: {tmp_path} is not empty: name a directory that is not there, or empty it first\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_the_name_of_the_old_cluster_is_refused(backup: Path, tmp_path: Path) -> None:
    """Nodes of both could talk to each other."""
    arguments = ("--data-dir", str(tmp_path / "d"), "--id", "n1", "--cluster", "n1=h:1", "--cluster-id", "raftline")
    code, _, err = run("restore", str(backup), *arguments)
    assert code == 2
    assert "give the new cluster a new name, as in raftline-2" in err
    assert not (tmp_path / "d").exists()


def test_wrong_members_are_refused_in_the_servers_words(backup: Path, tmp_path: Path) -> None:
    """The node has to be one of them."""
    arguments = ("--data-dir", str(tmp_path / "d"), "--id", "n9", "--cluster", "n1=h:1", "--cluster-id", "fresh")
    code, _, err = run("restore", str(backup), *arguments)
    assert code == 2
    assert "--id: 'n9' is not in the cluster (n1)" in err
    assert not (tmp_path / "d").exists()


def test_a_damaged_backup_is_refused_before_anything_is_made(backup: Path, tmp_path: Path) -> None:
    """76, file and offset, by `verify` and by `restore`."""
    data = bytearray(backup.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data)
    arguments = ("--data-dir", str(tmp_path / "d"), "--id", "n1", "--cluster", "n1=h:1", "--cluster-id", "fresh")
    for command in (("backup", "verify", str(damaged)), ("restore", str(damaged), *arguments)):
        code, out, err = run(*command)
        assert (code, out) == (76, "")
        assert f"{damaged}, offset" in err
        assert "a chunk is damaged. Take another copy of the backup" in err
    assert not (tmp_path / "d").exists()
    assert run("backup", "verify", str(tmp_path / "gone"))[0] == 2


def test_a_file_that_is_there_is_not_overwritten(source: LocalCluster, backup: Path) -> None:
    """It may be the only one."""
    before = backup.read_bytes()
    code, _, err = run("backup", f"127.0.0.1:{source.nodes['n1'].port}", str(backup))
    assert code == 2
    assert "is there already" in err
    assert backup.read_bytes() == before


def test_two_that_make_the_same_file_do_not_mix(
    source: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes to a file of its own; who comes second is told, and the first one's stays."""
    path = tmp_path / "b"

    def checked(part: str) -> Checked:
        assert part == f"{path}.{os.getpid()}.part"
        path.write_bytes(b"the other one's")
        return check_backup(part)

    monkeypatch.setattr("raftline.cli.backup.check_backup", checked)
    code, _, err = run("backup", f"127.0.0.1:{source.nodes['n1'].port}", str(path))
    assert code == 2
    assert "was made by somebody else meanwhile" in err
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("b", b"the other one's")]


def test_an_interrupted_backup_leaves_nothing(
    source: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle: no half file stays behind."""

    def interrupted(_part: str) -> Checked:
        raise KeyboardInterrupt

    monkeypatch.setattr("raftline.cli.backup.check_backup", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_backup(f"127.0.0.1:{source.nodes['n1'].port}", str(tmp_path / "b"), timeout_s=10.0)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_is_not_there_is_named(tmp_path: Path) -> None:
    """69, and nothing is left behind; an address that is none is the caller's mistake."""
    code, _, err = run("backup", "127.0.0.1:1", str(tmp_path / "b"), "--timeout-s", "0.5")
    assert code == 69
    assert "127.0.0.1:1" in err
    assert "Nothing was kept" in err
    assert list(tmp_path.iterdir()) == []
    assert run("backup", "nowhere", str(tmp_path / "b"))[0] == 2


def test_a_server_without_backups_is_told_from_one_that_is_away(fake_node: FakeNode, tmp_path: Path) -> None:
    """What it answered is shown."""
    port = fake_node(raw=b"-ERR unknown command\r\n")
    code, _, err = run("backup", f"127.0.0.1:{port}", str(tmp_path / "b"))
    assert code == 1
    assert f"127.0.0.1:{port} refuses: unknown command" in err
