"""One seed, one run: a cluster is built, tormented, healed, and everything it promised is checked.

Safety phase: the nemesis acts and the checkers watch every step. Liveness phase: all is healed, and within bounded
virtual time every machine must be up, agree, and answer. Then the clients' history must be linearizable.
"""

import gc
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from raftline.core.ids import NodeId
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine
from raftline.linearizability.checker import Verdict, check
from raftline.linearizability.history import HistoryError, Operation
from raftline.linearizability.redis_strings import RedisStrings
from raftline.runtime.config import NodeConfig
from raftline.sim.acts import describe_act
from raftline.sim.aftermath import Aftermath, LivenessViolation
from raftline.sim.blame import place_of
from raftline.sim.cluster import SimCluster
from raftline.sim.expiry_clients import ExpiryClients
from raftline.sim.kv_door import KvDoor
from raftline.sim.lock_clients import LockClients
from raftline.sim.loop import SimLoop
from raftline.sim.nemesis import Nemesis
from raftline.sim.older_reads import OlderReads
from raftline.sim.once_clients import OnceClients
from raftline.sim.queue_clients import QueueClients
from raftline.sim.scenario import Outcome, Scenario, resolve
from raftline.sim.service_door import ServiceDoor
from raftline.sim.session_clients import SessionClients, repeated
from raftline.sim.sleep_trial import SleepTrial
from raftline.sim.trace import Trace
from raftline.sim.transaction_clients import TransactionClients
from raftline.sim.workload import Workload

__all__ = ["LivenessViolation", "Outcome", "Scenario", "run_seed"]


_HEALED_S_MIN = 3.0
_LOOK_AGAIN_S = 0.5
_LAG_MAX = 20
"""In entries: more than what is under way at any moment, less than a follower lacks that does not keep up."""


_GC_OBJECTS = 20_000
"""A run makes few cycles and many objects: with Python's usual threshold it looks for the former all the time."""


class LinearizabilityViolation(SafetyViolation):
    """No order of the clients' operations explains what they were told."""


class NewerMachine(KvMachine):
    """A state machine of the next version."""

    version = KvMachine.version + 1


class _Run:
    """The pieces of one run."""

    def __init__(
        self, seed: int, scenario: Scenario, make_machine: Callable[[], KvMachine], *, keep_trace: bool
    ) -> None:
        self.scenario = scenario = resolve(seed, scenario)
        plan, workload, settings = scenario.plan, scenario.workload, scenario.settings
        assert settings is not None, "resolved"
        assert plan is not None, "resolved"
        assert workload is not None, "resolved"
        assert scenario.size is not None, "resolved"
        self.world = SimLoop(seed)
        self.trace = Trace(keep=keep_trace)
        self.undecided = False
        self.cluster = SimCluster(
            self.world,
            scenario.size,
            config_of=self._config_of,
            make_machine=self._upgrading(make_machine) if scenario.upgraded else make_machine,
            make_sessions=settings.make_sessions,
            disk_faults=plan.disk_faults(),
            trace=self.trace.note if keep_trace else None,
        )
        self.trace.watch(self.cluster)
        self.nemesis = Nemesis(self.cluster, plan, self.world.stream("nemesis"), scenario.acts)
        self.door = KvDoor(self.cluster)
        self.workload = Workload(self.cluster, self.door, workload, self.world.stream("workload"))
        self.expiring = ExpiryClients(
            self.cluster, KvDoor(self.cluster), workload.expiry_clients, self.world.stream("expiry")
        )
        self.locks = LockClients(self.cluster, KvDoor(self.cluster), workload.lock_clients, self.world.stream("locks"))
        self.transactions = TransactionClients(
            self.cluster, KvDoor(self.cluster), workload.transaction_clients, self.world.stream("transactions")
        )
        self.older_reads = OlderReads(self.cluster, self.world.stream("older reads"), self.workload.lull_left_s)
        self.cluster.on_message_delivered = self.older_reads.on_delivered
        evicts = settings.evicts
        count = 0 if evicts else workload.session_clients
        self.sessions = SessionClients(self.cluster, count, self.world.stream("sessions"))
        self.once = OnceClients(
            self.cluster, KvDoor(self.cluster), workload.once_clients, self.world.stream("once"), evicts=evicts
        )
        self.sleep_trial = (
            None
            if settings.quiesce_after_s is None
            else SleepTrial(self.cluster, self.world.stream("sleep trial"), settings.quiesce_after_s)
        )
        self.queues = QueueClients(
            self.cluster, ServiceDoor(self.cluster), workload.queue_clients, self.world.stream("queues")
        )

    def _upgrading(self, make_machine: Callable[[], KvMachine]) -> Callable[[], KvMachine]:
        """Return what makes the machines that are there, and then newer ones."""
        left = self.scenario.size or 0

        def make() -> KvMachine:
            nonlocal left
            left -= 1
            return make_machine() if left >= 0 else NewerMachine()

        return make

    def _config_of(self, name: NodeId, addresses: dict[NodeId, str]) -> NodeConfig:
        scenario, settings = self.scenario, self.scenario.settings
        snapshot_entries, chunk_bytes = scenario.snapshot_entries, scenario.chunk_bytes
        assert snapshot_entries is not None, "resolved"
        assert chunk_bytes is not None, "resolved"
        assert settings is not None, "resolved"
        return NodeConfig(
            node_id=name,
            members=addresses,
            data_dir="/data",
            request_timeout_s=2.5,
            segment_bytes=1 << 16,
            snapshot_log_entries=snapshot_entries,
            snapshot_log_bytes=1 << 20,
            keep_log_entries=snapshot_entries // 4,
            apply_slice=settings.apply_slice,
            log_memory_bytes=settings.log_memory_bytes,
            core=settings.core(chunk_bytes),
        )

    def go(self) -> None:
        """Run both phases and every check; raise what is broken."""
        scenario, world = self.scenario, self.world
        self.cluster.start()
        self.nemesis.start()
        self.workload.start()
        self.sessions.start()
        self.once.start()
        self.expiring.start()
        self.locks.start()
        self.queues.start()
        self.transactions.start()
        self.older_reads.start()
        world.run_for(scenario.safety_s)
        self.nemesis.heal()
        self.workload.has_lulls = False
        self.cluster.note("", "heal")
        self._recover()
        if self.workload.last_answer_at < world.now - 4.0:
            raise LivenessViolation(
                f"no client was answered for 4 s, {scenario.heal_s - 2.0} s after everything was healed"
            )
        self.workload.stop()
        self.sessions.stop()
        self.once.stop()
        self.expiring.stop()
        self.locks.stop()
        self.queues.stop()
        self.transactions.stop()
        self.older_reads.stop()
        self._wait_for_answers()
        aftermath = Aftermath(self.cluster, self.workload)
        aftermath.ask_everybody()
        aftermath.check()
        if waiting := self.sessions.waiting + self.once.waiting:
            raise LivenessViolation(f"{waiting} repeat a command and are not answered (G8)")
        self.sessions.check_end()
        self.once.check_end()
        self.queues.check_end()
        if self.sleep_trial is not None:
            self.sleep_trial.run()
        self._check_history()

    def _recover(self) -> None:
        """Let clients go on until all is well again, for a while in any case, and no longer than is allowed."""
        world = self.world
        end = world.now + self.scenario.heal_s - 2.0
        world.run_for(min(_HEALED_S_MIN, self.scenario.heal_s - 2.0))
        while world.now < end and not self._is_well():
            world.run_for(min(_LOOK_AGAIN_S, end - world.now))

    def _wait_for_answers(self) -> None:
        """Let every request that is under way end, and followers hear of the last commit."""
        world = self.world
        end = world.now + self.workload.plan.timeout_s
        while world.now < end and (self.workload.under_way or self.sessions.waiting or self.once.waiting):
            world.run_for(min(_LOOK_AGAIN_S, end - world.now))
        world.run_for(1.0)

    def _is_well(self) -> bool:
        """Say whether everybody is up, votes and keeps up, and clients are answered."""
        statuses = [member.node.status() for member in self.cluster.ready() if member.node is not None]
        if len(statuses) < len(self.cluster.members) or not self.nemesis.everybody_votes():
            return False
        lag = max(status.commit_index for status in statuses) - min(status.applied_index for status in statuses)
        return lag <= _LAG_MAX and self.workload.last_answer_at > self.world.now - _LOOK_AGAIN_S

    def _check_history(self) -> None:
        """Some order of the operations explains every answer, key by key; acknowledged writes are part of it."""
        try:
            result = check(self.workload.operations, RedisStrings(), steps_max=3_000_000, stop_at_first=True)
        except HistoryError as error:
            raise LinearizabilityViolation(f"an answer that its operation can never have: {error}") from None
        self.undecided = result.verdict is Verdict.UNKNOWN
        if result.verdict is Verdict.NO:
            part = result.failing()[0]
            raise LinearizabilityViolation(
                f"key {part.key}: no order explains the answers to its {len(part.operations)} operations "
                f"({part.returns_passed} could be explained)"
            )


def run_seed(
    seed: int,
    scenario: Scenario | None = None,
    *,
    make_machine: Callable[[], KvMachine] = KvMachine,
    keep_trace: bool = False,
    on_finished: Callable[[list[Operation], list[str]], None] | None = None,
) -> Outcome:
    """Run one seed and return what came of it; `on_finished` gets the history and the trace's lines."""
    run = _Run(seed, scenario or Scenario(), make_machine, keep_trace=keep_trace)
    started = time.process_time()
    collecting = gc.get_threshold()
    gc.set_threshold(_GC_OBJECTS, *collecting[1:])
    outcome = Outcome(seed=seed, size=len(run.cluster.members), plan=run.scenario.plan)
    try:
        run.go()
    except Exception as error:  # noqa: BLE001  whatever it is, it is a finding, and other seeds are to be run
        outcome.error = str(error) or repr(error)
        outcome.check = type(error).__name__
        outcome.where = place_of(error)
    finally:
        gc.set_threshold(*collecting)
        _close(run.world)
    outcome.cpu_s = time.process_time() - started
    _fill(outcome, run)
    if keep_trace:
        outcome.acts = [f"{describe_act(act)}{f' → {hit}' if hit else ''}" for act, hit in run.nemesis.done]
    if on_finished is not None:
        on_finished(run.workload.operations, run.trace.lines)
    return outcome


def _close(world: SimLoop) -> None:
    world.close(raise_failures=False)


def _fill(outcome: Outcome, run: _Run) -> None:
    """Count what was done."""
    cluster, checkers = run.cluster, run.cluster.checkers
    outcome.virtual_s = run.world.now
    outcome.events = run.world.steps
    outcome.steps = checkers.steps
    outcome.committed = len(checkers.committed)
    outcome.elections = checkers.elections
    outcome.operations = len(run.workload.operations)
    outcome.unknown = run.workload.unknown
    outcome.refused = run.workload.refused
    outcome.undecided = run.undecided
    outcome.trace_digest = run.trace.digest()
    faults: Counter[str] = Counter(run.nemesis.counts)
    points: Counter[str] = Counter()
    stats: dict[str, Any] = msgspec.structs.asdict(cluster.network.stats)
    faults.update({f"messages {name}": count for name, count in stats.items() if count})
    for member in cluster.everybody.values():
        faults.update(member.disk.stats)
        faults["clock jumps"] += member.clock.jumps
        points.update(member.disk.reached)
    faults["storage failures"] = cluster.storage_failures
    faults.update({f"once {name}": count for name, count in run.once.told.items()})
    faults["elements delivered"] = len(run.queues.delivered)
    faults["consumers gone while they waited"] = run.queues.hang_ups
    faults["commands repeated"] = repeated(checkers.committed)
    faults.update(run.older_reads.counts)
    faults.update(run.locks.counts)
    if run.sleep_trial is not None:
        faults.update(run.sleep_trial.counts)
    faults.update(run.transactions.counts)
    faults["leases that ran out"] = checkers.locks.ran_out
    faults["upgrades done"] = sum(
        member.ready and member.node is not None and member.node.command_version > KvMachine.version
        for member in cluster.members.values()
    )
    faults["lease reads"] = run.door.lease_reads
    outcome.faults = dict(faults)
    outcome.points = dict(points)
