"""A blocking pop whose time is over before it is known whether there is something."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.kv.sharded.test_connection import plain

from raftline.kv.machine import encode_command
from raftline.kv.slots import slot_of
from raftline.shards.configuration import Move

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

LIST = b"{b}list"
OF_1 = ("n1", 1)


@pytest.mark.parametrize("is_away", [False, True])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_short_wait_finds_what_is_there(run_sharded: Callable[..., None], *, is_away: bool, is_there: bool) -> None:
    """Its time runs while this node's copy is made level, or another node is asked: null only if there is nothing."""

    async def scenario(cluster: "FakeCluster") -> None:
        group: Any = cluster.groups[1]
        held: asyncio.Queue[Callable[[Exception | None], None]] = asyncio.Queue()
        if is_away:
            cluster.voteless = {OF_1}
            ask = group.ask

            async def late(*args: Any) -> bytes:
                level: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                held.put_nowait(lambda _failure: level.set_result(None))
                await level
                answer: bytes = await ask(*args)
                return answer

            group.ask = late
        else:
            cluster.unled[1] = held
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n1"))
        writer.write(b"BLPOP %b 0.001\r\n" % LIST)
        async with asyncio.timeout(60):
            done = await held.get()
            (client,) = cluster.servers["n1"].service.clients.values()
            while client.blocked is None or client.blocked.end is None:  # noqa: ASYNC110  its time runs
                await asyncio.sleep(0)
            if is_there:
                group.apply(encode_command([b"RPUSH", LIST, b"x"]))
            done(None)
            found = b"*2\r\n$7\r\n%b\r\n$1\r\nx\r\n" % LIST
            assert await reader.readexactly(len(found) if is_there else 5) == (found if is_there else b"*-1\r\n")
        writer.close()

    run_sharded(scenario)


def test_a_short_wait_finds_what_is_in_a_slot_on_its_way(run_sharded: Callable[..., None]) -> None:
    """Nobody serves it when the time is over, so nobody could say that there is nothing (G15)."""

    async def scenario(cluster: "FakeCluster") -> None:
        slot = slot_of(LIST)
        cluster.groups[1].apply(encode_command([b"RPUSH", LIST, b"x"]))
        cluster.change(Move(slot, slot + 1, 2))
        cluster.take()
        cluster.release(1, 2)
        async with plain(cluster) as client:
            popped = asyncio.ensure_future(client.blpop(LIST, 0.001))
            (server,) = [each for name, each in cluster.servers.items() if name == "n1"]
            async with asyncio.timeout(60):
                while not any(each.blocked and each.blocked.end for each in server.service.clients.values()):  # noqa: ASYNC110  its time runs
                    await asyncio.sleep(0)
            await asyncio.sleep(0.03)
            cluster.carry(1, 2)
            assert await asyncio.wait_for(popped, 60) == [LIST, b"x"]

    run_sharded(scenario)
