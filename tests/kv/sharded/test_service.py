"""What a node of a sharded store says of itself, and what it holds back."""

import asyncio
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from redis.exceptions import OutOfMemoryError, ResponseError

from raftline.kv.machine import KvMachine
from raftline.kv.sharded.machine import arrive, decode_chunk, fetch
from raftline.kv.slots import slot_of
from raftline.shards.configuration import Move

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster

Run = Callable[..., None]
LOW, HIGH = "{b}k", "{a}k"
"""Keys of group 1, which is on n1 and n2 and led by n1, and of group 2, on n2 and n3, led by n2."""


def plain(cluster: "FakeCluster", node: str, **more: Any) -> Any:
    """Return a client of one node."""
    return redis.asyncio.Redis(port=cluster.port(node), protocol=3, **more)


def test_keys_are_counted_once_and_memory_where_it_is(run_sharded: Run) -> None:
    """INFO counts the keys that the node leads, so that nodes can be added up, and the memory that it takes."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n1") as one, plain(cluster, "n2") as two, plain(cluster, "n3") as three:
            for number in range(50):
                await one.set(f"{LOW}{number}", "v" * 100, ex=100)
                await one.set(f"{HIGH}{number}", "v" * 100)
            keys = [await client.info("keyspace") for client in (one, two, three)]
            assert [told.get("db0", {}).get("keys", 0) for told in keys] == [50, 50, 0]
            assert [told.get("db0", {}).get("expires", 0) for told in keys] == [50, 0, 0]
            used = [(await client.info("memory"))["used_memory"] for client in (one, two, three)]
            assert used[1] == pytest.approx(used[0] + used[2], rel=0.1)
            assert (await one.info("cluster"))["cluster_enabled"] == 1
            assert (await one.info("server"))["redis_mode"] == "cluster"
            assert (await one.config_get("cluster-enabled"))["cluster-enabled"] == "yes"

    run_sharded(scenario)


def test_memory_is_limited_over_all_groups(run_sharded: Run) -> None:
    """`maxmemory` is about all groups that the node hosts; what cannot grow goes on."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n2") as client:
            await client.set(LOW, "v" * 3000)
            await client.set(HIGH, "v" * 3000)
            service: Any = cluster.servers["n2"].service
            service.expire()
            await client.config_set("maxmemory", 5000)
            with pytest.raises(OutOfMemoryError):
                await client.append(LOW, "more")
            assert await client.delete(LOW) == 1
            service.expire()
            assert await client.append(HIGH, "more") == 3004

    run_sharded(scenario)


def test_what_has_no_vote_and_what_is_not_complete_takes_memory_too(run_sharded: Run) -> None:
    """A replica that catches up, and the pieces of a large value that arrives, count for `maxmemory` as all else."""

    async def scenario(cluster: "FakeCluster") -> None:
        service: Any = cluster.servers["n2"].service
        async with plain(cluster, "n2") as client:
            await client.set(LOW, "v" * 600_000)
            for voteless in (set(), {("n2", 1)}):
                cluster.voteless = voteless
                service.expire()
                assert service.used_bytes > 600_000
                assert (await client.info("memory"))["used_memory"] > 600_000
            cluster.voteless = set()
            slot = slot_of(LOW.encode())
            cluster.change(Move(slot, slot + 1, 2))
            cluster.take()
            cluster.release(1, 2)
            service.expire()
            before, here = service.used_bytes, cluster.machine(2).holdings
            while not here.arrivals[1].pieces:
                chunk = decode_chunk(cluster.machine(1).read(fetch(2, 2, here.arrivals[1].cursor), 0))
                assert chunk is not None
                cluster.groups[2].apply(arrive(chunk))
            service.expire()
            arrived = service.used_bytes - before
            assert arrived > 200_000
            assert (await client.info("memory"))["used_memory"] == pytest.approx(service.used_bytes, abs=1000)

    run_sharded(scenario)


def test_sessions_are_shown_and_closed_where_they_are_used(run_sharded: Run) -> None:
    """SHOW tells of the last command in any group, CLOSE closes all, and no group opens it again."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n2") as client:
            session = await client.execute_command("RAFTLINE.SESSION")
            await client.execute_command("RAFTLINE.ONCE", session, 1, "INCR", LOW)
            await client.execute_command("RAFTLINE.ONCE", session, 7, "INCR", HIGH)
            assert (await client.execute_command("RAFTLINE.SESSION", "SHOW", session))[b"sequence"] == 7
            assert await client.execute_command("RAFTLINE.SESSION", "CLOSE", session) == 1
            for key in (LOW, HIGH):
                with pytest.raises(ResponseError, match="NOSESSION"):
                    await client.execute_command("RAFTLINE.ONCE", session, 8, "INCR", key)
            assert await client.execute_command("RAFTLINE.SESSION", "SHOW", session) is None

    run_sharded(scenario)


def test_a_session_that_a_group_forgot_is_not_opened_again(run_sharded: Run) -> None:
    """What was carried out in it could be carried out twice: the client is told instead, through any node (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        for key, group in ((LOW, 1), (HIGH, 2)):
            async with plain(cluster, "n1") as client:
                session = await client.execute_command("RAFTLINE.SESSION")
                assert await client.execute_command("RAFTLINE.ONCE", session, 1, "INCR", key) == 1
                cluster.groups[group].sessions.expire(1 << 60)
                async with plain(cluster, "n2") as other:
                    for again, through in product((("INCR", key), ("BLPOP", f"{key}list", 0.01)), (client, other)):
                        with pytest.raises(ResponseError, match="NOSESSION"):
                            await through.execute_command("RAFTLINE.ONCE", session, 1, *again)
                assert await client.get(key) == b"1"

    run_sharded(scenario)


def test_what_a_sharded_store_refuses(run_sharded: Run) -> None:
    """What no single group could do is refused in words."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n1") as client:
            with pytest.raises(ResponseError, match="not backed up in one piece"):
                await client.execute_command("RAFTLINE.BACKUP", "BEGIN")
            session = await client.execute_command("RAFTLINE.SESSION")
            with pytest.raises(ResponseError, match=r"all keys cannot be in RAFTLINE\.ONCE"):
                await client.execute_command("RAFTLINE.ONCE", session, 1, "FLUSHALL")
            for outside in (("PUBLISH", "a", "b"), ("DBSIZE",)):
                pipe = client.pipeline(transaction=True)
                pipe.set(LOW, 1)
                pipe.execute_command(*outside)
                with pytest.raises(ResponseError, match="it concerns all nodes"):
                    await pipe.execute()
            assert await client.exists(LOW) == 0
            pipe = client.pipeline(transaction=True)
            pipe.sort(LOW, by="w_*")
            with pytest.raises(ResponseError, match="BY option of SORT denied"):
                await pipe.execute()
            await client.rpush(f"{LOW}list", 2, 1)
            assert await client.sort(f"{LOW}list", get="#") == [b"1", b"2"]
            pipe = client.pipeline(transaction=True)
            pipe.publish("a", "b")
            assert await pipe.execute() == [0]

    run_sharded(scenario)


def test_who_waits_is_let_go_when_the_node_stops(run_sharded: Run) -> None:
    """Also who waits by way of this node at a group that it does not host."""

    async def scenario(cluster: "FakeCluster") -> None:
        async with plain(cluster, "n1") as client, plain(cluster, "n1") as other:
            waiting = [asyncio.ensure_future(client.blpop([LOW])), asyncio.ensure_future(other.blpop([HIGH]))]
            clients = cluster.servers["n1"].service.clients
            async with asyncio.timeout(60):
                while [each.blocked is None for each in clients.values()] != [False, False]:  # noqa: ASYNC110  no event
                    await asyncio.sleep(0.001)
            await cluster.servers.pop("n1").stop()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert all("this node stops" in str(outcome) for outcome in outcomes)

    run_sharded(scenario)


def test_what_a_node_does_not_know_is_proposed_in_no_group(run_sharded: Run) -> None:
    """Whoever takes a command of a newer version looks at group 0, which all nodes are in, and at its own group.

    So it is refused as well where the group of its key is hosted elsewhere, of whose members nothing is known here.
    """

    async def scenario(cluster: "FakeCluster") -> None:
        newer = ("SET", LOW, "v", "IFEQ", "old")
        nodes = ("n1", "n2", "n3")
        for node in nodes:
            cluster.view(node, 0).command_version = 1
        cluster.view("n1", 1).command_version = 1
        async with plain(cluster, "n1") as hosting, plain(cluster, "n3") as other:
            for client in (hosting, other):
                assert await client.set(LOW, "old")
                with pytest.raises(ResponseError, match="upgrade"):
                    await client.execute_command(*newer)
            for node in nodes:
                cluster.view(node, 0).command_version = KvMachine.version
            with pytest.raises(ResponseError, match="upgrade"):
                await hosting.execute_command(*newer)
            assert await other.execute_command(*newer)

    run_sharded(scenario)
