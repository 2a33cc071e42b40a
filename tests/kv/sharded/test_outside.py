"""A node that is no member of the cluster: it was removed, and knows the groups still, or no longer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ClusterDownError, MovedError
from tests.kv.sharded.test_connection import HIGH, LOW, plain

from raftline.errors import NotMember
from raftline.shards.configuration import EMPTY

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

WORDS = "n1 was removed from the group: ask n2 at 127.0.0.1:7002: the command did not take effect"


def test_who_is_told_of_its_removal_refuses_what_it_held_and_what_comes(run_sharded: Callable[..., None]) -> None:
    """Nobody waits for groups that it will not hear of; once it is a member again, it holds what comes (K2)."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.known["n1"] = EMPTY
        clients = [plain(cluster) for _ in range(5)]
        commands: list[Callable[[], Awaitable[object]]] = [
            lambda: clients[0].get(LOW),
            lambda: clients[1].set(HIGH, 8),
            lambda: clients[2].blpop(b"{b}list", 0),
            lambda: clients[3].scan(0),
            lambda: clients[4].pipeline().incr(b"{a}count").execute(),
        ]
        held = [asyncio.ensure_future(command()) for command in commands]
        _, waiting = await asyncio.wait(held, timeout=0.1)
        assert len(waiting) == len(held)
        cluster.outside["n1"] = NotMember("n1 was removed from the group: ask n2 at 127.0.0.1:7002")
        for asked in (*held, *(command() for command in commands)):
            with pytest.raises(ClusterDownError, match=WORDS):
                await asked
        del cluster.outside["n1"]
        again = asyncio.ensure_future(clients[0].get(LOW))
        _, waiting = await asyncio.wait([again], timeout=0.1)
        assert waiting
        del cluster.known["n1"]
        assert await again is None
        for client in clients:
            await client.aclose()

    run_sharded(scenario)


def test_who_was_removed_and_knows_the_groups_passes_nothing_on(run_sharded: Callable[..., None]) -> None:
    """Members take nothing from it, so nobody waits for them; what is held here is served here (K2)."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.outside["n1"] = NotMember("n1 was removed from the group: ask n2 at 127.0.0.1:7002")
        there = (b"%d" % (16_000 << 32)).decode()
        async with plain(cluster) as client:
            commands: list[Callable[[], Awaitable[object]]] = [
                lambda: client.get(HIGH),
                lambda: client.set(HIGH, 8),
                lambda: client.blpop(b"{a}list", 0),
                lambda: client.execute_command("SCAN", there),
                lambda: client.pipeline().incr(b"{a}count").execute(),
            ]
            for asked in commands:
                with pytest.raises(ClusterDownError, match=WORDS):
                    await asked()
            for everywhere in (client.keys, client.dbsize, client.randomkey, client.flushall):
                with pytest.raises(ClusterDownError, match="n1 was removed from the group: ask n2"):
                    await everywhere()
            assert await client.set(LOW, 7)
            assert await client.get(LOW) == b"7"
        assert not cluster.groups[2].submitted + cluster.groups[2].asked

    run_sharded(scenario)


def test_who_knows_the_slots_is_sent_on_by_a_node_that_was_removed(run_sharded: Callable[..., None]) -> None:
    """It need not find out for itself who serves the slot (K2)."""

    async def scenario(cluster: "FakeCluster") -> None:
        cluster.outside["n1"] = NotMember("n1 was removed from the group: ask n2 at 127.0.0.1:7002")
        async with plain(cluster, single_connection_client=True) as client:
            await client.execute_command("CLUSTER", "SLOTS")
            with pytest.raises(MovedError, match=f"{cluster.port('n2')}"):
                await client.get(HIGH)

    run_sharded(scenario)
