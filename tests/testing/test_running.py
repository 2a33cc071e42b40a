"""User's state machines under simulation: what is found, what is said of it, and that a seed repeats."""

# ruff: noqa: ARG002  a state machine's methods have the arguments that they have

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar

import pytest

import raftline
from raftline.linearizability.history import Value
from raftline.linearizability.models import Counter as CounterModel
from raftline.sim.run import LinearizabilityViolation, LivenessViolation
from raftline.testing import Disconnected, Failure, Faults, Outcome, Settings, Simulation, simulate

CALM = Faults()
CRASHES = Faults(kill_program=20, kill_machine=20, kill_leader=10, lag=6, down_s_max=2.0)


class Counter(raftline.StateMachine):
    """Adds up."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        self.total += int(command)
        return b"%d" % self.total

    def read(self, query: bytes, time_ms: int) -> bytes:
        return b"%d" % self.total

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % self.total]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total = int(b"".join(chunks))


async def add(simulation: Simulation) -> None:
    """Propose ones, one after the other, until everything is healed, and one more."""
    while simulation.faulty:
        try:
            await simulation.propose(b"1")
        except raftline.ProposalError:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.02)
    await simulation.propose(b"1")


def _first_failure(settings: Settings, seeds: int = 30) -> Failure:
    for seed in range(seeds):
        try:
            simulate(add, settings, seed)
        except Failure as failure:
            return failure
    raise AssertionError(f"{seeds} seeds found nothing")


def test_a_right_machine_passes_and_a_seed_repeats() -> None:
    """The same seed does the same, to the last byte of the trace; another one does not."""
    settings = Settings(machine=Counter, faulty_s=8.0)
    first, again, other = (simulate(add, settings, seed, keep_trace=True) for seed in (1, 1, 2))
    assert first.committed > 50
    assert first.faults
    assert first.trace == again.trace
    assert first.trace != other.trace


def test_a_machine_that_uses_chance_is_told_so() -> None:
    """Two replicas that give different results stop the run, with words for the author of `apply`."""
    numbers = itertools.count()

    class Uncertain(Counter):
        def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
            return b"%d" % next(numbers)

    failure = _first_failure(Settings(machine=Uncertain, faults=CALM, faulty_s=3.0), seeds=1)
    assert isinstance(failure.__cause__, raftline.Diverged)
    assert "not deterministic" in str(failure)


def test_state_that_differs_without_any_result_that_shows_it_is_found() -> None:
    """Snapshots are compared byte for byte, unless they may differ."""
    machines = itertools.count()

    class Secretive(Counter):
        def __init__(self) -> None:
            super().__init__()
            self.number = next(machines)

        def snapshot(self) -> Iterable[bytes]:
            return [b"%d/%d" % (self.total, self.number)]

        def restore(self, chunks: Iterable[bytes]) -> None:
            self.total = int(b"".join(chunks).split(b"/")[0])

    settings = Settings(machine=Secretive, faults=CALM, faulty_s=2.0)
    with pytest.raises(Failure, match="their snapshots differ"):
        simulate(add, settings, 0)
    simulate(add, Settings(machine=Secretive, faults=CALM, faulty_s=2.0, compare_snapshots=False), 0)


def test_state_that_is_missing_in_the_snapshot_is_found() -> None:
    """A replica that restarts from such a snapshot gives other results than the others."""

    class Forgetful(Counter):
        def snapshot(self) -> Iterable[bytes]:
            return [b"0"]

    failure = _first_failure(Settings(machine=Forgetful, faults=CRASHES))
    assert isinstance(failure.__cause__, raftline.SafetyViolation)


def test_a_snapshot_may_change_its_form_with_the_version() -> None:
    """A replica that restarts hears of the version behind what it restored: nothing is wrong with that."""
    restored: list[bytes] = []

    class Upgraded(Counter):
        version = 2
        form = b"%d"

        def use_version(self, version: int) -> None:
            self.form = b"total %d" if version == 2 else b"%d"

        def snapshot(self) -> Iterable[bytes]:
            return [self.form % self.total]

        def restore(self, chunks: Iterable[bytes]) -> None:
            restored.append(b"".join(chunks))
            self.total = int(restored[-1].removeprefix(b"total "))

    for seed in range(3):
        simulate(add, Settings(machine=Upgraded, faults=CRASHES, faulty_s=8.0), seed)
    assert any(chunks.startswith(b"total") for chunks in restored)


def test_answers_that_no_order_explains_are_found() -> None:
    """The recorded history is held against the model."""

    class Stale(Counter):
        stale: ClassVar[bytes] = b"0"

        def read(self, query: bytes, time_ms: int) -> bytes:
            return self.stale

    async def count(simulation: Simulation) -> None:
        for _ in range(3):
            answer = simulation.propose(b"1")
            await simulation.recorded("a", "add", answer, entered=1, output=lambda _: None)
        await simulation.recorded("a", "read", simulation.read(b""), output=int)

    settings = Settings(machine=Counter, faults=CALM, faulty_s=2.0, model=CounterModel())
    assert len(simulate(count, settings, 3).operations) == 4
    with pytest.raises(Failure) as caught:
        simulate(count, Settings(machine=Stale, faults=CALM, faulty_s=2.0, model=CounterModel()), 3)
    assert isinstance(caught.value.__cause__, LinearizabilityViolation)


def test_operations_are_recorded_as_what_they_mean() -> None:
    """Refused: left out. Nobody knows: open. Both are raised."""

    async def refuse() -> bytes:
        raise raftline.Overloaded("later")

    async def lose() -> bytes:
        raise Disconnected("gone")

    async def test(simulation: Simulation) -> None:
        for answer, error in ((refuse(), raftline.Overloaded), (lose(), Disconnected)):
            with pytest.raises(error):
                await simulation.recorded("a", "add", answer, entered=1, output=int)
        await simulation.propose(b"1")

    (operation,) = simulate(test, Settings(machine=Counter, faults=CALM, faulty_s=2.0), 0).operations
    assert not operation.known


def test_what_is_no_longer_waited_for_may_have_happened() -> None:
    """Cancelled, out of time, or ended by an error of the client's own: what it did is no false alarm."""

    async def count(simulation: Simulation) -> None:
        applied = asyncio.Event()

        async def hang() -> bytes:
            await simulation.propose(b"1")
            applied.set()
            return await asyncio.Future()

        async def stumble() -> bytes:
            await simulation.propose(b"1")
            raise KeyError("mine")

        async def add(answer: Awaitable[bytes], output: Callable[[bytes], Value] = int) -> None:
            await simulation.recorded("a", "add", answer, entered=1, output=output)

        lost = asyncio.create_task(add(hang()))
        await applied.wait()
        lost.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lost
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await add(hang())
        with pytest.raises(KeyError):
            await add(stumble())
        with pytest.raises(ValueError, match="no number"):
            await add(simulation.propose(b"1"), output=_no_number)
        assert await simulation.recorded("a", "read", simulation.read(b""), output=int) == b"4"

    settings = Settings(machine=Counter, faults=CALM, faulty_s=2.0, model=CounterModel())
    operations = simulate(count, settings, 0).operations
    assert [operation.known for operation in operations] == [False] * 4 + [True]


def _no_number(_: bytes) -> int:
    raise ValueError("no number")


def test_a_session_makes_retries_harmless() -> None:
    """Every number is added once, however often its answer was lost on the way."""
    found: list[tuple[int, int]] = []

    async def insist(simulation: Simulation) -> None:
        session, number, retries = await simulation.open_session(), 0, 0
        while simulation.faulty:
            number += 1
            while True:
                try:
                    await simulation.propose(b"1", session=session, sequence=number)
                except raftline.ProposalError as error:
                    retries += error.may_take_effect
                else:
                    break
        assert int(await simulation.read(b"")) == number
        found.append((number, retries))

    for seed in range(4):
        simulate(insist, Settings(machine=Counter, faults=CRASHES, size=3, faulty_s=10.0), seed)
    assert sum(retries for _, retries in found) > 0, "nothing was ever retried"


def test_a_node_that_dies_leaves_its_caller_in_doubt() -> None:
    """`Disconnected`, and the command may have taken effect; a node that is down is refused at once."""

    async def test(simulation: Simulation) -> None:
        while simulation.faulty and simulation.leader not in simulation.up:  # noqa: ASYNC110  time is virtual
            await asyncio.sleep(0.1)
        doubts = 0
        while simulation.faulty:
            for name in simulation.nodes:
                status = simulation.status(name)
                try:
                    await simulation.propose(b"1", node=name)
                except Disconnected as error:
                    doubts += status is not None and error.may_take_effect
                except raftline.ProposalError:
                    pass
        assert doubts > 0
        await simulation.propose(b"1")

    simulate(test, Settings(machine=Counter, faults=CRASHES, size=3, faulty_s=12.0), 5)


def test_a_test_that_does_not_end_is_a_failure_to_make_progress() -> None:
    """Bounded virtual time after healing, then the run is over."""

    async def wait_for_ever(simulation: Simulation) -> None:
        while True:
            await simulation.propose(b"1")
            await asyncio.sleep(0.5)

    with pytest.raises(Failure, match="has not ended") as caught:
        simulate(wait_for_ever, Settings(machine=Counter, faults=CALM, faulty_s=2.0, heal_s=2.0), 0)
    assert isinstance(caught.value.__cause__, LivenessViolation)


def test_what_the_test_raises_is_the_cause() -> None:
    """And what had been done until then is told."""

    async def test(simulation: Simulation) -> None:
        await simulation.propose(b"1")
        raise ValueError("mine")

    with pytest.raises(Failure, match="ValueError: mine") as caught:
        simulate(test, Settings(machine=Counter, faults=CALM), 0)
    assert isinstance(caught.value.__cause__, ValueError)
    outcome: Outcome = caught.value.outcome
    assert outcome.calls == 1
