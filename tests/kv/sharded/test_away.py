"""What clients get at a node that holds no replica of their keys' group."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import redis.asyncio

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]

KEY = b"{b}k"
"""A key of group 1, which n3 holds no replica of."""


def test_a_bound_on_staleness_is_passed_on(run_sharded: Run) -> None:
    """Reads that may be old are as old as the client said, wherever the group is (G3)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with redis.asyncio.Redis(port=cluster.port("n3"), protocol=3, single_connection_client=True) as client:
            await client.set(KEY, 1)
            await client.execute_command("CLIENT", "READS", "BOUNDED", 1500)  # type: ignore[no-untyped-call]
            assert await client.get(KEY) == b"1"
            assert await client.dbsize() == 1
            assert await client.keys("*") == [KEY]
            assert cluster.groups[1].asked == [("bounded", 1.5)] * 3
            await client.set(KEY, 1, px=20)
            await asyncio.sleep(0.03)
            assert await client.keys("*") == []
            assert set(cluster.groups[1].asked) == {("bounded", 1.5)}

    run_sharded(scenario)
