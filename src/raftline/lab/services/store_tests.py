"""Labs 3A and 3B: a key/value store on Raft, as its clients see it; 3B is the same with snapshots.

Most tests are one scene under different faults: each client appends numbered words to a key of its own and looks
whether all of them are there, once and in order. Every operation of every test goes into a history that has to be
linearizable.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from raftline.kv.machine import KvMachine
from raftline.lab.promises import BrokenPromise
from raftline.lab.services.case import ServiceTest
from raftline.lab.services.clerk import StoreClerk
from raftline.lab.services.deployment import Deployment

__all__ = ["TESTS"]

_ROUNDS = 3
_ROUND_S = 3.0
_THINK_S = 0.08
_ELECTION_S = 1.0
_RESTART_S = 0.5
_LATENCY_S_MAX = 0.033
"""A third of the lab's heartbeat interval: whoever waits for a heartbeat with each command is slower."""
_ANSWER_S_MAX = 60.0
_LOG_BYTES = 1000
_SNAPSHOT_BYTES_MAX = 500
_LOG_TIMES_MAX = 8


class _Scene(NamedTuple):
    """The faults of one run of the common scene."""

    clients: int = 5
    partitions: bool = False
    crashes: bool = False
    any_key: bool = False


async def _common(deployment: Deployment, scene: _Scene) -> None:
    """Let clients work while servers are cut apart, then crash them all, and look at what is there."""
    told: dict[int, int] = dict.fromkeys(range(scene.clients), 0)
    for _ in range(_ROUNDS):
        stop = asyncio.Event()
        clients = [
            asyncio.create_task(_work(deployment, number, told, stop, any_key=scene.any_key))
            for number in range(scene.clients)
        ]
        if scene.partitions:
            await _cut_again_and_again(deployment, _ROUND_S)
        else:
            await asyncio.sleep(_ROUND_S)
        deployment.heal()
        stop.set()
        await _all_done(clients, "clients are answered once the network is whole")
        if scene.crashes:
            deployment.crash()
            await asyncio.sleep(_RESTART_S)
            await deployment.restart()
        if not scene.any_key:
            await _check_words(deployment, told)
        _check_log(deployment)


async def _work(
    deployment: Deployment, number: int, told: dict[int, int], stop: asyncio.Event, *, any_key: bool
) -> None:
    """Be one client until told to stop."""
    random = deployment.world.stream(f"client {number} at {deployment.world.now}")
    clerk = StoreClerk(deployment, f"client{number}/{deployment.world.now:.3f}")
    while not stop.is_set():
        key = str(random.randrange(len(told)) if any_key else number)
        if random.random() < 0.5:
            if any_key and random.random() < 0.1:
                await clerk.put(key, _word(number, told[number]))
            else:
                await clerk.append(key, _word(number, told[number]))
            told[number] += 1
        elif not any_key:
            _compare(await clerk.get(key), number, told[number])
        else:
            await clerk.get(key)
        await asyncio.sleep(_THINK_S * random.random())


def _word(client: int, number: int) -> str:
    return f"x {client} {number} y"


async def _check_words(deployment: Deployment, told: dict[int, int]) -> None:
    clerk = StoreClerk(deployment, f"reader/{deployment.world.now:.3f}")
    for number, count in told.items():
        _compare(await clerk.get(str(number)), number, count)


def _compare(value: str, client: int, count: int) -> None:
    """The value is the client's words so far, each once and in order."""
    expected = "".join(_word(client, number) for number in range(count))
    if value != expected:
        missing = [n for n in range(count) if _word(client, n) not in value]
        twice = [n for n in range(count) if value.count(_word(client, n)) > 1]
        what = (
            f"lacks words {missing[:5]}" if missing else f"has words {twice[:5]} twice" if twice else "is in disorder"
        )
        raise BrokenPromise("exactly once", f"the value of client {client}, who appended {count} words, {what}")


async def _cut_again_and_again(deployment: Deployment, seconds: float) -> None:
    """Divide the servers by chance every second or so."""
    random = deployment.random
    until = deployment.world.now + seconds
    while deployment.world.now < until:
        side = [name for name in deployment.servers if random.random() < 0.5]
        deployment.partition(side, [name for name in deployment.servers if name not in side])
        await asyncio.sleep(_ELECTION_S + 0.2 * random.random())


async def _all_done(tasks: list["asyncio.Task[None]"], what: str) -> None:
    done, waiting = await asyncio.wait(tasks, timeout=_ANSWER_S_MAX)
    if waiting:
        raise BrokenPromise("progress", f"{what}: {len(waiting)} of {len(tasks)} still wait after {_ANSWER_S_MAX} s")
    for task in done:
        task.result()


def _check_log(deployment: Deployment) -> None:
    """With snapshots the log stays a few times as long as one command, whatever was written."""
    if deployment.log_bytes_max is not None:
        allowed = _LOG_TIMES_MAX * deployment.log_bytes_max
        if (found := deployment.log_bytes()) > allowed:
            raise BrokenPromise("small state", f"a log of {found} bytes, with snapshots at {deployment.log_bytes_max}")


async def _fast_enough(deployment: Deployment) -> None:
    """A thousand appends, one after the other, do not wait for heartbeats."""
    clerk = StoreClerk(deployment, "hasty")
    await clerk.put("x", "")
    began = deployment.world.now
    for number in range(1000):
        await clerk.append("x", _word(0, number))
    each_s = (deployment.world.now - began) / 1000
    _compare(await clerk.get("x"), 0, 1000)
    if each_s > _LATENCY_S_MAX:
        raise BrokenPromise(
            "prompt service", f"{each_s * 1000:.1f} ms per append; {_LATENCY_S_MAX * 1000:.0f} are enough"
        )


async def _same_key(deployment: Deployment) -> None:
    """Five clients append to one key at once: all words are there once, each client's in order."""

    async def append(number: int) -> None:
        clerk = StoreClerk(deployment, f"client{number}")
        for word in range(10):
            await clerk.append("k", _word(number, word))

    await StoreClerk(deployment, "first").put("k", "")
    await _all_done([asyncio.create_task(append(number)) for number in range(5)], "five clients append ten words each")
    value = await StoreClerk(deployment, "last").get("k")
    for number in range(5):
        places = [value.find(_word(number, word)) for word in range(10)]
        total = sum(value.count(_word(number, word)) for word in range(10))
        if -1 in places or places != sorted(places) or total != len(places):
            raise BrokenPromise(
                "exactly once", f"words of client {number} are missing, doubled or in disorder: {value}"
            )


async def _majority_and_minority(deployment: Deployment) -> None:
    """The larger side goes on; on the smaller nothing is answered until the sides meet again."""
    everybody = StoreClerk(deployment, "everybody")
    await everybody.put("1", "13")
    many, few = deployment.divide()
    deployment.partition(many, few)
    on_many, write_on_few, read_on_few = (
        StoreClerk(deployment, name, side) for name, side in (("m", many), ("w", few), ("r", few))
    )
    await _within(on_many.put("1", "14"), "a write on the larger side")
    await _expect(on_many, "1", "14")
    write = asyncio.create_task(write_on_few.put("1", "15"))
    read = asyncio.create_task(read_on_few.get("1"))
    await asyncio.sleep(_ELECTION_S)
    if write.done() or read.done():
        what = "a write" if write.done() else "a read"
        raise BrokenPromise("no progress", f"{what} was answered by {' and '.join(few)}, which no majority heard")
    await _expect(on_many, "1", "14")
    await _within(on_many.put("1", "16"), "a second write on the larger side")
    await _expect(on_many, "1", "16")
    deployment.heal()
    await _all_done([write, asyncio.create_task(_drop(read))], "what waited on the smaller side is answered")
    await _expect(everybody, "1", "15")


async def _drop(task: "asyncio.Task[str]") -> None:
    await task


async def _within(call: Awaitable[object], what: str) -> None:
    try:
        await asyncio.wait_for(call, _ANSWER_S_MAX)
    except TimeoutError:
        raise BrokenPromise("progress", f"{what} had no answer for {_ANSWER_S_MAX} s") from None


async def _expect(clerk: StoreClerk, key: str, value: str) -> None:
    found = await asyncio.wait_for(clerk.get(key), _ANSWER_S_MAX)
    if found != value:
        raise BrokenPromise(
            "linearizable", f"{clerk.name} read {found!r} at key {key}; {value!r} was acknowledged last"
        )


async def _installed(deployment: Deployment) -> None:
    """A server that was away for longer than the log goes back is sent a snapshot."""
    everybody = StoreClerk(deployment, "everybody")
    await everybody.put("a", "A")
    many, few = deployment.divide()
    deployment.partition(many, few)
    on_many = StoreClerk(deployment, "majority", many)
    for number in range(50):
        await on_many.put(str(number), str(number))
    await asyncio.sleep(_ELECTION_S)
    await on_many.put("b", "B")
    _check_log(deployment)
    # The one that knows nothing, and one of the others: only together can they go on.
    deployment.partition([*few, many[0]], many[1:])
    mixed = StoreClerk(deployment, "mixed", [*few, many[0]])
    await _within(mixed.put("c", "C"), "a write on the server that was away and one other")
    await _within(mixed.put("d", "D"), "a second write there")
    for key, value in (("a", "A"), ("b", "B"), ("1", "1"), ("49", "49")):
        await _expect(mixed, key, value)
    deployment.heal()
    await everybody.put("e", "E")
    for key, value in (("c", "C"), ("e", "E"), ("1", "1")):
        await _expect(everybody, key, value)


async def _small_snapshots(deployment: Deployment) -> None:
    """Two keys, written over and over, leave a short log and a small snapshot."""
    clerk = StoreClerk(deployment, "writer")
    for _ in range(200):
        await clerk.put("x", "0")
        await _expect(clerk, "x", "0")
        await clerk.put("x", "1")
        await _expect(clerk, "x", "1")
    await deployment.wait_level()
    _check_log(deployment)
    if not all(deployment.snapshot_indexes()):
        raise BrokenPromise("small state", f"snapshots up to {deployment.snapshot_indexes()}: one server took none")
    for machine in deployment.machines():
        size = sum(map(len, machine.snapshot()))
        if size > _SNAPSHOT_BYTES_MAX:
            raise BrokenPromise(
                "small state", f"a snapshot of {size} bytes for one key; {_SNAPSHOT_BYTES_MAX} are enough"
            )


_Body = Callable[[Deployment], Awaitable[None]]


def _store(
    title: str, body: _Body, *, servers: int = 5, unreliable: bool = False, snapshots: bool = False
) -> ServiceTest:
    part = "3B" if snapshots else "3A"
    return ServiceTest(part, title, servers, KvMachine, body, unreliable, _LOG_BYTES if snapshots else None)


def _scene(
    title: str,
    clients: int,
    *,
    crashes: bool = False,
    partitions: bool = False,
    any_key: bool = False,
    unreliable: bool = False,
    snapshots: bool = False,
    servers: int = 5,
) -> ServiceTest:
    scene = _Scene(clients, partitions, crashes, any_key)
    body = partial(_common, scene=scene)
    return _store(title, body, servers=servers, unreliable=unreliable, snapshots=snapshots)


TESTS: tuple[ServiceTest, ...] = (
    _scene("one client", 1),
    _store("ops complete fast enough", _fast_enough, servers=3),
    _scene("many clients", 5),
    _scene("unreliable net, many clients", 5, unreliable=True),
    _store("concurrent append to same key, unreliable", _same_key, servers=3, unreliable=True),
    _store("progress in majority, none in minority, completion after heal", _majority_and_minority),
    _scene("partitions, one client", 1, partitions=True),
    _scene("partitions, many clients", 5, partitions=True),
    _scene("restarts, one client", 1, crashes=True),
    _scene("restarts, many clients", 5, crashes=True),
    _scene("unreliable net, restarts, many clients", 5, crashes=True, unreliable=True),
    _scene("restarts, partitions, many clients", 5, crashes=True, partitions=True),
    _scene("unreliable net, restarts, partitions, many clients", 5, crashes=True, partitions=True, unreliable=True),
    _scene(
        "unreliable net, restarts, partitions, random keys, many clients",
        15,
        crashes=True, partitions=True, any_key=True, unreliable=True, servers=7,
    ),
    _store("InstallSnapshot RPC", _installed, servers=3, snapshots=True),
    _store("snapshot size is reasonable", _small_snapshots, servers=3, snapshots=True),
    _store("ops complete fast enough, with snapshots", _fast_enough, servers=3, snapshots=True),
    _scene("restarts, snapshots, one client", 1, crashes=True, snapshots=True),
    _scene("restarts, snapshots, many clients", 5, crashes=True, snapshots=True),
    _scene("unreliable net, snapshots, many clients", 5, unreliable=True, snapshots=True),
    _scene("unreliable net, restarts, snapshots, many clients", 5, crashes=True, unreliable=True, snapshots=True),
    _scene(
        "unreliable net, restarts, partitions, snapshots, many clients",
        5,
        crashes=True, partitions=True, unreliable=True, snapshots=True,
    ),
    _scene(
        "unreliable net, restarts, partitions, snapshots, random keys, many clients",
        15,
        crashes=True, partitions=True, any_key=True, unreliable=True, snapshots=True, servers=7,
    ),
)  # fmt: skip
