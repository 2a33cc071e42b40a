"""Members come and go under load, on real processes: no operation fails, nothing is lost."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from tests.cluster.conftest import STEADY

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalNode
from raftline.cli.output import say
from raftline.cli.recorded_load import RecordedLoad, judge
from raftline.cli.redis_benchmark import RedisBenchmark

if TYPE_CHECKING:
    from raftline.cli.local_cluster import LocalCluster

    StartCluster = Callable[..., LocalCluster]

Done = subprocess.CompletedProcess[str]

TOLD_WHEN_REMOVED = ("was removed from the group: ask", "Connection closed", "Connection refused")


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


def await_voters(cluster: "LocalCluster", asked: str, names: list[str]) -> None:
    """Wait until these vote, as one node knows it: a majority without it is enough for a change."""

    def known() -> bool:
        info = cluster.info(asked)
        return info is not None and [each.node_id for each in info.members if each.voter] == names

    cluster.wait_for(known, f"{asked} knows that {names} vote")


@contextmanager
def benchmarked(cluster: "LocalCluster", names: list[str]) -> Iterator[list[RedisBenchmark]]:
    """Run redis-benchmark against each of some nodes meanwhile; none of its runs may see an error or a lost connection.

    Each has a clean run of its own before and after what happens meanwhile. They pause in between, as other tests run
    beside this one; the recorded clients do not.
    """
    if not RedisBenchmark.installed():
        pytest.skip("redis-benchmark is not installed")
    benchmarks = [RedisBenchmark(cluster.nodes[name].port, requests=80, pause_s=0.4) for name in names]
    for benchmark in benchmarks:
        benchmark.start()
    try:
        await_runs(cluster, benchmarks)
        yield benchmarks
        await_runs(cluster, benchmarks)
    finally:
        for benchmark in benchmarks:
            benchmark.stop()
    assert [trouble for benchmark in benchmarks for trouble in benchmark.troubles] == []


def await_runs(cluster: "LocalCluster", benchmarks: list[RedisBenchmark]) -> None:
    """Wait until each has begun and ended another run."""
    enough = [benchmark.runs + 2 for benchmark in benchmarks]

    def done() -> bool:
        return all(benchmark.runs >= runs for benchmark, runs in zip(benchmarks, enough, strict=True))

    cluster.wait_for(done, "another run of each redis-benchmark", 120.0)


@contextmanager
def recorded(cluster: "LocalCluster", names: list[str], history: Path) -> Iterator[RecordedLoad]:
    """Run recorded clients of some nodes meanwhile: nothing fails, and what they saw has an order."""
    load = RecordedLoad({name: cluster.nodes[name].port for name in names})
    load.start()
    try:
        cluster.wait_for(lambda: load.answered > 100, "100 recorded operations")
        yield load
        before = load.answered
        cluster.wait_for(lambda: load.answered > before + 100, "100 more recorded operations")
    finally:
        load.stop()
    assert (load.faults, load.refusals, load.refused, load.unknown) == ([], {}, 0, 0)
    for name in names:
        load.read_all(name)
    assert judge(load.operations, history) is None


def shrink(cluster: "LocalCluster", name: str, asked: str) -> None:
    """Remove a node: it knows that it was removed, soon tells every client so, and ends cleanly when asked to."""
    member(cluster, asked, "remove", name)

    def knows() -> bool:
        info = cluster.info(name, 30)
        return info is not None and info.role == "removed" and info.leader_id is None

    cluster.wait_for(knows, f"{name} knows that it was removed")
    with cluster.client(name) as client:
        with pytest.raises(redis.ResponseError, match=f"{name} was removed from the group: ask .*did not take effect"):
            client.set("key", "value")
        with pytest.raises(redis.ResponseError, match=f"{name} was removed from the group: ask "):
            client.get("key")
    assert cluster.terminate(name) == 0
    del cluster.nodes[name]


@pytest.mark.timeout(300)
def test_three_become_five_become_three_under_load(
    start_cluster: "StartCluster", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clients of the leader and of followers see no failed operation while nodes come and go, a leader among them (K1).

    redis-benchmark runs against the three nodes that stay, as do recorded clients. Clients of a node that is removed
    are told so, and that their command did not take effect; nothing that it acknowledged is lost.
    """
    cluster = start_cluster(settings=STEADY | {"drain_s_max": 30})
    stay = list(cluster.nodes)
    with benchmarked(cluster, stay) as benchmarks, recorded(cluster, stay, tmp_path / "history.jsonl") as load:
        add(cluster, "n4", "n1")
        add(cluster, "n5", "n2")
        await_voters(cluster, "n3", ["n1", "n2", "n3", "n4", "n5"])
        done = raftline("transfer", "--to", "n5", "--node", f"127.0.0.1:{cluster.nodes['n1'].port}")
        assert done.stdout.startswith("n5 leads now"), done.stderr
        leaving = Load([cluster.nodes["n5"].port], writers=2, readers=1, prefix="leaving")
        leaving.start()
        cluster.wait_for(lambda: leaving.writes > 100, "100 writes of clients of n5")
        assert cluster.wait_for_leader() == "n5"
        shrink(cluster, "n5", "n4")
        leaving.stop()
        shrink(cluster, "n4", "n1")
    with capsys.disabled():
        requests, runs = (sum(getattr(each, name) for each in benchmarks) for name in ("requests", "runs"))
        say(
            f"\n3 -> 5 -> 3 nodes: {requests} requests of redis-benchmark in {runs} runs and {load.answered} recorded"
            f" operations, none failed, slowest {load.slowest_s:.2f} s; clients of the leader that was removed were"
            f" told {leaving.refusals}"
        )
    await_voters(cluster, "n1", stay)
    level = cluster.wait_until_level()
    assert len({info.digest for info in level.values()}) == 1
    assert leaving.wrong == []
    assert [text for text in leaving.refusals if not any(end in text for end in TOLD_WHEN_REMOVED)] == []
    assert [fault for node in cluster.nodes.values() for fault in leaving.check_node(node.port)] == []


def test_a_node_moves_to_another_address(start_cluster: "StartCluster") -> None:
    """Stopped, announced at its new address, started there with its directory: it goes on, and can lead."""
    cluster = start_cluster(settings=STEADY)
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
    info = cluster.info("n2", 30)
    assert info is not None
    assert {each.node_id: each.address for each in info.members}["n3"] == new.address
    done = raftline("transfer", "--to", "n3", "--node", f"127.0.0.1:{cluster.nodes['n2'].port}")
    assert done.returncode == 0, done.stderr
    with cluster.client("n3") as client:
        assert client.get("key") == b"value"


def is_vouched_for(client: redis.Redis) -> bool:
    """Say whether a bounded read is answered, and not refused for a copy of unknown age."""
    try:
        client.get("key")
    except redis.exceptions.ClusterDownError as error:
        if "no leader has vouched for this copy yet" not in str(error):
            raise
        return False
    return True


def peers_of(node: LocalNode) -> str:
    """Return the last line of a node's log that lists its peers."""
    return next(line for line in reversed(node.log().splitlines()) if "] peers " in line)


def test_a_node_that_was_removed_while_it_was_down_is_told(start_cluster: "StartCluster") -> None:
    """Its clients, its status and its log say so, over restarts of everybody; added again, it goes on (K1, K2)."""
    cluster = start_cluster(settings=STEADY | {"request_timeout_s": 30})
    with cluster.client("n1") as client:
        client.set("key", "value")
    cluster.wait_until_level()
    cluster.kill9("n3")
    cluster.wait_for_leader(other_than="n3")
    member(cluster, "n1", "remove", "n3")
    # For an election timeout the leader would still tell it, and answer what it asks.
    leader = cluster.nodes[cluster.wait_for_leader()]
    cluster.wait_for(lambda: "'n3'" not in peers_of(leader), "the leader lets n3 go")
    cluster.start("n3")
    words = "n3 was removed from the group: ask n1 at"
    with cluster.client("n3", timeout_s=60) as client:
        with pytest.raises(Exception, match=words):
            client.get("key")
        with pytest.raises(Exception, match=words):
            client.set("key", "other")
    info = cluster.info("n3", 30)
    assert info is not None
    assert info.role == "removed"
    assert "this node is no member of the group" in cluster.nodes["n3"].log()
    for name in ("n1", "n2"):
        cluster.restart(name)
    with cluster.client("n3", timeout_s=60) as client, pytest.raises(Exception, match=words):
        client.get("key")
    member(cluster, "n1", "add", f"n3={cluster.nodes['n3'].address}")
    cluster.wait_until_level()
    await_voters(cluster, "n3", ["n1", "n2", "n3"])
    with cluster.client("n3") as client:
        assert client.get("key") == b"value"


def test_a_learner_that_was_removed_while_it_was_down_is_told(start_cluster: "StartCluster") -> None:
    """It asks for no votes, and for a word: its clients and its status say where it belongs (K1)."""
    cluster = start_cluster(settings=STEADY | {"request_timeout_s": 30})
    node = cluster.grow("n4", joins="n1")
    cluster.start("n4")
    member(cluster, "n1", "add", f"n4={node.address}", "--learner")
    cluster.wait_until_level()
    cluster.kill9("n4")
    member(cluster, "n1", "remove", "n4")
    leader = cluster.nodes[cluster.wait_for_leader()]
    cluster.wait_for(lambda: "'n4'" not in peers_of(leader), "the leader lets n4 go")
    cluster.start("n4")
    with (
        cluster.client("n4", timeout_s=60) as client,
        pytest.raises(Exception, match="n4 was removed from the group: ask n1 at"),
    ):
        client.get("key")
    info = cluster.info("n4", 30)
    assert info is not None
    assert (info.role, info.leader_id, cluster.wait_for_leader()) == ("removed", None, leader.name)
    member(cluster, "n1", "add", f"n4={node.address}", "--learner")
    cluster.wait_until_level()


def test_a_node_with_a_wrong_list_of_nodes_is_told(start_cluster: "StartCluster") -> None:
    """It never was a member: it says so instead of waiting for votes that nobody gives it."""
    cluster = start_cluster(settings=STEADY | {"request_timeout_s": 30})
    with cluster.client("n1") as client:
        client.set("key", "value")
    cluster.wait_until_level()
    cluster.nodes["n4"] = LocalNode("n4", cluster.directory)
    cluster.start("n4")
    with (
        cluster.client("n4", timeout_s=60) as client,
        pytest.raises(Exception, match="n4 is no member of the group: ask n1 at"),
    ):
        client.get("key")
    info = cluster.info("n4", 30)
    assert info is not None
    assert (info.role, info.last_index) == ("stranger", 0)


def test_a_node_that_joins_waits_and_says_so(start_cluster: "StartCluster") -> None:
    """Before it is added it refuses clients in words; added as a learner it reads, and does not vote."""
    cluster = start_cluster(settings=STEADY)
    node = cluster.grow("n4", joins="n1")
    cluster.start("n4")
    info = cluster.info("n4", 30)
    assert info is not None
    assert (info.role, info.term, info.members) == ("waiting", 0, ())
    with (
        cluster.client("n4", timeout_s=60) as client,
        pytest.raises(Exception, match="n4 waits to be added to a group: the command"),
    ):
        client.set("key", "value")
    member(cluster, "n2", "add", f"n4={node.address}", "--learner")
    cluster.wait_until_level()
    await_voters(cluster, "n4", ["n1", "n2", "n3"])
    with cluster.client("n4") as client:
        assert client.set("key", "value")
        assert client.get("key") == b"value"
        assert client.execute_command("CLIENT", "READS", "BOUNDED", "10000") == b"OK"
        # Two heartbeats: until a leader has echoed what the learner sent, nobody knows how old its copy is.
        cluster.wait_for(lambda: is_vouched_for(client), "a leader vouches for the learner's copy")
        assert client.get("key") == b"value"
    member(cluster, "n4", "promote", "n4")
    await_voters(cluster, "n1", ["n1", "n2", "n3", "n4"])
    assert cluster.terminate("n4") == 0
    cluster.start("n4")
    cluster.wait_until_level()
