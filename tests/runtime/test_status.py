"""What nodes say of themselves holds at any moment, and only a leader speaks for others."""

import asyncio
from typing import Any

from raftline import Node


def positions(node: Node) -> list[int]:
    """Return a node's positions in the order that they must have."""
    status = node.status()
    return [
        status.compacted_index,
        status.snapshot_index,
        status.applied_index,
        status.commit_index,
        status.last_index,
    ]


def test_positions_are_in_their_order_while_a_node_works(make_cluster: Any) -> None:
    """Always compacted <= snapshot <= applied <= commit <= last, and persisted <= last, on every node (D4)."""

    async def scenario() -> None:
        async with make_cluster(snapshot_log_entries=20, keep_log_entries=5) as cluster:
            leader = await cluster.leader()
            for number in range(200):
                await leader.propose(b"k=%d" % number)
                for node in cluster.nodes.values():
                    found = positions(node)
                    assert found == sorted(found)
                    assert node.status().persisted_index <= node.status().last_index
                if (
                    number % 10 == 9
                ):  # nobody lags so far that it is sent a snapshot: what it restores is ahead of applied
                    last = leader.status().last_index
                    await cluster.until(
                        lambda last=last: all(node.status().persisted_index >= last for node in cluster.nodes.values())
                    )
            assert leader.status().snapshots_taken > 0

    asyncio.run(scenario())


def test_only_a_leader_speaks_for_others(make_cluster: Any) -> None:
    """It knows everybody's position; a follower knows its own, and who leads where."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            await follower.propose(b"k=1")
            name = leader.config.node_id
            assert (follower.status().leader_id, follower.status().leader_address) == (name, cluster.members[name])
            assert all(member.match_index is not None for member in leader.status().members)
            known = [member.node_id for member in follower.status().members if member.match_index is not None]
            assert known == [follower.config.node_id]
            assert [member.role for member in leader.status().members].count("leader") == 1

    asyncio.run(scenario())
