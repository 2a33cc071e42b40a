"""What only the asynchronous client has to keep: many tasks at once, and commands that are cancelled."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import raftline

if TYPE_CHECKING:
    from tests.client.conftest import FakeCluster, FakeNode

    Start = Callable[[], FakeNode]


def test_tasks_share_a_client(cluster: "FakeCluster", start_node: "Start") -> None:
    """Each command in flight has a session of its own; every increment counts once (G8)."""
    start_node()

    async def work() -> list[int]:
        async with raftline.AsyncClient([("127.0.0.1", cluster.ports[0])]) as client:
            return await asyncio.gather(*(client.incr("k") for _ in range(50)))

    assert sorted(asyncio.run(work())) == list(range(1, 51))
    assert cluster.opened <= 50


def test_a_cancelled_command_uses_up_its_number(cluster: "FakeCluster", start_node: "Start") -> None:
    """It may have been applied and says so; the next command on the session is another one, with its own reply."""
    start_node()

    async def work() -> None:
        async with raftline.AsyncClient([("127.0.0.1", cluster.ports[0])]) as client:
            assert await client.incr("k") == 1
            cluster.scripts = ["held"]
            task = asyncio.ensure_future(client.execute_command("INCRBY", "k", 1))
            while cluster.count < 2:  # noqa: ASYNC110  another thread counts
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await task
            assert raised.value.may_have_been_applied  # type: ignore[attr-defined]
            assert await client.incr("k") == 3
            cluster.release.set()

    asyncio.run(work())
    numbers = [words[2:4] for words in cluster.seen if words[1] == "RAFTLINE.ONCE"]
    assert numbers == [("1", "1"), ("1", "2"), ("1", "3")]


def test_a_command_cancelled_before_it_was_sent_was_not_applied(cluster: "FakeCluster", start_node: "Start") -> None:
    """Nothing reached a node, and the exception says so."""
    node = start_node()
    port = node.server_address[1]

    async def work() -> None:
        client = raftline.AsyncClient([("127.0.0.1", port)], deadline_s=60)
        await client.incr("k")
        node.stop()
        await client._disconnect()
        task = asyncio.ensure_future(client.execute_command("INCRBY", "k", 1))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert raised.value.may_have_been_applied is False  # type: ignore[attr-defined]
        await client.aclose()

    asyncio.run(work())
    assert cluster.count == 1
