"""Members come and go under load, on real processes: no operation fails, nothing is lost."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalNode

if TYPE_CHECKING:
    from raftline.cli.local_cluster import LocalCluster

    StartCluster = Callable[..., LocalCluster]

Done = subprocess.CompletedProcess[str]


def raftline(*arguments: object) -> Done:
    """Run the command line as people do."""
    command = [sys.executable, "-m", "raftline.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def member(cluster: "LocalCluster", asked: str, *arguments: str) -> Done:
    """Run `raftline member ...` against one node; it must succeed."""
    done = raftline("member", *arguments, "--node", f"127.0.0.1:{cluster.nodes[asked].port}")
    assert done.returncode == 0, done.stderr
    return done


def add(cluster: "LocalCluster", name: str, asked: str) -> None:
    """Start a new node and add it."""
    node = cluster.grow(name, joins=asked)
    cluster.start(name)
    assert f"{name} votes now" in member(cluster, asked, "add", f"{name}={node.address}").stdout


def voters(cluster: "LocalCluster", asked: str) -> list[str]:
    """Return who votes, as one node knows it."""
    info = cluster.info(asked)
    assert info is not None
    return [each.node_id for each in info.members if each.voter]


@contextmanager
def under_load(cluster: "LocalCluster", names: list[str]) -> Iterator[Load]:
    """Run clients of some nodes meanwhile; none of them may be refused anything, or be told something wrong."""
    load = Load([cluster.nodes[name].port for name in names], writers=len(names), readers=len(names))
    load.start()
    try:
        cluster.wait_for(lambda: load.writes > 100, "100 writes")
        yield load
        before = load.writes
        cluster.wait_for(lambda: load.writes > before + 100, "100 more writes")
    finally:
        load.stop()
    assert load.wrong == []
    assert load.refusals == {}


@contextmanager
def redis_benchmark(port: int) -> Iterator[list[str]]:
    """Run redis-benchmark against a node meanwhile, again and again; any error reply ends it with a code."""
    program = shutil.which("redis-benchmark")
    if program is None:
        pytest.skip("redis-benchmark is not installed")
    command = [program, "-p", str(port), "-t", "set,get", "-n", "2000", "-c", "8", "-r", "1000", "-q", "-e"]
    stopping = threading.Event()
    troubles: list[str] = []
    runs = 0

    def run() -> None:
        nonlocal runs
        while not stopping.is_set():
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            runs += 1
            if done.returncode != 0 or "Error" in done.stdout + done.stderr:
                troubles.append(f"code {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield troubles
    finally:
        stopping.set()
        thread.join()
    assert runs > 0


@pytest.mark.timeout(180)
def test_three_become_five_become_three_under_load(start_cluster: "StartCluster") -> None:
    """Clients of the three that stay see no failed operation, whoever leads, and everything is on them (K1)."""
    cluster = start_cluster()
    with (
        redis_benchmark(cluster.nodes["n1"].port) as troubles,
        under_load(cluster, ["n1", "n2", "n3"]) as load,
    ):
        add(cluster, "n4", "n1")
        add(cluster, "n5", "n2")
        assert voters(cluster, "n3") == ["n1", "n2", "n3", "n4", "n5"]
        done = raftline("transfer", "--to", "n5", "--node", f"127.0.0.1:{cluster.nodes['n1'].port}")
        assert done.stdout.startswith("n5 leads now"), done.stderr
        member(cluster, "n4", "remove", "n5")
        member(cluster, "n1", "remove", "n4")
        for name in ("n5", "n4"):
            assert cluster.terminate(name) == 0
            del cluster.nodes[name]
    assert troubles == []
    assert voters(cluster, "n1") == ["n1", "n2", "n3"]
    level = cluster.wait_until_level()
    assert len({info.digest for info in level.values()}) == 1
    assert [fault for node in cluster.nodes.values() for fault in load.check_node(node.port)] == []


def test_a_node_moves_to_another_address(start_cluster: "StartCluster") -> None:
    """Stopped, announced at its new address, started there with its directory: it goes on, and can lead."""
    cluster = start_cluster()
    with cluster.client("n1") as client:
        client.set("key", "value")
    old = cluster.nodes["n3"]
    assert cluster.terminate("n3") == 0
    new = cluster.grow("n3", joins="n1")
    assert new.address != old.address
    moved = member(cluster, "n1", "move", f"n3={new.address}")
    assert moved.stdout == f"n3 is at {new.address} from now on\n"
    cluster.start("n3")
    cluster.wait_until_level()
    info = cluster.info("n2")
    assert info is not None
    assert {each.node_id: each.address for each in info.members}["n3"] == new.address
    done = raftline("transfer", "--to", "n3", "--node", f"127.0.0.1:{cluster.nodes['n2'].port}")
    assert done.returncode == 0, done.stderr
    with cluster.client("n3") as client:
        assert client.get("key") == b"value"


def test_a_node_that_was_removed_while_it_was_down_is_told(start_cluster: "StartCluster") -> None:
    """Its clients, its status and its log say so, over restarts of everybody; added again, it goes on (K1, K2)."""
    cluster = start_cluster(settings={"request_timeout_s": 30})
    with cluster.client("n1") as client:
        client.set("key", "value")
    cluster.wait_until_level()
    cluster.kill9("n3")
    member(cluster, "n1", "remove", "n3")
    cluster.start("n3")
    words = "n3 was removed from the group: ask n1 at"
    with cluster.client("n3") as client:
        with pytest.raises(Exception, match=words):
            client.get("key")
        with pytest.raises(Exception, match=words):
            client.set("key", "other")
    info = cluster.info("n3")
    assert info is not None
    assert info.role == "removed"
    assert "this node is no member of the group" in cluster.nodes["n3"].log()
    for name in ("n1", "n2"):
        cluster.restart(name)
    with cluster.client("n3") as client, pytest.raises(Exception, match=words):
        client.get("key")
    member(cluster, "n1", "add", f"n3={cluster.nodes['n3'].address}")
    cluster.wait_until_level()
    assert voters(cluster, "n3") == ["n1", "n2", "n3"]
    with cluster.client("n3") as client:
        assert client.get("key") == b"value"


def test_a_node_with_a_wrong_list_of_nodes_is_told(start_cluster: "StartCluster") -> None:
    """It never was a member: it says so instead of waiting for votes that nobody gives it."""
    cluster = start_cluster(settings={"request_timeout_s": 30})
    with cluster.client("n1") as client:
        client.set("key", "value")
    cluster.wait_until_level()
    cluster.nodes["n4"] = LocalNode("n4", cluster.directory)
    cluster.start("n4")
    with cluster.client("n4") as client, pytest.raises(Exception, match="n4 is no member of the group: ask n1 at"):
        client.get("key")
    info = cluster.info("n4")
    assert info is not None
    assert (info.role, info.last_index) == ("stranger", 0)


def test_a_node_that_joins_waits_and_says_so(start_cluster: "StartCluster") -> None:
    """Before it is added it refuses clients in words; added as a learner it reads, and does not vote."""
    cluster = start_cluster(settings={"request_timeout_s": 0.5})
    node = cluster.grow("n4", joins="n1")
    cluster.start("n4")
    info = cluster.info("n4")
    assert info is not None
    assert (info.role, info.term, info.members) == ("waiting", 0, ())
    with cluster.client("n4") as client, pytest.raises(Exception, match="n4 waits to be added to a group: the command"):
        client.set("key", "value")
    member(cluster, "n2", "add", f"n4={node.address}", "--learner")
    cluster.wait_until_level()
    assert voters(cluster, "n4") == ["n1", "n2", "n3"]
    with cluster.client("n4") as client:
        assert client.set("key", "value")
        assert client.get("key") == b"value"
        assert client.execute_command(["CLIENT", "READS", "BOUNDED", "10000"][0], "READS", "BOUNDED", "10000") == b"OK"
        assert client.get("key") == b"value"
    member(cluster, "n4", "promote", "n4")
    assert voters(cluster, "n1") == ["n1", "n2", "n3", "n4"]
    assert cluster.terminate("n4") == 0
    cluster.start("n4")
    cluster.wait_until_level()
