"""Small writes of one packet that go to several groups: what is asked of each by itself is asked of all of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from redis.exceptions import ClusterCrossSlotError, MovedError

from raftline.kv.bundles import BUNDLE, BUNDLED_BYTES_MAX

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]

LOW, HIGH = b"{b}k", b"{a}k"
"""Keys of group 1 and of group 2."""


def test_each_is_of_one_slot(run_sharded: Run) -> None:
    """A DEL of keys of two groups is refused, and those around it are carried out in the order sent (G19)."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with redis.asyncio.Redis(port=cluster.port("n1")) as client:
            pipe: Any = client.pipeline(transaction=False)
            pipe.set(LOW, 1).set(HIGH, 1).delete(LOW, HIGH).incr(LOW).incr(HIGH).delete(LOW, "{b}other")
            outcomes = await pipe.execute(raise_on_error=False)
            assert [type(outcome) for outcome in outcomes] == [bool, bool, ClusterCrossSlotError, int, int, int]
            assert outcomes[3:] == [2, 2, 1]

    run_sharded(scenario)


@pytest.mark.parametrize(("redirects", "is_moved"), [("always", True), ("auto", False), ("never", False)])
def test_each_is_sent_on_where_the_setting_says_so(run_sharded: Run, redirects: str, is_moved: bool) -> None:  # noqa: FBT001
    """Writes to a group that this node follows, and has read from, by a client that has not asked for the slots."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with redis.asyncio.Redis(port=cluster.port("n3"), single_connection_client=True) as reader:
            await reader.readonly()
            assert await reader.get(HIGH) is None
        async with redis.asyncio.Redis(port=cluster.port("n3")) as client:
            pipe: Any = client.pipeline(transaction=False)
            outcomes = await pipe.set(HIGH, 1).incr(HIGH).execute(raise_on_error=False)
            assert [isinstance(outcome, MovedError) for outcome in outcomes] == [is_moved] * 2

    run_sharded(scenario, redirects)


def test_a_long_one_has_an_entry_of_its_own(run_sharded: Run) -> None:
    """It neither overtakes those before it nor is overtaken."""

    async def scenario(cluster: "FakeCluster") -> None:
        long = b"x" * BUNDLED_BYTES_MAX
        async with redis.asyncio.Redis(port=cluster.port("n1")) as client:
            pipe: Any = client.pipeline(transaction=False)
            pipe.set(LOW, 1).incr(LOW).set(LOW, long).set(LOW, 5).incr(LOW)
            assert await pipe.execute() == [True, 2, True, True, 6]
        submitted = cluster.groups[1].submitted
        (position,) = (at for at, command in enumerate(submitted) if long in command)
        assert submitted[position][:1] != BUNDLE
        assert [command[:1] for command in (submitted[position - 1], submitted[position + 1])] == [BUNDLE] * 2

    run_sharded(scenario)
