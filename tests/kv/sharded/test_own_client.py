"""raftline's own clients in front of a sharded store, whichever node they ask."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import redis

from raftline.client.asynchronous import AsyncClient

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]
LOW, HIGH = "{b}k", "{a}k"
"""Keys of group 1, which is on n1 and n2 and led by n1, and of group 2, on n2 and n3, led by n2."""


def client_of(cluster: "FakeCluster") -> AsyncClient:
    """Return a client of all nodes, which asks n3 first."""
    nodes = [("127.0.0.1", cluster.port(node)) for node in ("n3", "n1", "n2")]
    return AsyncClient(nodes, learn_nodes=False, deadline_s=5)


def test_keys_of_several_slots_are_not_watched_together(run_sharded: Run) -> None:
    """Watched one after the other they are refused as together: a helper that tries again would do so for ever."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with client_of(cluster) as client, client.pipeline() as pipe:
            await pipe.watch(LOW)
            with pytest.raises(redis.ResponseError, match=r"CROSSSLOT|same slot"):
                await pipe.watch(HIGH)
            await pipe.unwatch()  # type: ignore[no-untyped-call]
            await pipe.watch(LOW)
            await pipe.watch("{b}other", LOW)
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.set(LOW, "mine")
            assert await pipe.execute() == [True]

    run_sharded(scenario)


@pytest.mark.parametrize("redirects", ["always", "auto"])
def test_who_is_redirected_goes_on(run_sharded: Run, redirects: str) -> None:
    """As everybody is with `always`, and a connection that has asked for the slots; each write is done once (G8)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with client_of(cluster) as client:
            for number in range(1, 4):
                await client.execute_command("CLUSTER SLOTS")
                assert await client.append(LOW, "v") == number
                await client.execute_command("CLUSTER SLOTS")
                assert await client.append(HIGH, "v") == number
                assert await client.get(LOW) == await client.get(HIGH) == b"v" * number

    run_sharded(scenario, redirects)
