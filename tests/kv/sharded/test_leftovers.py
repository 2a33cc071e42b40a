"""What a node holds of groups that went elsewhere while it was down, or that nobody knows."""

import asyncio
from pathlib import Path

from structlog.testing import capture_logs
from tests.kv.sharded.test_keeper import KEYS, Sharded, in_a_loop, sharded

from raftline.core.changes import AddLearner
from raftline.kv.sharded.machine import ShardMachine
from raftline.runtime.config import GroupConfig
from raftline.shards.configuration import Place


async def _with_a_fourth(cluster: Sharded) -> None:
    """Let n4 join, and the first group begin."""
    await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
    await cluster.fill()
    await cluster.wait(lambda: cluster.places["n4"].meta.begun == {1}, "n4 knows it")


@in_a_loop
async def test_a_replica_whose_group_went_to_entirely_other_nodes_is_given_up(tmp_path: Path) -> None:
    """Nobody whom it knows holds the group any more: those who do are known to group 0, and say so (G17, K1)."""
    async with sharded(tmp_path, 4, first_groups=1) as cluster:
        await _with_a_fourth(cluster)
        await cluster.places.pop("n3").stop()
        await cluster.change(Place(1, ("n4",)))
        await cluster.wait(lambda: not (cluster.hosts("n1") | cluster.hosts("n2")), "the old members let go")
        await cluster.start("n3")
        place = cluster.places["n3"]
        assert 1 in place.node.recovered_groups
        await cluster.wait(lambda: 1 in place.node.groups, "it goes on with what its log holds")
        await cluster.wait(lambda: 1 not in place.node.groups, "it was told that it is no member any more")
        assert not place.node.recovered_groups
        assert cluster.hosts("n4") == {1}
        assert await cluster.ask(KEYS[0], b"APPEND", b"!") == b":2\r\n"


@in_a_loop
async def test_a_replica_that_its_group_may_need_is_kept_whatever_is_wished(tmp_path: Path) -> None:
    """The change of members needs a majority of the old ones: it comes with the node that was down (G17, C1)."""
    async with sharded(tmp_path, 4, first_groups=1) as cluster:
        await _with_a_fourth(cluster)
        for name in ("n2", "n3"):
            await cluster.places[name].rest()  # n1 alone would change members, and it is not there
        await cluster.places.pop("n1").stop()
        await cluster.places["n4"].keeper.change(Place(1, ("n4",)))
        await cluster.places.pop("n3").stop()
        await cluster.start("n1")
        place = cluster.places["n1"]
        await cluster.wait(lambda: place.meta.configuration.number == 2, "n1 knows what is wished")
        await cluster.wait(lambda: not cluster.hosts("n1"), "it went with a committed entry")
        cluster.places["n2"].work()
        await cluster.wait(lambda: not cluster.hosts("n2"), "the others too")
        async with asyncio.timeout(30):
            assert await cluster.ask(KEYS[0], b"APPEND", b"!") == b":2\r\n"


@in_a_loop
async def test_a_group_that_this_cluster_never_had_is_told_of_and_kept(tmp_path: Path) -> None:
    """Nobody adds it any more, and what it holds of the log is there for ever: the operator is told once (K2)."""
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.wait_settled(1)
        node = cluster.places["n3"].node
        await node.add_group(GroupConfig(group=9, members={"n3": cluster.addresses["n3"]}), ShardMachine(9))
        await cluster.wait(lambda: node.groups[9].status().persisted_index, "something of it is on disk")
        await cluster.places.pop("n3").stop()
        with capture_logs() as logs:
            await cluster.start("n3")
            place = cluster.places["n3"]
            await cluster.wait(lambda: any("never had" in line["event"] for line in logs), "told")
            place.keeper._look()
        (line,) = (line for line in logs if "never had" in line["event"])
        assert (line["group"], line["log_level"]) == (9, "warning")
        await cluster.wait(lambda: place.node.recovered_groups == (9,), "the other one is hosted")
        assert place.node.measure().unhosted_groups == 1
