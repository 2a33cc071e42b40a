"""Checks that need nothing but roles, terms and calls see what must never be, and nothing else."""

from collections.abc import Iterator

import pytest

from raftline.lab.bench import Bench
from raftline.lab.network import NetworkEvent
from raftline.lab.watch import State, Watch
from raftline.sim.loop import SimLoop


class World:
    """Three servers whose states a test writes down."""

    def __init__(self, loop: SimLoop) -> None:
        with loop.entered():
            self.bench = Bench(lambda: None, 1, virtual=True)
        self.states: list[State | None] = [(1, False)] * 3
        self.watch = Watch(self.bench, 3, lambda server: self.states[server])
        self.calls = 0

    def call(self, source: int, target: int, *, answered: bool = True) -> None:
        """Let one server call another."""
        self.calls += 1
        self.watch.on_event(NetworkEvent(1.0, "request", source, target, "m", 10, self.calls))
        if answered:
            self.watch.on_event(NetworkEvent(1.0, "reply", source, target, "m", 5, self.calls))

    def broken(self) -> str | None:
        """Return the name of the promise that was broken, if one was."""
        return self.bench.failed.result().name if self.bench.failed.done() else None


@pytest.fixture
def world() -> Iterator[World]:
    """Return three followers of term 1."""
    with SimLoop(1) as loop:
        yield World(loop)


def test_a_leader_that_others_answered_is_fine(world: World) -> None:
    """One answer in the term it leads makes two of three."""
    world.states[0] = (2, False)
    world.call(0, 1)
    world.states[0] = (2, True)
    world.watch.look_at_all()
    assert world.broken() is None
    assert world.watch.leaders == {2: 0}


def test_a_leader_that_nobody_answered_is_noticed(world: World) -> None:
    """Without a single answer in its term a server of three cannot have been elected (A16, A17)."""
    world.states[0] = (2, False)
    world.call(0, 1, answered=False)
    world.states[0] = (2, True)
    world.watch.look_at_all()
    assert world.broken() == "elected"


def test_an_answer_of_another_term_elects_nobody(world: World) -> None:
    """What was asked in term 2 does not count for an office in term 3 (A17)."""
    world.states[0] = (2, False)
    world.call(0, 1)
    world.states[0] = (3, True)
    world.watch.look_at_all()
    assert world.broken() == "elected"


def test_two_leaders_of_one_term_are_noticed_at_any_distance(world: World) -> None:
    """The second leader of a term is noticed, even if the first is long down (A11)."""
    world.states[0] = (2, False)
    world.call(0, 1)
    world.states[0] = (2, True)
    world.watch.look_at_all()
    world.states[0] = None
    world.watch.forget(0)
    world.states[2] = (2, False)
    world.call(2, 1)
    world.states[2] = (2, True)
    world.watch.look_at_all()
    assert world.broken() == "one leader"


def test_a_term_that_goes_back_is_noticed(world: World) -> None:
    """A server that is seen in a lower term than before has forgotten something (A8)."""
    world.states[1] = (5, False)
    world.watch.look_at_all()
    world.states[1] = (4, False)
    world.watch.look_at_all()
    assert world.broken() == "term rises"


def test_a_term_that_a_restart_forgets_is_noticed(world: World) -> None:
    """A term in which a server has spoken is known to its next incarnation (C4)."""
    world.states[1] = (5, False)
    world.call(1, 0)
    world.states[1] = None
    world.watch.forget(1)
    world.states[1] = (4, False)
    world.watch.look_at_all()
    assert world.broken() == "term rises"


@pytest.mark.parametrize(("answers_after", "broken"), [(True, None), (False, "majority")])
def test_a_commit_needs_answers_since_start(world: World, *, answers_after: bool, broken: str | None) -> None:
    """A leader's command is delivered only after a majority answered calls made since start() (B1, B28)."""
    world.states[0] = (2, False)
    world.call(0, 1)
    world.states[0] = (2, True)
    world.watch.look_at_all()
    world.watch.on_started(0, 2, 1)
    if answers_after:
        world.call(0, 2)
    world.watch.check_commit(0, 1)
    assert world.broken() == broken


def test_a_flood_of_calls_is_noticed(world: World) -> None:
    """More than 20,000 calls within a second end the test (B25, F19)."""
    for _ in range(20_000):
        world.call(0, 1, answered=False)
    assert world.broken() is None
    world.call(0, 1, answered=False)
    assert world.broken() == "flood"
