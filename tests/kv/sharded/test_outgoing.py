"""Many writes of many connections while slots move all the time: each once, and in order, or refused."""

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from redis.exceptions import TryAgainError

from raftline.kv.slots import slot_of
from raftline.shards.configuration import Move

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster, FakeGroup

KEYS = tuple(f"key{number}" for number in range(8))
SECONDS = 1.5


def slow_down(group: "FakeGroup", rolls: random.Random) -> None:
    """Let a group take its time, and still carry everything out in the order in which it came."""
    due = [0.0]

    def submit(
        command: bytes, done: Callable[[bytes | Exception], None], session: int | None = None, sequence: int = 0
    ) -> None:
        loop = asyncio.get_running_loop()
        due[0] = max(due[0], loop.time()) + rolls.random() * 0.0005
        loop.call_at(due[0], lambda: done(group.apply(command, session, sequence)))

    group.submit = submit  # type: ignore[method-assign]


async def write(cluster: "FakeCluster", number: int, rolls: random.Random, kept: dict[str, list[str]]) -> None:
    """Append numbers to strings and lists, many at a time, and note which were accepted."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + SECONDS
    count = 0
    async with redis.asyncio.Redis(port=cluster.port(f"n{number % 3 + 1}")) as client:
        while loop.time() < end_s:
            pipe: Any = client.pipeline(transaction=False)
            words: list[tuple[str, str]] = []
            for _ in range(rolls.randrange(1, 12)):
                count += 1
                words.append((rolls.choice(KEYS), f"{number}.{count} "))
                if rolls.random() < 0.3:
                    pipe.append(*words[-1])
                else:
                    pipe.rpush(f"{{{words[-1][0]}}}", words[-1][1])  # shares entries of the log with others
            outcomes = await pipe.execute(raise_on_error=False)
            for (key, word), outcome in zip(words, outcomes, strict=True):
                assert isinstance(outcome, int | TryAgainError)
                if isinstance(outcome, int):
                    kept[key].append(word)


async def move(cluster: "FakeCluster", rolls: random.Random) -> None:
    """Move slots to and fro, stopping in between at every step."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + SECONDS
    while loop.time() < end_s:
        slot = slot_of(rolls.choice(KEYS).encode())
        source = cluster.configuration.owner(slot)
        cluster.change(Move(slot, slot + 1, 3 - source))
        for step in (
            cluster.take,
            lambda s=source: cluster.release(s, 3 - s),
            lambda s=source: cluster.carry(s, 3 - s),
        ):
            await asyncio.sleep(rolls.random() * 0.01)
            step()


@pytest.mark.parametrize("seed", [1, 2])
def test_each_once_and_in_order(run_sharded: Callable[..., None], seed: int) -> None:
    """What was accepted stands there once, what was refused not at all, and each client's words in its order (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        rolls = random.Random(seed)
        for group in (1, 2):
            slow_down(cluster.groups[group], rolls)
        kept: dict[str, list[str]] = {key: [] for key in KEYS}
        await asyncio.gather(move(cluster, rolls), *(write(cluster, number, rolls, kept) for number in range(5)))
        assert cluster.configuration.number > 10
        async with redis.asyncio.Redis(port=cluster.port("n1"), decode_responses=True) as client:
            for key in KEYS:
                parts = (
                    str(await client.get(key) or "").split(),
                    [str(word).strip() for word in await client.lrange(f"{{{key}}}", 0, -1)],
                )
                assert sorted(parts[0] + parts[1]) == sorted(word.strip() for word in kept[key])
                for number in range(5):
                    for words in parts:
                        own = [int(word.partition(".")[2]) for word in words if word.startswith(f"{number}.")]
                        assert own == sorted(own)

    run_sharded(scenario)
