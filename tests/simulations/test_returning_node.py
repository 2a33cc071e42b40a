"""A node that comes back from a long partition, in a cluster of whole nodes: everybody goes on as before."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.kv.machine import KvMachine
from raftline.runtime.config import NodeConfig
from raftline.sim.cluster import SimCluster
from raftline.sim.loop import SimLoop


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


def _standing(cluster: SimCluster) -> dict[str, tuple[int, str | None]]:
    nodes = {member.name: member.node for member in cluster.ready()}
    return {name: (node.status().term, node.status().leader_id) for name, node in nodes.items() if node is not None}


@pytest.mark.parametrize("kind", ["cut off", "hears nobody", "cut off from the leader"])
def test_a_node_that_was_away_for_ten_minutes_changes_no_leader_and_no_term(kind: str) -> None:
    """It asks in vain a thousand times, heard or not, and follows again when it is back (A4, A18, K2)."""
    world = SimLoop(11)
    cluster = SimCluster(
        world,
        3,
        config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data"),
        make_machine=KvMachine,
    )
    try:
        cluster.start()
        world.run_until(5.0)
        before = _standing(cluster)
        assert len(before) == 3
        ((term, leader),) = set(before.values())
        away = next(name for name in before if name != leader)
        others = [name for name in before if name != away]
        for other in [leader] if kind == "cut off from the leader" else others:
            assert other is not None
            cluster.network.cut(other, away)
            if kind != "hears nobody":
                cluster.network.cut(away, other)
        world.run_for(600.0)
        assert _standing(cluster) == {away: (term, None)} | dict.fromkeys(others, (term, leader))
        cluster.network.heal()
        world.run_for(5.0)
        assert _standing(cluster) == before
        assert cluster.checkers.elections == 1
    finally:
        world.close(raise_failures=False)
