"""A replica whose state machine has a snapshot to restore for long: the group goes on without it."""

import asyncio
from typing import Any

import pytest
from tests.runtime.conftest import Cluster

from raftline import Node
from raftline.core.changes import AddLearner, Promote
from raftline.core.progress import Mode
from raftline.errors import ChangeRefused

LITTLE_LOG = {"snapshot_log_entries": 100, "keep_log_entries": 10}


async def restoring(cluster: Cluster) -> Node:
    """Return a voter that holds the whole log, and begins to restore a snapshot that takes it hours."""
    cluster.settings["snapshot_bytes_per_second"] = 1
    node = await cluster.wiped()
    await cluster.until(lambda: node.measure().restoring and node.status().established)
    return node


@pytest.mark.parametrize("drain_s_max", [2.0, 0.0])
def test_a_leader_that_goes_is_followed_by_one_that_can_answer(make_cluster: Any, drain_s_max: float) -> None:
    """By its own choice, or by an election; the operator's wish is refused in words (D21)."""

    async def scenario() -> None:
        async with make_cluster(drain_s_max=drain_s_max, **LITTLE_LOG) as cluster:
            node = await restoring(cluster)
            leader = await cluster.leader()
            name = node.config.node_id
            progress = leader._group.replica.core.state.progress[name]
            await cluster.until(lambda: progress.is_trusted and progress.mode is Mode.REPLICATE)
            with pytest.raises(ChangeRefused, match=f"{name} could answer nobody yet: it restores a snapshot"):
                await leader.transfer_leadership(name)
            await cluster.stop(leader.config.node_id)
            (other,) = (one for one in cluster.nodes.values() if one is not node)
            assert await node.propose(b"k1=x") == b"1"
            assert other.is_leader
            assert node.measure().restoring

    asyncio.run(scenario())


def test_a_learner_does_not_vote_before_it_can_answer(make_cluster: Any) -> None:
    """Though it holds the whole log: a voter that serves may be let go for it (D21)."""

    async def scenario() -> None:
        async with make_cluster(**LITTLE_LOG) as cluster:
            leader = await cluster.leader()
            for number in range(500):
                await leader.propose(b"k%d=%d" % (number, number))
            await cluster.until(lambda: leader.status().compacted_index > 200)
            cluster.settings["snapshot_bytes_per_second"] = 1
            address = await cluster.join("n4")
            await leader.change_membership(AddLearner("n4", address))
            await cluster.until(lambda: cluster.nodes["n4"].measure().restoring)
            for _ in range(20):
                await leader.propose(b"k=v")
                last_index = leader.status().last_index
                await cluster.until(lambda: cluster.nodes["n4"].status().last_index >= last_index)  # noqa: B023
            with pytest.raises(ChangeRefused, match="n4 is not caught up: it restores a snapshot"):
                await leader.change_membership(Promote("n4"))
            assert [one.node_id for one in leader.members() if one.role == "learner"] == ["n4"]

    asyncio.run(scenario())
