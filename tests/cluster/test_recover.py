"""One disk of three is left: `raftline recover` makes a cluster of it, and says what it costs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from tests.cluster.conftest import STEADY

if TYPE_CHECKING:
    from raftline.cli.local_cluster import LocalCluster

    StartCluster = Callable[..., LocalCluster]

ACKNOWLEDGED = 300


def raftline(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as people do, without a terminal."""
    command = [sys.executable, "-m", "raftline.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def recover(cluster: "LocalCluster", name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run `raftline recover` for a node."""
    members = ",".join(f"{node.name}={node.address}" for node in cluster.nodes.values())
    directory = cluster.nodes[name].data_dir
    return raftline("recover", "--data-dir", directory, "--id", name, "--cluster", members, *more)


def join_afresh(cluster: "LocalCluster", name: str, survivor: str) -> None:
    """Start a node with an empty directory and add it to the survivor's cluster."""
    node = cluster.grow(name, joins=survivor)
    cluster.start(name)
    where = f"127.0.0.1:{cluster.nodes[survivor].port}"
    added = raftline("member", "add", f"{name}={node.address}", "--node", where)
    assert added.returncode == 0, added.stderr


def test_the_last_disk_of_three_becomes_a_cluster(start_cluster: "StartCluster") -> None:
    """Without the command nobody can be elected; with it every acknowledged write that the disk has is served (C14)."""
    cluster = start_cluster(settings=STEADY)
    client = cluster.client("n1")
    for number in range(ACKNOWLEDGED):
        client.set(f"key{number}", str(number))
    client.close()
    cluster.wait_until_level()
    survivor = cluster.followers()[0]
    others = [name for name in cluster.nodes if name != survivor]
    refused = recover(cluster, survivor, "--yes")
    assert refused.returncode == 75
    assert f"is held by process {cluster.nodes[survivor].pid}: stop that node first" in refused.stderr
    cluster.kill9()
    for name in others:
        cluster.wipe(name)
    cluster.settings = {"request_timeout_s": 1.0}
    cluster.start(survivor)
    with cluster.client(survivor) as client, pytest.raises(redis.ResponseError, match="no quorum could be reached"):
        client.get("key0")
    cluster.terminate(survivor)
    cluster.settings = {}

    asked = recover(cluster, survivor)
    assert asked.returncode == 2
    assert "there is no terminal to confirm on: give --yes" in asked.stderr
    assert "It cannot be undone." in asked.stdout
    assert list(cluster.nodes[survivor].data_dir.glob("recovered-*")) == []
    done = recover(cluster, survivor, "--yes")
    assert done.returncode == 0, done.stderr
    assert "recovered from one survivor" in done.stderr
    (record,) = cluster.nodes[survivor].data_dir.glob("recovered-*.json")
    written = json.loads(record.read_text())
    assert (written["old_cluster_id"], written["new_cluster_id"]) == ("raftline", "raftline-r1")
    assert written["last_index"] >= ACKNOWLEDGED
    assert "everything behind log index" in written["may_be_lost"][0]

    cluster.start(survivor)
    assert cluster.wait_for_leader() == survivor
    client = cluster.client(survivor)
    assert client.dbsize() == ACKNOWLEDGED
    assert client.get(f"key{ACKNOWLEDGED - 1}") == str(ACKNOWLEDGED - 1).encode()
    assert client.set("after", "1")
    client.close()
    info = cluster.info(survivor, 30)
    assert info is not None
    assert [member.node_id for member in info.members] == [survivor]
    assert info.fields["cluster_id"] == "raftline-r1"
    for name in others:
        join_afresh(cluster, name, survivor)
    level = cluster.wait_until_level()
    assert len({info.digest for info in level.values()}) == 1
    with cluster.client(others[0]) as client:
        assert client.dbsize() == ACKNOWLEDGED + 1


def test_a_survivor_beside_emptied_nodes_names_the_way_out(start_cluster: "StartCluster") -> None:
    """In its log and to whoever asks any of them for the status; nothing is elected meanwhile (C14)."""
    cluster = start_cluster()
    with cluster.client("n1") as client:
        client.set("key", "value")
    cluster.wait_until_level()
    cluster.kill9()
    for name in ("n1", "n2"):
        cluster.wipe(name)
    cluster.start("n3")
    cluster.start("n1", "n2")
    words = "no leader can be elected: n1 and n2 came with empty disks, and n3 alone is no majority"
    cluster.wait_for(lambda: (info := cluster.info("n3")) and words in info.fields["trouble"], "the survivor says it")
    cluster.wait_for(lambda: words in cluster.nodes["n3"].log(), "its log does")
    shown = raftline("status", f"127.0.0.1:{cluster.nodes['n1'].port}", "--timeout-s", 30)
    assert shown.returncode == 1
    told = " ".join(shown.stdout.split())
    assert f"n3: {words}" in told
    assert "make a cluster of this node's directory with `raftline recover`" in told


def test_a_backup_becomes_a_new_cluster_of_three(start_cluster: "StartCluster", tmp_path: Path) -> None:
    """Restored on three nodes: the same data, another cluster, which goes on; lost entries gave none of its tokens."""
    cluster = start_cluster(settings=STEADY | {"cluster_id": "old"})
    with cluster.client("n2") as client:
        for number in range(ACKNOWLEDGED):
            client.set(f"key{number}", str(number))
        token = client.execute_command("RAFTLINE.LOCK", "ACQUIRE", "lock", "me", 600_000)
    backup = tmp_path / "backup"
    taken = raftline("backup", f"127.0.0.1:{cluster.nodes['n1'].port}", backup)
    assert f"{ACKNOWLEDGED + 1} keys" in taken.stdout, taken.stderr
    for name in cluster.nodes:
        cluster.terminate(name)
        cluster.wipe(name)
    members = ",".join(f"{node.name}={node.address}" for node in cluster.nodes.values())
    for name, node in cluster.nodes.items():
        options = ("--data-dir", node.data_dir, "--id", name, "--cluster", members, "--cluster-id", "new")
        done = raftline("restore", backup, *options)
        assert done.returncode == 0, done.stderr
    del cluster.settings["cluster_id"]
    cluster.start()
    cluster.wait_for_leader()
    with cluster.client("n3") as client:
        assert client.dbsize() == ACKNOWLEDGED + 1
        assert client.set("more", "1")
        assert client.execute_command("RAFTLINE.LOCK", "RENEW", "lock", "me", token, 60_000) == b"OK"
        assert client.execute_command("RAFTLINE.LOCK", "ACQUIRE", "other", "me", 60_000) > token + 2**40
    level = cluster.wait_until_level()
    assert {info.fields["cluster_id"] for info in level.values()} == {"new"}
    assert len({info.digest for info in level.values()}) == 1


def test_an_old_member_that_comes_back_is_turned_away(start_cluster: "StartCluster") -> None:
    """The two that were thought lost elect a leader of their own; neither cluster touches the other."""
    cluster = start_cluster(settings=STEADY)
    client = cluster.client("n1")
    client.set("key", "common")
    client.close()
    cluster.wait_until_level()
    cluster.kill9()
    assert recover(cluster, "n1", "--yes").returncode == 0
    cluster.start()
    cluster.wait_for(lambda: len([i for i in cluster.infos().values() if i.role == "leader"]) == 2, "two leaders")
    alone, old = cluster.client("n1"), cluster.client("n2")
    alone.set("key", "new")
    old.set("key", "old")
    assert (alone.get("key"), old.get("key")) == (b"new", b"old")
    cluster.wait_for(lambda: "peer connection refused" in cluster.nodes["n1"].log(), "an old member is refused")
    alone.close()
    old.close()
