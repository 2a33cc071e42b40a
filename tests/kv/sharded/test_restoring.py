"""A group whose new replica has a large snapshot to restore."""

import asyncio
from pathlib import Path

from tests.kv.sharded.test_keeper import KEYS, in_a_loop, sharded

from raftline.core.changes import AddLearner
from raftline.kv.sharded.requests import change_command
from raftline.shards.configuration import Place


@in_a_loop
async def test_nobody_leads_before_the_state_is_restored(tmp_path: Path) -> None:
    """Its log is as long as the others' while it restores, which may take a minute: it could answer nobody (D21)."""
    async with sharded(tmp_path, 4, first_groups=1) as cluster:
        await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
        await cluster.fill()
        leader = cluster.places["n1"].keeper.running(1)
        assert leader is not None
        leader.driver.compaction.make_room()
        await cluster.ask(KEYS[0], b"SET", b"w")
        await cluster.wait(lambda: leader.status().compacted_index, "the newcomer gets a snapshot")
        place = cluster.places["n4"]
        assert place.node._group is not None
        place.node._group.host.snapshot_pace._bytes_per_s = 1  # as if it were hours' worth
        await place.node.propose(change_command(Place(1, ("n4", "n2", "n3"))))
        await cluster.wait(lambda: cluster.hosts("n4") == {1}, "hosted")
        newcomer = place.keeper.running(1)
        assert newcomer is not None
        await cluster.wait(lambda: newcomer.driver.replica.restoring is not None, "it restores")
        for _ in range(30):
            await asyncio.sleep(0.1)
            async with asyncio.timeout(30):
                await cluster.ask(KEYS[0], b"SET", b"w")
        assert newcomer.driver.replica.restoring is not None
        await cluster.wait(lambda: newcomer.status().leader_id in {"n1", "n2", "n3"}, "it follows one of the others")
        assert "n4" in newcomer.driver.replica.core.state.membership.learners
