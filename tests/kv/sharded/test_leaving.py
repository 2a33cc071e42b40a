"""A group that left and still holds something: it is counted, placed and looked after like those that serve slots."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.kv.sharded.test_keeper import KEYS, Sharded, in_a_loop, sharded
from tests.runtime.conftest import free_addresses

from raftline.core.changes import AddLearner
from raftline.core.changes import Move as MoveMember
from raftline.kv.sharded.meta import PLACES_LEAVING, MetaMachine
from raftline.shards.configuration import Leave, Place


@asynccontextmanager
async def with_one_leaving(
    directory: Path, nodes: tuple[str, ...], size: int = 3, **settings: int
) -> AsyncIterator[Sharded]:
    """Run a cluster whose group 1 is leaving, on `nodes`; group 2, which is to get its slots, is on n3, which is down.

    So it stays like that until n3 is started again.
    """
    async with sharded(directory, size, names=(), first_groups=2, **settings) as cluster:
        for name in list(cluster.addresses)[3:]:
            await cluster.places["n1"].node.change_membership(AddLearner(name, cluster.addresses[name]))
        await cluster.fill()
        everywhere = [place.node for place in cluster.places.values()]
        await cluster.wait(lambda: {node.command_version for node in everywhere} == {MetaMachine.version}, "known")
        for group, wanted in ((1, nodes), (2, ("n3",))):
            if set(cluster.places["n1"].meta.nodes_of(group)) != set(wanted):
                await cluster.wait_settled(await cluster.change(Place(group, wanted)))
        await cluster.places.pop("n3").stop()
        await cluster.change(Leave((1,)))
        for place in cluster.places.values():
            await cluster.wait(lambda place=place: 1 in place.meta.leaving, "known to be leaving")  # type: ignore[misc]
        yield cluster


def has_moved(cluster: Sharded, gone: str, to: str) -> bool:
    """Say whether group 1 is on another node: it votes there, and not where it was."""
    return cluster.places[to].keeper.hosted(1) is not None and 1 not in cluster.hosts(gone)


@in_a_loop
async def test_the_only_replica_of_a_group_that_is_leaving_goes_elsewhere(tmp_path: Path) -> None:
    """Its node is replaced and gone for good before anybody could take the slots: they arrive all the same (G15)."""
    async with with_one_leaving(tmp_path, ("n1",)) as cluster:
        other = cluster.places["n2"].keeper
        replies = await other.replace_node("n1")
        assert replies == [b":%d\r\n" % other.configuration.number]
        await cluster.wait(lambda: has_moved(cluster, "n1", "n2"), "elsewhere")
        await cluster.start("n3")
        await cluster.places.pop("n1").stop()
        await cluster.wait(lambda: other.meta.is_retired(1), "retired")
        await cluster.wait_settled(other.configuration.number)
        for key in KEYS:
            assert await cluster.ask(key, b"APPEND", b"!") == b":2\r\n"


@in_a_loop
async def test_it_stays_where_it_is_until_every_node_is_upgraded(tmp_path: Path) -> None:
    """Nothing is proposed that some members would refuse and others not; whoever asks is told why (G17)."""
    with pytest.MonkeyPatch.context() as before:
        before.setattr(MetaMachine, "version", PLACES_LEAVING - 1)
        async with with_one_leaving(tmp_path, ("n1",)) as cluster:
            before.undo()
            other = cluster.places["n2"].keeper
            (reply,) = await other.replace_node("n1")
            assert reply.startswith(b"-ERR a group that is leaving cannot be placed yet: a command of version 4: ")
            assert other.meta.nodes_of(1) == ("n1",)


@in_a_loop
async def test_a_report_counts_it_where_it_is(tmp_path: Path) -> None:
    """Who is about to take a node away sees that it holds something yet, and that it does not when it is replaced."""
    async with with_one_leaving(tmp_path, ("n1",)) as cluster:
        keeper = cluster.places["n2"].keeper

        def counts() -> dict[str, tuple[int, int]]:
            return {node.node_id: (node.replicas, node.first_of) for node in keeper.report().nodes}

        assert counts() == {"n1": (1, 1), "n2": (0, 0), "n3": (1, 1)}
        assert keeper.report().leaving == {1: ("n1",)}
        await keeper.replace_node("n1")
        await cluster.wait(lambda: counts() == {"n1": (0, 0), "n2": (1, 1), "n3": (1, 1)}, "counted elsewhere")


@in_a_loop
async def test_a_dead_node_is_replaced_in_it(tmp_path: Path) -> None:
    """If the operator allows it, where there is room: then a second node may die."""
    async with with_one_leaving(tmp_path, ("n1", "n4", "n5"), 6, replace_dead_after_s=1) as cluster:
        await cluster.places.pop("n4").stop()
        place = cluster.places["n6"]
        await cluster.wait(lambda: place.keeper.hosted(1) is not None, "hosted by n6")
        await cluster.wait(lambda: set(place.keeper.report().groups[0].members) == {"n1", "n5", "n6"}, "a voter")


@in_a_loop
async def test_it_learns_where_its_members_are(tmp_path: Path) -> None:
    """A node's new address is that of its replica in a group that is leaving, too."""
    async with with_one_leaving(tmp_path, ("n1", "n2", "n3")) as cluster:
        (address,) = free_addresses(1)
        await cluster.places["n1"].node.change_membership(MoveMember("n3", address))
        running = cluster.places["n1"].keeper.running(1)
        assert running is not None
        state = running.driver.replica.core.state
        await cluster.wait(lambda: state.membership.address_of("n3") == address, "the new address")
