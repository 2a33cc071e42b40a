"""Where replicas may be asked to go, and which nodes may leave: real nodes, asked by the commands of clients."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.kv.sharded.test_keeper import Sharded, in_a_loop, sharded

from raftline.core.changes import AddLearner, Remove
from raftline.errors import ChangeRefused
from raftline.kv.commands import cluster as cluster_commands
from raftline.kv.commands import shards
from raftline.kv.commands.command import Refused
from raftline.kv.sharded.requests import KNOWS_MEMBERS, AddGroups
from raftline.shards.configuration import Place


async def ask(function: Any, cluster: Sharded, name: str, *words: bytes) -> bytes:
    """Carry out a command about the cluster on a node."""
    place = cluster.places[name]
    client = SimpleNamespace(server=SimpleNamespace(shards=place.keeper))
    reply: bytes = await function(place.node, client, [b"RAFTLINE.X", b"X", *words])
    return reply


@in_a_loop
async def test_a_member_that_holds_replicas_is_not_removed(tmp_path: Path) -> None:
    """They would be lost to their groups: nobody could give them up any more (G15)."""
    async with sharded(tmp_path, 4, first_groups=2) as cluster:
        await cluster.places["n1"].node.change_membership(AddLearner("n4", cluster.addresses["n4"]))
        await cluster.fill()
        for name in ("n1", "n3"):
            with pytest.raises(
                ChangeRefused, match=r"n3 holds replicas of groups 1, 2: .*`raftline shard replace-node n3`"
            ):
                await ask(cluster_commands.member_remove, cluster, name, b"n3")
        await cluster.wait_settled(await cluster.change(Place(1, ("n4", "n1", "n2"))))
        with pytest.raises(ChangeRefused, match="n3 holds replicas of group 2: "):
            await ask(cluster_commands.member_remove, cluster, "n1", b"n3")
        await cluster.wait_settled(await cluster.change(Place(2, ("n4", "n1", "n2"))))
        assert await ask(cluster_commands.member_remove, cluster, "n1", b"n3") == b"+OK\r\n"
        assert "n3" not in [member.node_id for member in cluster.places["n1"].node.members()]


@in_a_loop
async def test_a_node_refuses_for_a_leader_that_may_not_know_how(tmp_path: Path) -> None:
    """While members of before are there, one may lead that lets any member go (G17)."""
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.fill()
        place = cluster.places["n1"]
        asked: list[Remove] = []

        async def change_membership(change: Remove) -> None:
            asked.append(change)

        client = SimpleNamespace(server=SimpleNamespace(shards=place.keeper))
        for version, refused in ((KNOWS_MEMBERS - 1, True), (KNOWS_MEMBERS, False)):
            node: Any = SimpleNamespace(
                command_version=version, submit_read=place.node.submit_read, change_membership=change_membership
            )
            remove = cluster_commands.member_remove(node, client, [b"RAFTLINE.MEMBER", b"REMOVE", b"n3"])  # type: ignore[arg-type]
            with pytest.raises(ChangeRefused, match="n3 holds replicas of group 1: ") if refused else nullcontext():
                await remove
        assert asked == [Remove("n3")]


@in_a_loop
async def test_no_group_is_made_on_a_node_that_was_removed(tmp_path: Path) -> None:
    """Whoever asks for it may not have heard yet; and who holds one is not removed, whoever asks for that (G17)."""
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.fill()
        first = cluster.places["n1"]
        founders = {name: cluster.addresses[name] for name in ("n1", "n2")}
        await cluster.wait(lambda: first.node.command_version >= KNOWS_MEMBERS, "all members look at who they are")
        others = {"n4": "127.0.0.1:4@14", "n5": "127.0.0.1:5@15"}
        for name, address in others.items():
            await first.node.change_membership(AddLearner(name, address, promote=False))

        async def make(name: str) -> bytes:
            return await first.keeper.change(AddGroups(1, {**founders, name: others[name]}))

        assert await make("n4") == b":2\r\n"
        with pytest.raises(ChangeRefused, match="n4 holds replicas of group 2: first have"):
            await first.node.change_membership(Remove("n4"))
        await first.node.change_membership(Remove("n5"))
        assert (await make("n5")).startswith(b"-ERR n5 is no member of the cluster")


@in_a_loop
async def test_no_replica_is_placed_where_nobody_is(tmp_path: Path) -> None:
    """The group would need the votes of those who are gone, and could not be placed anew (G15)."""
    async with sharded(tmp_path, first_groups=1, replicas=2) as cluster:
        await cluster.fill()
        first = cluster.places["n1"].keeper
        assert first.meta.nodes_of(1) == ("n1", "n2")
        await cluster.places.pop("n3").stop()
        await cluster.wait(lambda: not first.is_up("n3"), "n3 is missed")
        with pytest.raises(Refused, match="n3: down, so group 1 might stop until that is back; name nodes that are up"):
            await ask(shards.place, cluster, "n1", b"1", b"n3", b"n1")
        assert first.meta.nodes_of(1) == ("n1", "n2")


@in_a_loop
async def test_a_replica_stays_where_it_is_though_its_node_is_down(tmp_path: Path) -> None:
    """Who leads may change, and others may go."""
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.fill()
        await cluster.places.pop("n3").stop()
        first = cluster.places["n1"].keeper
        await cluster.wait(lambda: not first.is_up("n3"), "n3 is missed")
        assert (await ask(shards.place, cluster, "n1", b"1", b"n2", b"n3", b"n1")).startswith(b":")
        await cluster.wait(lambda: first.meta.nodes_of(1) == ("n2", "n3", "n1"), "placed")


@in_a_loop
async def test_a_node_can_be_named_as_soon_as_it_is_a_member(tmp_path: Path) -> None:
    """On whichever node: what was acknowledged before the command counts."""
    async with sharded(tmp_path, 5, names=("n1", "n2", "n3"), first_groups=1) as cluster:
        await cluster.fill()
        await cluster.start("n4", "n5")
        for added, asked, function, words in (
            ("n4", "n1", shards.place, (b"1", b"n4", b"n1", b"n2")),
            ("n5", "n2", shards.add_group, (b"ON", b"n5")),
        ):
            node = cluster.places[asked].node
            await cluster.places["n3"].node.change_membership(AddLearner(added, cluster.addresses[added]))
            await cluster.wait(lambda node=node, added=added: node.is_up(added), "reached")  # type: ignore[misc]
            assert (await ask(function, cluster, asked, *words)).startswith(b":")
