"""Bounded and stale reads are held against what they promise."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.core.messages import TimeoutNow
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine
from raftline.runtime.config import NodeConfig
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.loop import SimLoop
from raftline.sim.older_reads import OlderReads


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.fixture
def stage() -> Iterator[tuple[SimCluster, OlderReads, Member]]:
    """Yield three nodes that have elected, readers, and a follower."""
    world = SimLoop(5)
    cluster = SimCluster(
        world,
        3,
        config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data"),
        make_machine=KvMachine,
    )
    reads = OlderReads(cluster, world.stream("older reads"))
    cluster.on_message_delivered = reads.on_delivered
    cluster.start()
    reads.start()
    world.run_until(3.0)
    yield cluster, reads, next(member for member in cluster.ready() if member.node and not member.node.is_leader)
    world.close(raise_failures=False)


def test_honest_answers_pass(stage: tuple[SimCluster, OlderReads, Member]) -> None:
    """Both kinds are asked and answered, and what is too old is refused (G3)."""
    cluster, reads, follower = stage
    cluster.network.isolate(follower.name)
    cluster.world.run_for(3.0)
    assert reads.counts["stale reads"] > 5
    assert reads.counts["bounded reads"] > 5
    assert reads.counts["bounded reads refused"] > 0
    reads.stop()


def test_an_answer_beyond_the_bound_is_noticed(stage: tuple[SimCluster, OlderReads, Member]) -> None:
    """Whatever was committed longer ago than the bound has to be seen, by any reader (G3)."""
    cluster, reads, follower = stage
    cluster.world.run_for(15.0)
    cluster.checkers.committed += [(1, b"", 0)] * 1000
    reads.on_delivered(follower.name, TimeoutNow(1))
    reads.stop()
    cluster.world.run_for(0.4)
    reads._check(follower, follower.incarnation, "bounded", 0.5)
    cluster.world.run_for(0.4)
    with pytest.raises(SafetyViolation, match=r"was committed 0[.]800 s ago"):
        reads._check(follower, follower.incarnation, "bounded", 0.5)
    reads._check(follower, follower.incarnation, "stale", 0.0)
    for machine in cluster.members.values():
        assert machine.loop is not None
        machine.loop.set_rate(1.2)
        reads._check(follower, follower.incarnation, "bounded", 0.5)
        machine.loop.set_rate(1.0)
        reads._check(follower, follower.incarnation, "bounded", 0.5)


def test_going_back_is_noticed(stage: tuple[SimCluster, OlderReads, Member]) -> None:
    """A node that goes on running shows no earlier state than before (G3)."""
    _, reads, follower = stage
    reads._seen[follower.name, follower.incarnation] = 10**6
    with pytest.raises(SafetyViolation, match="one before it saw"):
        reads._check(follower, follower.incarnation, "stale", 0.0)
