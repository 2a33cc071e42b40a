"""Clients of keys that expire, at doors that keep, or break, what they are promised."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from raftline.errors import SafetyViolation
from raftline.sim.clock import SimClock
from raftline.sim.expiry_clients import ExpiryClients
from raftline.sim.loop import SimLoop
from raftline.sim.workload import Answer


class Store:
    """A door to a store that lets keys live for `factor` of what they were given, and brings some back."""

    def __init__(self, world: SimLoop, *, factor: float = 1.0, late_s: float = 0.0, haunted_s: float = 0.0) -> None:
        self.world = world
        self.factor = factor
        self.late_s = late_s
        self.haunted_s = haunted_s
        self.until: dict[bytes, float] = {}
        self.reads = 0

    def ask(self, _member: Any, arguments: list[bytes], done: Callable[[Answer], None]) -> None:
        """Answer after a moment."""
        now = self.world.now
        if arguments[0] == b"SET":
            self.until[arguments[1]] = now + self.factor * int(arguments[-1]) / 1000 + self.late_s
            answer = Answer(value="OK")
        else:
            self.reads += 1
            until = self.until[arguments[1]]
            there = now < until or until + 0.3 < now < until + 0.3 + self.haunted_s
            answer = Answer(value="here" if there else None)
        self.world.call_later(0.01, done, answer)


@pytest.fixture
def world() -> Iterator[SimLoop]:
    """A world without nodes."""
    world = SimLoop(1)
    yield world
    world.close(raise_failures=False)


def clients(world: SimLoop, door: Store, clock: SimClock | None = None) -> ExpiryClients:
    """Start four clients of one member."""
    member = SimpleNamespace(name="n1", clock=clock or SimClock(world))
    cluster: Any = SimpleNamespace(world=world, everybody={"n1": member}, ready=lambda: [member])
    found = ExpiryClients(cluster, door, 4, world.stream("expiry"))
    found.start()
    return found


def test_an_honest_store_passes(world: SimLoop) -> None:
    """Keys that go in time, once and for all, raise nothing."""
    door = Store(world)
    found = clients(world, door)
    world.run_for(30.0)
    assert found.keys > 10
    assert door.reads > 40
    found.stop()
    asked = door.reads
    world.run_for(10.0)
    assert door.reads <= asked + 4


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ({"factor": 0.3}, "is gone after"),
        ({"late_s": 3.0}, "is still there"),
        ({"haunted_s": 0.5}, "was gone and is there again"),
    ],
)
def test_a_key_that_goes_wrong_is_noticed(world: SimLoop, fault: dict[str, float], complaint: str) -> None:
    """Too early, too late, or back from the dead (G1)."""
    clients(world, Store(world, **fault))
    with pytest.raises(SafetyViolation, match=complaint):
        world.run_for(120.0)


@pytest.mark.parametrize("trouble", [lambda clock: clock.jump(1.0), lambda clock: clock.set_rate(1.1)])
def test_where_clocks_are_wrong_only_the_dead_are_watched(world: SimLoop, trouble: Callable[[SimClock], None]) -> None:
    """A clock that jumped or drifted excuses early and late, and not what comes back."""
    clock = SimClock(world)
    trouble(clock)
    clients(world, Store(world, factor=0.3, haunted_s=0.5), clock)
    with pytest.raises(SafetyViolation, match="there again"):
        world.run_for(120.0)
