"""Lab 4B: the sharded store. Slots move while clients work, servers crash and the network loses messages."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from raftline.core.ids import GroupId
from raftline.kv.slots import slot_of
from raftline.lab.promises import BrokenPromise
from raftline.lab.services.case import ShardedTest
from raftline.lab.services.sharded import ShardClerk, ShardedDeployment

__all__ = ["TESTS"]

T = TypeVar("T")

_ANSWER_S_MAX = 60.0
_KEYS = [str(number) for number in range(10)]
_PROMPT_S = 1.0


class _Words:
    """Keys that a test appends to, with what must be there."""

    def __init__(self, sharded: ShardedDeployment, keys: Sequence[str] = _KEYS) -> None:
        self._sharded = sharded
        self._expected = dict.fromkeys(keys, "")
        self._clerk = ShardClerk(sharded, "main")

    async def write(self) -> None:
        """Append a word to every key."""
        for key in self._expected:
            await self.append(self._clerk, key)

    async def append(self, clerk: ShardClerk, key: str) -> None:
        """Append one word to one key, whose only writer must be this clerk."""
        word = f"x {len(self._expected[key])} y"
        await _within(clerk.append(key, word), f"an append to key {key}")
        self._expected[key] += word

    async def check(self) -> None:
        """Every key has all its words, once and in order."""
        for key, expected in self._expected.items():
            found = await _within(self._clerk.get(key), f"a read of key {key}")
            if found != expected:
                raise BrokenPromise("exactly once", f"key {key} holds {found!r} instead of {expected!r}")


async def _within(call: Awaitable[T], what: str) -> T:
    try:
        return await asyncio.wait_for(call, _ANSWER_S_MAX)
    except TimeoutError:
        raise BrokenPromise("progress", f"{what} had no answer for {_ANSWER_S_MAX} s") from None


def _keys_of(sharded: ShardedDeployment, group: GroupId) -> list[str]:
    """Return the test's keys that a group serves."""
    holdings = sharded.holdings(group)
    return [key for key in _KEYS if holdings.serves(slot_of(key.encode()))]


async def _static(sharded: ShardedDeployment) -> None:
    """With one of two groups down the other's keys are served, and only those."""
    await sharded.wait_settled(await sharded.join(1, 2))
    words = _Words(sharded)
    await words.write()
    await words.check()
    first = _keys_of(sharded, 1)
    if not 0 < len(first) < len(_KEYS):
        raise BrokenPromise("balanced", f"group 1 of two serves keys {first} of {_KEYS}")
    sharded.crash(2)
    reads = {key: asyncio.create_task(ShardClerk(sharded, f"reader{key}").get(key)) for key in _KEYS}
    await asyncio.sleep(_PROMPT_S)
    served = [key for key, read in reads.items() if read.done()]
    if served != first:
        raise BrokenPromise("slots", f"with group 2 down keys {served} are served; group 1 has {first}")
    await sharded.restart(2)
    await asyncio.gather(*(_within(read, "a read of the group that came back") for read in reads.values()))
    await words.check()


async def _join_and_leave(sharded: ShardedDeployment) -> None:
    """A group that leaves may be switched off once its slots are gone."""
    await sharded.join(1)
    words = _Words(sharded)
    await words.write()
    await sharded.join(2)
    await words.write()
    await words.check()
    number = await sharded.leave(1)
    await words.write()
    await words.check()
    await sharded.wait_settled(number)
    sharded.crash(1)
    await words.check()
    await sharded.restart(1)


async def _with_snapshots(sharded: ShardedDeployment) -> None:
    """Slots move between groups whose logs begin with a snapshot, and everybody restarts."""
    await sharded.join(1)
    words = _Words(sharded)
    for _ in range(3):
        await words.write()
    await sharded.join(2, 3)
    await sharded.leave(1)
    await words.write()
    await words.check()
    number = await sharded.leave(2)
    await sharded.join(1)
    await words.write()
    await sharded.wait_settled(number)
    for group in sharded.groups:
        sharded.crash(group)
    await asyncio.gather(*(sharded.restart(group) for group in sharded.groups))
    await words.check()
    if not all(index for group in sharded.groups.values() for index in group.snapshot_indexes()):
        raise BrokenPromise("small state", "a server took no snapshot")


async def _missed(sharded: ShardedDeployment) -> None:
    """Servers that were down during changes take every one of them, in order, when they are back."""
    await sharded.join(1)
    words = _Words(sharded)
    await words.write()
    away = {group: deployment.servers[group % 3] for group, deployment in sharded.groups.items()}
    for group, server in away.items():
        sharded.crash(group, server)
    await sharded.join(2)
    await words.write()
    await sharded.join(3)
    await sharded.leave(1)
    await words.write()
    number = await sharded.join(1)
    await asyncio.gather(*(sharded.restart(group, server) for group, server in away.items()))
    # One that was down from the first moment counts for no election before it has heard of the group (C14; seed 322).
    await asyncio.gather(*(deployment.wait_level() for deployment in sharded.groups.values()))
    for group, deployment in sharded.groups.items():
        sharded.crash(group, next(server for server in deployment.servers if server != away[group]))
    await words.write()
    await words.check()
    for group, deployment in sharded.groups.items():
        down = [name for name, member in deployment.cluster.members.items() if not member.is_up]
        await sharded.restart(group, *down)
    await sharded.wait_settled(number)
    await words.check()


async def _while_clients_write(sharded: ShardedDeployment, *, crashes: bool = False) -> None:
    """One client appends to each key all the time, while groups join, leave and get slots by hand."""
    await sharded.join(1)
    words = _Words(sharded)
    await words.write()
    stop = asyncio.Event()
    random = sharded.random

    async def work(key: str) -> None:
        clerk = ShardClerk(sharded, f"clerk{key}")
        while not stop.is_set():
            await words.append(clerk, key)
            await asyncio.sleep(0.1 * random.random())

    clients = [asyncio.create_task(work(key)) for key in _KEYS]
    joined = {1}
    number = 1
    for _ in range(10):
        absent = [group for group in sharded.groups if group not in joined]
        if absent and (len(joined) == 1 or random.random() < 0.5):
            group = random.choice(absent)
            number = await sharded.join(group)
            joined.add(group)
        elif len(joined) > 1:
            group = random.choice(sorted(joined))
            number = await sharded.leave(group)
            joined.remove(group)
        if crashes:
            await _crash_some(sharded)
        await asyncio.sleep(0.8 * random.random())
    stop.set()
    await asyncio.gather(*clients)
    await sharded.wait_settled(number)
    await words.check()


async def _crash_some(sharded: ShardedDeployment) -> None:
    """Kill a server of every group, or all of one, and boot them again."""
    random = sharded.random
    if random.random() < 0.3:
        group = random.choice(sorted(sharded.groups))
        sharded.crash(group)
        await asyncio.sleep(0.2)
        await sharded.restart(group)
        return
    down = {group: random.choice(deployment.servers) for group, deployment in sharded.groups.items()}
    for group, server in down.items():
        sharded.crash(group, server)
    await asyncio.sleep(0.3)
    await asyncio.gather(*(sharded.restart(group, server) for group, server in down.items()))


async def _with_crashes(sharded: ShardedDeployment) -> None:
    """The same while servers and whole groups crash."""
    await _while_clients_write(sharded, crashes=True)


async def _given_is_deleted(sharded: ShardedDeployment) -> None:
    """What a group gave takes no space in it, nor in its snapshots."""
    keys = [f"key{number}" for number in range(60)]
    await sharded.join(1)
    clerk = ShardClerk(sharded, "writer")
    for key in keys:
        await _within(clerk.put(key, "v" * 1000), f"a write of {key}")
    await sharded.wait_settled(await sharded.join(2, 3))
    await sharded.check_given_is_gone()
    total = 0
    for group in sharded.groups.values():
        machine = max(group.machines(), key=lambda machine: sum(map(len, machine.snapshot())))
        total += sum(map(len, machine.snapshot()))
    if total > 1.5 * 1000 * len(keys):
        raise BrokenPromise("given is gone", f"snapshots of all groups have {total} bytes for {len(keys)} kB of values")
    for key in keys:
        if await _within(clerk.get(key), f"a read of {key}") != "v" * 1000:
            raise BrokenPromise("kept", f"{key} lost its value when its slot moved")


async def _unaffected(sharded: ShardedDeployment) -> None:
    """A group goes on serving what it has while it waits for slots of a group that is down."""
    await sharded.wait_settled(await sharded.join(1, 2))
    words = _Words(sharded)
    await words.write()
    second = _keys_of(sharded, 2)
    sharded.crash(1)
    number = await sharded.leave(1)
    await _until(lambda: sharded.holdings(2).configuration.number == number, "group 2 takes the configuration")
    clerk = ShardClerk(sharded, "unaffected")
    for key in second:
        began = sharded.world.now
        await words.append(clerk, key)
        if sharded.world.now - began > _PROMPT_S:
            raise BrokenPromise("served meanwhile", f"key {key} did not move, and was not served for {_PROMPT_S} s")
    await sharded.restart(1)
    await sharded.wait_settled(number)
    await words.check()


async def _partial(sharded: ShardedDeployment) -> None:
    """Slots that have arrived are served before those of a group that is down."""
    await sharded.wait_settled(await sharded.join(1, 2, 3))
    words = _Words(sharded)
    await words.write()
    third = _keys_of(sharded, 3)
    sharded.crash(1)
    number = await sharded.leave(1, 3)
    await _until(
        lambda: 3 not in sharded.holdings(2).arrivals and sharded.holdings(2).configuration.number == number,
        "group 2 gets what group 3 gives",
    )
    clerk = ShardClerk(sharded, "partial")
    for key in third:
        began = sharded.world.now
        await words.append(clerk, key)
        if sharded.world.now - began > _PROMPT_S:
            raise BrokenPromise("served meanwhile", f"key {key} had arrived, and was not served for {_PROMPT_S} s")
    await sharded.restart(1)
    await sharded.wait_settled(number)
    await words.check()


async def _until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(int(_ANSWER_S_MAX / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise BrokenPromise("settles", f"{what}: not after {_ANSWER_S_MAX} s")


async def _large_values(sharded: ShardedDeployment) -> None:
    """Values that take many chunks arrive whole, while whoever sends them crashes."""
    await sharded.join(1)
    clerk = ShardClerk(sharded, "writer")
    keys = [f"{{same}}{number}" for number in range(12)]
    for number, key in enumerate(keys):
        await _within(clerk.put(key, str(number) * 150_000), f"a write of {key}")
    number = await sharded.join(2)
    await asyncio.sleep(0.15)
    await _crash_some(sharded)
    number = await sharded.leave(1)
    await _crash_some(sharded)
    await sharded.wait_settled(number)
    for number, key in enumerate(keys):
        if await _within(clerk.get(key), f"a read of {key}") != str(number) * 150_000:
            raise BrokenPromise("kept", f"{key} lost its value, or part of it, when its slot moved")


TESTS: tuple[ShardedTest, ...] = (
    ShardedTest("static shards", 2, _static),
    ShardedTest("join then leave", 2, _join_and_leave),
    ShardedTest("snapshots, join, and leave", 3, _with_snapshots, log_bytes_max=1000),
    ShardedTest("servers miss configuration changes", 3, _missed),
    ShardedTest("concurrent puts and configuration changes", 3, _while_clients_write),
    ShardedTest("concurrent puts and configuration changes, with restarts", 3, _with_crashes),
    ShardedTest(
        "concurrent puts and configuration changes, with restarts and snapshots", 3, _with_crashes, log_bytes_max=1000
    ),
    ShardedTest("unreliable", 3, _while_clients_write, unreliable=True),
    ShardedTest("unreliable, with restarts", 3, _with_crashes, unreliable=True),
    ShardedTest("unreliable, with restarts and snapshots", 3, _with_crashes, unreliable=True, log_bytes_max=1000),
    ShardedTest("large values", 2, _large_values, log_bytes_max=100_000),
    ShardedTest("shard deletion", 3, _given_is_deleted),
    ShardedTest("unaffected shards are served", 2, _unaffected),
    ShardedTest("partial migration is served", 3, _partial),
)
