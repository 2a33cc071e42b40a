"""The last checks of a run."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine
from raftline.linearizability.history import Operation
from raftline.runtime.config import NodeConfig
from raftline.sim.aftermath import Aftermath, LivenessViolation
from raftline.sim.cluster import SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.kv_door import KvDoor
from raftline.sim.loop import SimLoop
from raftline.sim.workload import Answer, Workload, WorkloadPlan


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.fixture
def cluster() -> Iterator[SimCluster]:
    """Three nodes that have elected, with a snapshot every hundred entries."""
    world = SimLoop(7)

    def config_of(name: str, members: dict[str, str]) -> NodeConfig:
        return NodeConfig(
            node_id=name, members=members, data_dir="/data", snapshot_log_entries=100, keep_log_entries=10
        )

    cluster = SimCluster(world, 3, config_of=config_of, make_machine=KvMachine)
    cluster.start()
    world.run_until(2.0)
    yield cluster
    world.close(raise_failures=False)


def aftermath(cluster: SimCluster, *keys: str) -> tuple[Aftermath, Workload]:
    """Return the checks after a history that wrote these keys."""
    workload = Workload(cluster, KvDoor(cluster), WorkloadPlan(clients=0), cluster.random)
    for key in keys:
        operation = Operation("c1", "set", "v", "OK", call_time=0.0, return_time=1.0, key=key)
        workload.record(operation, Answer(value="OK"))
    return Aftermath(cluster, workload), workload


def store(cluster: SimCluster, node: str) -> Any:
    """Return a node's store."""
    machine = cluster.members[node].machine
    assert isinstance(machine, KvMachine)
    return machine.store


def test_a_healthy_cluster_passes(cluster: SimCluster) -> None:
    """Every node writes, and its reads of every key join the history."""
    checks, workload = aftermath(cluster, "a", "b")
    checks.ask_everybody()
    checks.check()
    reads = [operation for operation in workload.operations if operation.kind == "get"]
    assert len(reads) == 6
    assert {operation.output for operation in reads} == {None}
    assert store(cluster, "n1").get(b"last of n3") == b"1"


def test_a_node_that_does_not_serve_is_named(cluster: SimCluster) -> None:
    """Whoever is up and answers no write after everything was healed breaks a promise (G10)."""
    follower = next(member.name for member in cluster.ready() if member.node and not member.node.is_leader)
    cluster.network.isolate(follower)
    checks, _ = aftermath(cluster)
    with pytest.raises(LivenessViolation, match=f"{follower} was asked for SET"):
        checks.ask_everybody()


def test_a_node_that_is_down_is_named(cluster: SimCluster) -> None:
    """Everybody has to be back."""
    cluster.members["n3"].crash(CrashKind.PROGRAM)
    with pytest.raises(LivenessViolation, match="n3 did not come back"):
        aftermath(cluster)[0].check()


def test_replicas_that_differ_are_noticed(cluster: SimCluster) -> None:
    """Equal positions and digests do not hide a lost key (G1)."""
    checks, _ = aftermath(cluster)
    checks.ask_everybody()
    store(cluster, "n1").delete(b"last of n2")
    with pytest.raises(SafetyViolation, match="key last of n2"):
        checks.check()


def test_files_that_stay_are_noticed(cluster: SimCluster) -> None:
    """More segments than the log needs, or more than two snapshots (D18)."""
    files = cluster.members["n2"].disk._mounted
    assert files is not None
    for number in (901, 902, 903):
        files.open(f"/data/snapshot-0-{number:016d}-1.snap", create=True)
    with pytest.raises(SafetyViolation, match=r"n2: .* 3 snapshots: old files stay"):
        aftermath(cluster)[0].check()


def test_a_log_that_grows_is_noticed(cluster: SimCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries go once a snapshot covers them (D1)."""
    leader = next(member for member in cluster.members.values() if member.node and member.node.is_leader)
    assert leader.node is not None
    group = leader.node._group
    assert group is not None
    monkeypatch.setattr(group.compaction, "step", lambda: None)
    for _ in range(400):
        leader.node.submit(b"", lambda _outcome: None)
    cluster.world.run_for(1.0)
    with pytest.raises(SafetyViolation, match=rf"{leader.name}: its log holds 4\d\d entries"):
        aftermath(cluster)[0].check()
