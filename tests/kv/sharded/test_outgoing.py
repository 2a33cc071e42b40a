"""Many writes while slots move and replicas come and go all the time: each once, and in order, or refused."""

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
import redis.asyncio

from raftline.kv.slots import slot_of
from raftline.shards.configuration import Move

if TYPE_CHECKING:
    from tests.kv.sharded.conftest import FakeCluster, FakeGroup

KEYS = tuple(f"key{number}" for number in range(8))
MOVES = 60
"""How many slots move: what else is done lasts as long."""
_pack: Callable[[tuple[str, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
REPLICAS = (("n1", 1), ("n2", 1), ("n2", 2), ("n3", 2))


def slow_down(way: Any, group: "FakeGroup", rolls: random.Random) -> None:
    """Let a way to a group take its time, and still carry everything out in the order in which it came that way."""
    due = [0.0]

    def submit(
        command: bytes, done: Callable[[bytes | Exception], None], session: int | None = None, sequence: int = 0
    ) -> None:
        loop = asyncio.get_running_loop()
        due[0] = max(due[0] + 1e-6, loop.time() + rolls.random() * 0.01)  # never two at once
        loop.call_at(due[0], lambda: done(group.apply(command, session, sequence)))

    way.submit = submit


async def write(cluster: "FakeCluster", number: int, rolls: random.Random, kept: dict[str, list[str]]) -> None:
    """Append numbers to strings and lists, without a look at the replies, and note in the end which were accepted."""
    sent: list[tuple[str, str]] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port(f"n{number % 3 + 1}"))
    while cluster.configuration.number < MOVES:
        for _ in range(rolls.randrange(1, 6)):
            key, word = rolls.choice(KEYS), f"{number}.{len(sent)} "
            sent.append((key, word))
            if rolls.random() < 0.3:
                writer.write(_pack(("APPEND", key, word)))
            else:
                writer.write(_pack(("RPUSH", f"{{{key}}}", word)))  # shares entries of the log with others
        await asyncio.sleep(rolls.random() * 0.005)
    writer.write_eof()
    replies: Any = hiredis.Reader()
    replies.feed(await asyncio.wait_for(reader.read(), 60))
    for key, word in sent:
        outcome = replies.gets()
        assert isinstance(outcome, int) or str(outcome).startswith("TRYAGAIN"), outcome
        if isinstance(outcome, int):
            kept[key].append(word)
    writer.close()


async def move(cluster: "FakeCluster", rolls: random.Random) -> None:
    """Move slots to and fro, stopping in between at every step."""
    while cluster.configuration.number < MOVES:
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


async def vote(cluster: "FakeCluster", rolls: random.Random) -> None:
    """Let replicas begin to count, and count no longer."""
    while cluster.configuration.number < MOVES:
        cluster.voteless ^= {rolls.choice(REPLICAS)}
        await asyncio.sleep(rolls.random() * 0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_each_once_and_in_order(run_sharded: Callable[..., None], seed: int) -> None:
    """What was accepted stands there once, what was refused not at all, and each client's words in its order (G16)."""

    async def scenario(cluster: "FakeCluster") -> None:
        rolls = random.Random(seed)
        for group in (1, 2):
            slow_down(cluster.groups[group], cluster.groups[group], rolls)
        for node, group in REPLICAS:
            slow_down(cluster.view(node, group), cluster.groups[group], rolls)
        kept: dict[str, list[str]] = {key: [] for key in KEYS}
        await asyncio.gather(
            move(cluster, rolls), vote(cluster, rolls), *(write(cluster, number, rolls, kept) for number in range(5))
        )
        assert all(kept.values())
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
