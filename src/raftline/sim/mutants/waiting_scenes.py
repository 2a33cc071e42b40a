"""Scenes of those who wait on one node: who is woken, in which order, and by what."""

from collections.abc import Callable
from random import Random

from raftline.errors import SafetyViolation
from raftline.kv.commands.blocking import FORMS
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.waiting import Waiter, Waiting
from raftline.sim.loop import SimLoop

__all__ = ["woken_by_a_snapshot", "woken_in_order"]


def woken_in_order(seed: int) -> None:
    """Elements come, and as many of those who wait as there are elements are woken: those who came first."""
    chance = Random(seed)  # noqa: S311  reproducible on purpose
    machine = KvMachine()
    pushed = chance.randint(1, 4)

    def play(waiting: Waiting) -> Callable[[], None]:
        waiters = _queue(waiting, pushed + chance.randint(1, 4))
        machine.apply(encode_command([b"RPUSH", b"k", *(b"x",) * pushed]), 1, 1)

        def check() -> None:
            woken = [number for number, waiter in enumerate(waiters) if waiter.is_woken]
            if woken != list(range(pushed)):
                raise SafetyViolation(f"{pushed} elements came and {woken} of {len(waiters)} were woken (G13)")
            waiting.remove(waiters[0])
            if not waiters[pushed].is_woken:
                raise SafetyViolation("one who was woken left, and nobody took its place (G13, G5)")

        return check

    _play(seed, machine, play)


def woken_by_a_snapshot(seed: int) -> None:
    """A snapshot that is installed holds what somebody waits for."""
    other, machine = KvMachine(), KvMachine()
    other.apply(encode_command([b"RPUSH", b"k", b"x"]), 1, 1)

    def play(waiting: Waiting) -> Callable[[], None]:
        waiters = _queue(waiting, 1 + seed % 3)
        machine.restore_begin()
        for chunk in other.snapshot():
            machine.restore_chunk(chunk)
        machine.restore_end()

        def check() -> None:
            if not waiters[0].is_woken:
                raise SafetyViolation("a snapshot brought an element, and who waits for it sleeps on (G5, G14)")

        return check

    _play(seed, machine, play)


def _queue(waiting: Waiting, count: int) -> list[Waiter]:
    waiters = [Waiter(FORMS["blpop"], [b"k"], 0.0) for _ in range(count)]
    for waiter in waiters:
        waiting.add(waiter)
    return waiters


def _play(seed: int, machine: KvMachine, play: Callable[[Waiting], Callable[[], None]]) -> None:
    """Let it play on a node's loop, and look a moment later."""
    world = SimLoop(seed)
    checks: list[Callable[[], None]] = []
    waiting = Waiting(machine.store, 1000)
    world.node("n1").call_soon(lambda: checks.append(play(waiting)))
    world.run_for(1.0)
    world.close(raise_failures=False)
    for check in checks:
        check()
