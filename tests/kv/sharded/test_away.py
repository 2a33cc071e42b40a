"""What clients get at a node that holds no replica of their keys' group."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import redis.asyncio

from raftline.kv.machine import encode_command

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]
_POP = ("BLPOP", "{b}k", 0)

KEY = b"{b}k"
"""A key of group 1, which n3 holds no replica of."""


def connected(cluster: "FakeCluster", node: str) -> Any:
    """Return a client with one connection to a node."""
    return redis.asyncio.Redis(port=cluster.port(node), protocol=3, single_connection_client=True)


def test_a_bound_on_staleness_is_passed_on(run_sharded: Run) -> None:
    """Reads that may be old are as old as the client said, wherever the group is (G3)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with connected(cluster, "n3") as client:
            await client.set(KEY, 1)
            await client.execute_command("CLIENT", "READS", "BOUNDED", 1500)
            assert await client.get(KEY) == b"1"
            assert await client.dbsize() == 1
            assert await client.keys("*") == [KEY]
            assert cluster.groups[1].asked == [("bounded", 1.5)] * 3
            await client.set(KEY, 1, px=20)
            await asyncio.sleep(0.03)
            assert await client.keys("*") == []
            assert set(cluster.groups[1].asked) == {("bounded", 1.5)}

    run_sharded(scenario)


def test_a_command_that_waited_is_answered_again(run_sharded: Run) -> None:
    """Sent once more in its session it gets what was popped, though there is nothing any more to wait for (G8)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with asyncio.timeout(60), connected(cluster, "n3") as client, connected(cluster, "n1") as other:
            once = ("RAFTLINE.ONCE", await client.execute_command("RAFTLINE.SESSION"), 1, *_POP)
            await other.rpush(KEY, "v")
            assert await client.execute_command(*once) == [KEY, b"v"]
            assert not await other.exists(KEY)
            assert await client.execute_command(*once) == [KEY, b"v"]

    run_sharded(scenario)


def test_a_command_that_waits_is_answered_with_what_it_got_through_another_node(run_sharded: Run) -> None:
    """Whoever repeats a command may come before the first try has popped anything (G8)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with asyncio.timeout(60), connected(cluster, "n3") as client, connected(cluster, "n1") as other:
            once = ("RAFTLINE.ONCE", await client.execute_command("RAFTLINE.SESSION"), 1, *_POP)
            waiting = asyncio.ensure_future(client.execute_command(*once))
            while not cluster.groups[1].asked:  # noqa: ASYNC110  a question has no event here
                await asyncio.sleep(0)
            cluster.groups[1].apply(encode_command([b"RPUSH", KEY, b"v"]))
            assert cluster.groups[1].sessions.open(int(once[1]), 0)
            popped = cluster.groups[1].apply(encode_command([b"BLPOP", KEY, b"0"]), int(once[1]), 1)
            assert popped == b"*2\r\n$4\r\n{b}k\r\n$1\r\nv\r\n"
            assert await waiting == [KEY, b"v"]
            assert not await other.exists(KEY)

    run_sharded(scenario)


def test_who_does_not_know_what_was_done_is_asked_for_keys_alone(run_sharded: Run) -> None:
    """An older node refuses the question, as any that it does not know; what comes is popped there nevertheless."""

    async def scenario(cluster: "FakeCluster") -> None:
        group = cluster.groups[1]
        ask = group.ask

        async def older(query: bytes, *promise: Any) -> bytes:
            return await ask(query.replace(b"RAFTLINE.SHARD.DONE", b"RAFTLINE.SHARD.LATE"), *promise)

        group.ask = older  # type: ignore[assignment, method-assign]
        async with asyncio.timeout(60), connected(cluster, "n3") as client, connected(cluster, "n1") as other:
            once = ("RAFTLINE.ONCE", await client.execute_command("RAFTLINE.SESSION"), 1, *_POP)
            waiting = asyncio.ensure_future(client.execute_command(*once))
            while len(group.asked) < 4:  # noqa: ASYNC110  a question has no event here
                await asyncio.sleep(0)
            await other.rpush(KEY, "v")
            assert await waiting == [KEY, b"v"]

    run_sharded(scenario)


def test_a_command_that_would_wait_at_a_node_that_stops_is_told_so(run_sharded: Run) -> None:
    """It came while the node stopped; null would say that its time was over (G13)."""

    async def scenario(cluster: "FakeCluster") -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port("n3"))
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
        stopping = asyncio.create_task(cluster.servers["n3"].stop())
        await asyncio.sleep(0)
        writer.write(b"BLPOP %b 0\r\n" % KEY)
        assert (await reader.read()).startswith(b"-UNBLOCKED this node stops")
        writer.close()
        await stopping

    run_sharded(scenario)


def test_a_client_that_closed_one_direction_does_not_wait(run_sharded: Run) -> None:
    """It gets what is there, and null at once for what is not."""

    async def scenario(cluster: "FakeCluster") -> None:
        for node in ("n1", "n3"):
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port(node))
            writer.write(b"RPUSH %b x\r\nBLPOP %b 0\r\nBLPOP %b 0\r\n" % (KEY, KEY, KEY))
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 60) == b":1\r\n*2\r\n$4\r\n{b}k\r\n$1\r\nx\r\n*-1\r\n"
            writer.close()

    run_sharded(scenario)
