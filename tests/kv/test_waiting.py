"""Who waits on one node: woken in order, as many as there is something for, and never left asleep."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raftline.kv.commands.blocking import FORMS
from raftline.kv.commands.command import Refused
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.resp.replies import NULL_ARRAY
from raftline.kv.waiting import STOPPING, Waiter, Waiting

Play = Callable[[KvMachine, Waiting], Awaitable[None]]


def played(play: Play, keys_max: int = 100) -> None:
    """Let it play on a loop, with an empty store."""

    async def main() -> None:
        machine = KvMachine()
        await play(machine, Waiting(machine.store, keys_max))

    asyncio.run(main())


def push(machine: KvMachine, *words: bytes) -> None:
    """Apply a command."""
    machine.apply(encode_command(list(words)), machine.store.index + 1, 1)


async def settled() -> None:
    """Let what is due run."""
    for _ in range(3):
        await asyncio.sleep(0)


def added(waiting: Waiting, count: int, *keys: bytes, name: str = "blpop") -> list[Waiter]:
    """Let some wait."""
    waiters = [Waiter(FORMS[name], keys or (b"k",), 0.0) for _ in range(count)]
    for waiter in waiters:
        waiting.add(waiter)
    return waiters


def woken(waiters: list[Waiter]) -> list[int]:
    """Return which were woken."""
    return [number for number, waiter in enumerate(waiters) if waiter.is_woken]


def test_as_many_are_woken_as_there_are_elements() -> None:
    """The first ones; who is woken or pops already counts, whoever leaves lets the next one be looked at (G13)."""

    async def play(machine: KvMachine, waiting: Waiting) -> None:
        waiters = added(waiting, 4)
        push(machine, b"RPUSH", b"k", b"1", b"2")
        assert woken(waiters) == []
        await settled()
        assert woken(waiters) == [0, 1]
        waiters[0].is_woken, waiters[0].is_popping = False, True
        waiting.look([b"k"])
        assert woken(waiters) == [1]
        waiting.remove(waiters[0])
        assert woken(waiters) == [1, 2]

    played(play)


def test_the_store_knows_of_the_queues_only_while_there_are_any() -> None:
    """While nobody waits, and for keys that nobody waits for, nothing is done."""

    async def play(machine: KvMachine, waiting: Waiting) -> None:
        assert machine.store.waited is None
        (waiter,) = added(waiting, 1, b"k", b"l", b"k")
        assert machine.store.waited is waiting
        push(machine, b"RPUSH", b"other", b"1")
        push(machine, b"ZADD", b"k", b"1", b"m")
        await settled()
        assert waiter.is_idle
        assert waiting.count == 1
        waiting.remove(waiter)
        waiting.remove(waiter)
        assert machine.store.waited is None
        assert waiting.count == 0

    played(play)


def test_what_is_filled_while_a_pop_is_on_the_way_is_noted() -> None:
    """Then whoever finds nothing tries again, though nobody wakes it a second time (G13)."""

    async def play(machine: KvMachine, waiting: Waiting) -> None:
        (waiter,) = added(waiting, 1)
        waiter.is_popping = True
        push(machine, b"RPUSH", b"k", b"1")
        await settled()
        assert waiter.was_filled
        assert not waiter.is_woken

    played(play)


def test_renamed_keys_and_snapshots_wake() -> None:
    """Whatever way a list comes to be under a key (G14)."""

    async def play(machine: KvMachine, waiting: Waiting) -> None:
        waiters = added(waiting, 1)
        push(machine, b"RPUSH", b"other", b"1")
        push(machine, b"RENAME", b"other", b"k")
        await settled()
        assert woken(waiters) == [0]
        snapshot = list(machine.snapshot())
        push(machine, b"FLUSHALL")
        second = added(waiting, 1, name="brpop")
        machine.restore_begin()
        for chunk in snapshot:
            machine.restore_chunk(chunk)
        machine.restore_end()
        waiting.remove(waiters[0])
        await settled()
        assert woken(second) == [0]

    played(play)


def test_newcomers_stand_behind_those_who_wait() -> None:
    """What is there is tried at once only if nobody waits for it; another type is tried in any case: it is refused."""

    async def play(machine: KvMachine, waiting: Waiting) -> None:
        newcomer = Waiter(FORMS["blpop"], [b"k"], 0.0)
        assert not waiting.is_worth_trying(newcomer)
        push(machine, b"RPUSH", b"k", b"1")
        assert waiting.is_worth_trying(newcomer)
        added(waiting, 1)
        assert not waiting.is_worth_trying(newcomer)
        push(machine, b"SET", b"k", b"text")
        assert waiting.is_worth_trying(newcomer)

    played(play)


def test_there_is_a_limit_and_an_end() -> None:
    """Too many keys are refused; a node that stops lets everybody go, and nobody wait any more."""

    async def play(_machine: KvMachine, waiting: Waiting) -> None:
        waiters = added(waiting, 2)
        with pytest.raises(Refused, match="too many keys"):
            added(waiting, 1, b"a", b"b")
        waiting.stop()
        assert [waiter.end for waiter in waiters] == [STOPPING] * 2
        waiting.remove(waiters[0])
        with pytest.raises(Refused, match="stops"):
            added(waiting, 1)

    played(play, keys_max=3)


def test_who_has_no_patience_takes_no_place() -> None:
    """It ends with nil, however many wait (G13)."""

    async def play(_machine: KvMachine, waiting: Waiting) -> None:
        (first,) = added(waiting, 1)
        second = Waiter(FORMS["blpop"], [b"k"], 0.0)
        waiting.add(second, is_pointless=True)
        assert (second.end, second.is_queued) == (NULL_ARRAY, False)
        waiting.remove(second)
        assert (first.end, waiting.count) == (None, 1)

    played(play, keys_max=1)


def test_time_ends_the_waiting() -> None:
    """With nil; what comes afterwards is for the next one."""

    async def play(machine: KvMachine, waiting: Waiting) -> None:
        first = Waiter(FORMS["blpop"], [b"k"], 0.001)
        waiting.add(first)
        (second,) = added(waiting, 1)
        await asyncio.wait_for(first.until_filled(), 60)
        assert first.end == NULL_ARRAY
        push(machine, b"RPUSH", b"k", b"1")
        await settled()
        assert woken([first, second]) == [1]

    played(play)
