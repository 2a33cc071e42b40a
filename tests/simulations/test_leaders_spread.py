"""Many groups on three nodes: their leaders end up where they are wanted, also after a node was away, and all sleep."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import structlog

from raftline.core.config import CoreConfig
from raftline.core.ids import NodeId
from raftline.kv.machine import KvMachine
from raftline.runtime.config import GroupConfig, NodeConfig
from raftline.runtime.node import Node
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.loop import SimLoop
from raftline.sim.no_checks import NoChecks

CORE = CoreConfig(quiesce_after_s=0.5, priority_handover_s=2.0)


class _Cluster(SimCluster):
    """Machines that host so many groups, each of which prefers one of them."""

    groups = 0

    async def on_started(self, member: Member, node: Node) -> None:  # noqa: ARG002
        """Host them all at once."""
        names = list(self.first_addresses)
        await asyncio.gather(
            *(
                node.add_group(
                    GroupConfig(group=number, members=self.first_addresses, prefers=names[number % len(names)]),
                    KvMachine(),
                )
                for number in range(1, self.groups + 1)
            )
        )

    def leads(self) -> dict[NodeId, int]:
        """Return how many of the groups each node leads."""
        counts = Counter(
            member.name
            for member in self.ready()
            if member.node is not None
            for number, group in member.node.groups.items()
            if number and group.is_leader
        )
        return dict(counts)

    def all_sleep(self) -> bool:
        """Say whether every group sleeps on every node that is up."""
        return all(
            group.driver.replica.core.is_asleep
            for member in self.ready()
            if member.node is not None
            for group in member.node.groups.values()
        )


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("groups", "spread"), [(8, {"n1": 2, "n2": 3, "n3": 3}), (100, {"n1": 33, "n2": 34, "n3": 33})]
)
def test_leaders_end_up_where_they_are_preferred_and_then_all_sleep(groups: int, spread: dict[str, int]) -> None:
    """All begin at one moment; a node goes, its groups are led by the others, and it gets them back (A30, K2)."""
    world = SimLoop(5)
    cluster = _Cluster(
        world,
        3,
        config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data", core=CORE),
        make_machine=KvMachine,
        make_checkers=NoChecks,
    )
    cluster.groups = groups
    try:
        cluster.start()
        _run_until(world, 20.0, lambda: cluster.leads() == spread and cluster.all_sleep())
        away = cluster.members["n2"]
        away.crash(CrashKind.MACHINE)
        _run_until(world, 5.0, lambda: sum(cluster.leads().values()) == groups)
        _run_until(world, 10.0, cluster.all_sleep)
        away.start()
        _run_until(world, 20.0, lambda: cluster.leads() == spread and cluster.all_sleep())
    finally:
        world.close(raise_failures=False)


def _run_until(world: SimLoop, seconds_max: float, holds: Callable[[], bool]) -> None:
    end = world.now + seconds_max
    while not holds():
        assert world.now < end, "not in time"
        world.run_for(0.25)
