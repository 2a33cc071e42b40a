"""Each family of commands through redis-py and a real socket, in both protocols, as people call them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio

from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.server import KvServer

if TYPE_CHECKING:
    from tests.kv.conftest import PromptNode

Talk = Callable[[Any], Awaitable[None]]


async def hashes(client: Any) -> None:
    """Use hashes."""
    assert await client.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert await client.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert await client.hmget("h", "a", "x") == [b"1", None]
    assert await client.hincrbyfloat("h", "a", 0.5) == 1.5
    assert sorted(await client.hrandfield("h", 5)) == [b"a", b"b"]
    assert dict([pair async for pair in client.hscan_iter("h")]) == {b"a": b"1.5", b"b": b"2"}


async def transactions(client: Any) -> None:
    """Use transactions, with and without watched keys, and conditions on values."""
    async with client.pipeline() as pipe:
        assert await pipe.set("a", 1).incr("a").get("a").hset("th", "f", "v").hgetall("th").ping().execute() == [
            True,
            2,
            b"2",
            1,
            {b"f": b"v"},
            True,
        ]
        pipe.get("a").lpush("a", 1)
        failed = await pipe.execute(raise_on_error=False)
        assert failed[0] == b"2"
        assert isinstance(failed[1], redis.ResponseError)
        await pipe.watch("a")
        assert await pipe.get("a") == b"2"
        pipe.multi()
        pipe.set("a", 3)
        assert await pipe.execute() == [True]
        await pipe.watch("a")
        await client.set("a", 4)
        pipe.multi()
        pipe.set("a", 5)
        with pytest.raises(redis.WatchError):
            await pipe.execute()

    async def add(pipe: Any) -> None:
        value = int(await pipe.get("a"))
        pipe.multi()
        pipe.set("a", value + 1)

    assert await client.transaction(add, "a") == [True]
    assert await client.get("a") == b"5"
    assert await client.execute_command("SET", "a", 6, "IFEQ", 5)
    assert not await client.execute_command("SET", "a", 7, "IFEQ", 5)
    assert await client.execute_command("DELEX", "a", "IFEQ", 5) == 0
    assert await client.execute_command("DELEX", "a", "IFEQ", 6) == 1


async def lists(client: Any) -> None:
    """Use lists."""
    assert await client.rpush("l", "a", "b", "c") == 3
    assert await client.lrange("l", 0, -1) == [b"a", b"b", b"c"]
    assert await client.lpos("l", "c") == 2
    assert await client.lmove("l", "m", "LEFT", "RIGHT") == b"a"
    assert await client.lmpop(2, "nosuch", "l", direction="RIGHT", count=2) == [b"l", [b"c", b"b"]]
    assert await client.lmpop(1, "nosuch", direction="LEFT") is None
    assert await client.lpop("nosuch", 2) is None


async def sets(client: Any) -> None:
    """Use sets."""
    assert await client.sadd("s", "a", "b", "c") == 3
    assert await client.sadd("t", "b", "c", "d") == 3
    assert set(await client.sinter("s", "t")) == {b"b", b"c"}
    assert await client.sintercard(2, ["s", "t"], limit=1) == 1
    assert await client.smismember("s", ["a", "x"]) == [1, 0]
    assert set(await client.spop("s", 5)) == {b"a", b"b", b"c"}
    assert [member async for member in client.sscan_iter("s")] == []


async def sorted_sets(client: Any) -> None:
    """Use sorted sets."""
    assert await client.zadd("z", {"a": 1, "b": 2.5, "c": 3}) == 3
    found = await client.zrange("z", 1, 3, byscore=True, withscores=True, score_cast_func=float)
    assert [tuple(pair) for pair in found] == [(b"a", 1.0), (b"b", 2.5), (b"c", 3.0)]
    assert await client.zscore("z", "b") == 2.5
    assert await client.zrevrank("z", "c") == 0
    assert await client.zincrby("z", 10, "a") == 11.0
    assert await client.zrangestore("y", "z", 0, 1) == 2
    assert await client.zdiff(["z", "y"]) == [b"a"]
    popped = await client.zpopmax("z", 1)
    assert [tuple(pair) for pair in popped] == [(b"a", 11.0)]
    assert await client.zmpop(1, ["nosuch"], min=True) is None


async def others(client: Any) -> None:
    """Use what is left."""
    assert await client.rpush("l", "3", "1", "2") == 3
    assert await client.sort("l", desc=True) == [b"3", b"2", b"1"]
    assert await client.copy("l", "m")
    assert await client.rename("m", "n")
    assert await client.type("n") in {"list", b"list"}
    assert await client.incrbyfloat("f", 0.1) == 0.1
    assert await client.lcs("f", "f") == b"0.1"
    assert await client.object("encoding", "f") == b"embstr"
    assert await client.memory_usage("l") > 0
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await client.get("l")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("talk", [transactions, hashes, lists, sets, sorted_sets, others])
def test_the_python_client_works(prompt_node: "PromptNode", machine: KvMachine, talk: Talk, protocol: int) -> None:
    """What redis-py makes of the replies is what people expect of it."""

    async def main() -> None:
        server = KvServer(prompt_node, machine, "127.0.0.1", 0, Limits(), clock=prompt_node.clock)
        await server.start()
        try:
            async with redis.asyncio.Redis(port=server.port, protocol=protocol) as client:
                await asyncio.wait_for(talk(client), 30)
        finally:
            await server.stop()

    asyncio.run(main())
