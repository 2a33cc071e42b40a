"""One seed of a user's test: a cluster of their state machine is built, tormented, healed and checked.

The test's coroutine runs all the while as a client. Safety phase: faults, with the checkers after every step. Then all
is healed and the test must come to its end in bounded virtual time; the replicas must be equal, and the recorded
history must fit the model.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec

from raftline.core.config import CoreConfig
from raftline.core.ids import NodeId
from raftline.errors import Diverged, SafetyViolation
from raftline.linearizability.checker import Verdict, check
from raftline.linearizability.history import Operation
from raftline.linearizability.model import Model
from raftline.replica.state_machine import StateMachine
from raftline.runtime.config import NodeConfig
from raftline.sim.cluster import SimCluster
from raftline.sim.loop import SimLoop
from raftline.sim.nemesis import Nemesis, NemesisPlan
from raftline.sim.quiet import quiet
from raftline.sim.run import LinearizabilityViolation, LivenessViolation
from raftline.sim.scenario import Scenario, resolve
from raftline.sim.trace import Trace
from raftline.testing.simulation import Simulation
from raftline.testing.witness import Watched, Witness

__all__ = ["Failure", "Outcome", "Settings", "Test", "simulate"]

Test = Callable[[Simulation], Awaitable[None]]

_SETTLE_S = 3.0
_STEPS_MAX = 3_000_000


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a test is simulated; None is drawn from the seed."""

    machine: Callable[[], StateMachine]
    """Makes an empty state machine: a class, or any function without arguments."""
    size: int | None = None
    """Nodes; 3 or 5 if drawn."""
    faults: NemesisPlan | None = None
    """How often what goes wrong."""
    faulty_s: float = 20.0
    """Virtual seconds of faults."""
    heal_s: float = 15.0
    """Virtual seconds after healing within which the test must have ended."""
    timeout_s: float = 4.0
    """How long a client waits for an answer."""
    model: Model | None = None
    """What `Simulation.operations` are held against at the end."""
    compare_snapshots: bool = True
    """Whether the replicas' snapshots must be equal, byte for byte, at the end."""


class Outcome(msgspec.Struct, kw_only=True):
    """What a run did."""

    seed: int
    size: int
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    elections: int = 0
    committed: int = 0
    calls: int = 0
    operations: list[Operation] = []
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    trace: list[str] = []


class Failure(AssertionError):
    """A seed failed; `__cause__` is what was raised, `outcome` what had been done until then."""

    def __init__(self, outcome: Outcome, cause: BaseException) -> None:
        super().__init__(f"seed {outcome.seed}, {outcome.virtual_s:.3f} virtual s: {explain(cause)}")
        self.outcome = outcome


def explain(cause: BaseException) -> str:
    """Say in words what an exception means for the author of a state machine."""
    text = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, Diverged):
        text += "; look for clocks, chance, iteration over sets, and for state that is missing in snapshot()"
    return text


def simulate(test: Test, settings: Settings, seed: int, *, keep_trace: bool = False) -> Outcome:
    """Run `test` once under the faults that `seed` and `settings` give; return what was done.

    Raises `Failure` whose cause is the test's own exception, or what a checker found.
    """
    with quiet():
        run = _Run(test, settings, seed, keep_trace=keep_trace)
        started = time.process_time()
        cause: BaseException | None = None
        try:
            run.go()
        except Exception as error:  # noqa: BLE001  whatever it is belongs to this seed
            cause = run.witness.finding or error  # what was found first explains the rest
        finally:
            run.world.close(raise_failures=False)
        outcome = run.outcome()
        outcome.cpu_s = time.process_time() - started
    if cause is not None:
        raise Failure(outcome, cause) from cause
    return outcome


class _Run:
    """The pieces of one run."""

    def __init__(self, test: Test, settings: Settings, seed: int, *, keep_trace: bool) -> None:
        self.settings = settings
        self.seed = seed
        self.world = SimLoop(seed)
        scenario = resolve(seed, Scenario(size=settings.size, safety_s=settings.faulty_s, plan=settings.faults))
        plan, snapshot_entries, chunk_bytes = scenario.plan, scenario.snapshot_entries, scenario.chunk_bytes
        assert plan is not None, "resolved"
        assert scenario.size is not None, "resolved"
        assert snapshot_entries is not None, "resolved"
        assert chunk_bytes is not None, "resolved"
        self._snapshot_entries, self._chunk_bytes = snapshot_entries, chunk_bytes
        self.witness = Witness(self._node_of, compare_snapshots=settings.compare_snapshots)
        self.trace = Trace(keep=keep_trace)
        self.cluster = SimCluster(
            self.world,
            scenario.size,
            config_of=self._config_of,
            make_machine=lambda: Watched(settings.machine(), self.witness),
            disk_faults=plan.disk_faults(),
            trace=self.trace.note if keep_trace else None,
        )
        self.trace.watch(self.cluster)
        self.nemesis = Nemesis(self.cluster, plan, self.world.stream("nemesis"), scenario.acts)
        self.simulation = Simulation(seed, self.cluster, self.nemesis, timeout_s=settings.timeout_s)
        self._test = test

    def _node_of(self, machine: StateMachine) -> NodeId:
        """Return whose machine it is."""
        return next(member.name for member in self.cluster.everybody.values() if member.machine is machine)

    def _config_of(self, name: NodeId, addresses: dict[NodeId, str]) -> NodeConfig:
        return NodeConfig(
            node_id=name,
            members=addresses,
            data_dir="/data",
            request_timeout_s=self.settings.timeout_s * 0.6,
            segment_bytes=1 << 16,
            snapshot_log_entries=self._snapshot_entries,
            snapshot_log_bytes=1 << 20,
            keep_log_entries=self._snapshot_entries // 4,
            core=CoreConfig(snapshot_chunk_bytes=self._chunk_bytes),
        )

    def go(self) -> None:
        """Run both phases and every check; raise what is broken."""
        settings, world = self.settings, self.world
        self.cluster.start()
        self.nemesis.start()
        main = world.create_task(_as_coroutine(self._test, self.simulation), name="test")
        main.add_done_callback(lambda _task: world.stop())
        world.run_until(settings.faulty_s)
        self.simulation.faulty = False
        self.nemesis.heal()
        self.cluster.note("", "heal")
        if not main.done():
            world.run_until(world.now + settings.heal_s)
        if not main.done():
            raise LivenessViolation(
                f"the test has not ended {settings.heal_s} virtual s after everything was healed: either the cluster "
                f"does not answer, or the test does not look at `simulation.faulty`"
            )
        main.result()
        world.run_for(_SETTLE_S)
        self._check_witness()
        self._check_agreement()
        self._check_witness()  # what it was in doubt about is settled when snapshots are compared
        self._check_history()

    def _check_witness(self) -> None:
        if self.witness.finding is not None:
            raise self.witness.finding

    def _check_agreement(self) -> None:
        """Everybody is up, at the same position, with the same state."""
        members = list(self.cluster.members.values())
        down = [member.name for member in members if not member.ready]
        if down:
            raise LivenessViolation(f"{', '.join(down)} did not come back after everything was healed")
        statuses = [member.node.status() for member in members if member.node is not None]
        positions = {(status.commit_index, status.applied_index) for status in statuses}
        if len(positions) != 1:
            shown = ", ".join(f"{s.node_id} committed {s.commit_index} applied {s.applied_index}" for s in statuses)
            raise LivenessViolation(f"the replicas are not level after everything was healed: {shown}")
        if len({status.digest for status in statuses}) != 1:
            raise Diverged("the replicas applied the same commands and got other results")
        if self.settings.compare_snapshots:
            images = {
                member.name: b"".join(member.machine.snapshot()) for member in members if member.machine is not None
            }
            if len(set(images.values())) != 1:
                shown = ", ".join(f"{name} {image[:60]!r}" for name, image in images.items())
                raise SafetyViolation(
                    f"the replicas applied the same commands and their snapshots differ: {shown}; if equal states may "
                    f"give different bytes, say compare_snapshots=False"
                )

    def _check_history(self) -> None:
        model = self.settings.model
        if model is None:
            return
        result = check(self.simulation.operations, model, steps_max=_STEPS_MAX, stop_at_first=True)
        if result.verdict is Verdict.NO:
            part = result.failing()[0]
            raise LinearizabilityViolation(
                f"key {part.key}: no order explains the answers to its {len(part.operations)} operations "
                f"({part.returns_passed} could be explained)"
            )

    def outcome(self) -> Outcome:
        """Sum up."""
        faults: Counter[str] = Counter(self.nemesis.counts)
        stats = msgspec.structs.asdict(self.cluster.network.stats)
        faults.update({f"messages {name}": count for name, count in stats.items() if count})
        for member in self.cluster.everybody.values():
            faults.update(member.disk.stats)
        return Outcome(
            seed=self.seed,
            size=len(self.cluster.members),
            virtual_s=self.world.now,
            elections=self.cluster.checkers.elections,
            committed=len(self.cluster.checkers.committed),
            calls=self.simulation.calls,
            operations=self.simulation.operations,
            faults=faults,
            trace=self.trace.lines,
        )


async def _as_coroutine(test: Test, simulation: Simulation) -> None:
    await test(simulation)
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    for task in pending:
        task.cancel()
