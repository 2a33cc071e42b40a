"""What is told by name about all keys: of all groups, whoever asks whichever node, and while slots move."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ClusterDownError
from tests.kv.sharded.test_connection import plain

from raftline.errors import NotMember, Stopped, Timeout
from raftline.shards.configuration import Move

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]
NAMES = {b"key%d" % number for number in range(100)}


async def fill(client: Any) -> None:
    """Make the keys and locks, through a client that is sent nowhere."""
    for name in NAMES:
        await client.set(name, 1)
        await client.execute_command("RAFTLINE.LOCK", "ACQUIRE", b"lock:" + name, "me", 600_000)


async def locks(client: Any) -> set[bytes]:
    """Return the names of all locks."""
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, some = await client.execute_command("RAFTLINE.LOCK", "LIST", cursor)
        found |= {lock[b"name"] for lock in some}
        if cursor == b"0":
            return found


@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_each_node_names_the_keys_of_all_groups_to_whoever_finds_slots(run_sharded: Run, node: str) -> None:
    """A node that leads one of two groups, or none; its own share is only what it counts (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, node) as client:
            await fill(client)
            counted = await client.dbsize()
            await client.execute_command("READONLY")
            assert {key async for key in client.scan_iter(match="key*", count=7)} == NAMES
            assert set(await client.keys("key*")) == NAMES
            assert await locks(client) == {b"lock:" + name for name in NAMES}
            assert await client.randomkey() is not None
            assert (counted, await client.dbsize() < counted) == (200, True)

    run_sharded(scenario)


def test_a_walk_through_a_slot_that_moves_to_another_node_is_never_sent_there(run_sharded: Run) -> None:
    """Clients know no slot of SCAN that they could follow: it is held, and answered by the node they asked (G18)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster) as client:
            waiting = cluster.unled[1] = asyncio.Queue()
            walk = asyncio.ensure_future(client.scan(0))
            done = await waiting.get()
            cluster.change(Move(0, 8192, 2))
            cluster.take()
            cluster.release(1, 2)
            cluster.carry(1, 2)
            del cluster.unled[1]
            done(None)
            assert await walk == (0, [])

    run_sharded(scenario, "always")


@pytest.mark.parametrize(("command", "found"), [("DBSIZE", 1), ("KEYS *", [b"{a}k"])])
def test_a_group_that_goes_meanwhile_takes_no_answer_along(run_sharded: Run, command: str, found: object) -> None:
    """What it held is with the others, which are asked again (G15)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n2") as client, asyncio.timeout(60):
            await client.set("{a}k", 1)
            waiting = cluster.unled[1] = asyncio.Queue()
            answer = asyncio.ensure_future(client.execute_command(*command.split()))
            done = await waiting.get()
            del cluster.groups[1], cluster.unled[1]
            done(Stopped("group 1 was removed from this node"))
            assert await answer == found

    run_sharded(scenario)


def test_a_replica_that_was_removed_is_not_taken_for_its_node(run_sharded: Run) -> None:
    """Until its node has noticed that the group goes on without it, who asks waits; nobody is told to go away (G15)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n2") as client, asyncio.timeout(60):
            await client.set("{a}k", 1)
            waiting = cluster.unled[1] = asyncio.Queue()
            answer = asyncio.ensure_future(client.keys("*"))
            (await waiting.get())(NotMember("n2 was removed from the group: ask n1"))
            again = await waiting.get()
            cluster.voteless.add(("n2", 1))
            del cluster.unled[1]
            again(NotMember("n2 was removed from the group: ask n1"))
            assert await answer == [b"{a}k"]

    run_sharded(scenario)


def test_a_group_that_cannot_be_asked_is_not_left_out(run_sharded: Run) -> None:
    """As long as it is there nobody is told of the others alone (G13)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n2") as client, asyncio.timeout(60):
            waiting = cluster.unled[1] = asyncio.Queue()
            answer = asyncio.ensure_future(client.keys("*"))
            (await waiting.get())(Timeout("no leader"))
            with pytest.raises(ClusterDownError):
                await answer

    run_sharded(scenario)
