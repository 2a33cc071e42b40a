"""One seed, one run of the sharded store: groups come and go and slots move under faults; then everything is checked.

While it runs `Ownership` looks at every entry and read of every replica. Then all heals, and within bounded virtual
time every group has to have taken every configuration and be done with it; what was given away has to be gone, the
replicas of a group have to be equal, and the clients' history linearizable, key by key.
"""

import gc
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from raftline.core.ids import GroupId
from raftline.errors import SafetyViolation
from raftline.kv.key_walks import alive_keys
from raftline.kv.slots import slot_of
from raftline.linearizability.checker import Verdict, check
from raftline.linearizability.history import HistoryError, Operation
from raftline.linearizability.redis_strings import RedisStrings
from raftline.sim.acts import describe_act, draw_acts
from raftline.sim.aftermath import LivenessViolation
from raftline.sim.blame import place_of
from raftline.sim.checkers import Checkers
from raftline.sim.cluster import SimCluster
from raftline.sim.lock_checks import LockChecks
from raftline.sim.loop import SimLoop
from raftline.sim.nemesis import Nemesis
from raftline.sim.no_checks import NoChecks
from raftline.sim.run import LinearizabilityViolation
from raftline.sim.scenario import Outcome
from raftline.sim.sharded.builder import Builder
from raftline.sim.sharded.clients import ShardClients
from raftline.sim.sharded.clocks import Clocks
from raftline.sim.sharded.groups import Groups
from raftline.sim.sharded.lost_disks import LostDisks, Wait
from raftline.sim.sharded.nodes import SharedNodes
from raftline.sim.sharded.operator import Operator
from raftline.sim.sharded.ownership import Ownership, WatchedShard
from raftline.sim.sharded.retriers import Retriers
from raftline.sim.sharded.scenario import ShardScenario, resolve_sharded
from raftline.sim.sharded.sizes import small_pieces
from raftline.sim.sharded.trace import ShardTrace
from raftline.sim.sharded.visitors import Visitors
from raftline.sim.sharded.ways import CONTROLLER, Ways
from raftline.sim.state_checks import difference, state_of

__all__ = ["run_sharded_seed"]

_LOOK_S = 0.1
_ANSWER_S_MAX = 6.0
_REPLACING_S_MAX = 15.0
"""A machine may be replaced after all is healed, and its groups go one after the other, with a log that grows."""
_CHECK_STEPS_MAX = 1_000_000
_GC_OBJECTS = 20_000


class _NoLocks(LockChecks):
    """Looks at no locks: they come from other groups, which a model of one group's log cannot know."""

    def watched(self, apply: Callable[..., bytes]) -> Callable[..., bytes]:
        """Return it as it is."""
        return apply


class _ShardCheckers(Checkers):
    """All that is checked of a group's Raft."""

    def __init__(self, cluster: SimCluster) -> None:
        super().__init__(cluster)
        self.locks = _NoLocks()


def _raise(violation: SafetyViolation) -> NoReturn:
    raise violation


class _Run:
    """The pieces of one run."""

    def __init__(self, seed: int, scenario: ShardScenario, *, keep_trace: bool) -> None:
        self.scenario = scenario = resolve_sharded(seed, scenario)
        self.world = world = SimLoop(seed)
        self.trace = ShardTrace(world, keep=keep_trace)
        slots = [slot_of(f"{{t{number}}}".encode()) for number in range(scenario.tags)]
        self.ownership = Ownership(
            slots,
            lambda group, what: self.trace.note(group, "", "log", what),
            lambda violation: world.call_soon(_raise, violation),
            lambda: world.now,
        )
        self.groups: Ways
        if scenario.nodes:
            self.groups = SharedNodes(world, scenario, self.ownership, self.trace.note, messages=keep_trace)
        else:
            checkers = _ShardCheckers if scenario.is_watched else NoChecks
            self.groups = Groups(world, scenario, self.ownership, checkers, self.trace.note, messages=keep_trace)
        self.trace.watch(self.groups)
        self.nemeses: dict[GroupId, Nemesis] = {}
        for group, cluster in self.groups.clusters.items():
            plan, random = scenario.plan_of(group), world.stream(f"nemesis {group}")
            acts = draw_acts(plan, list(cluster.members), scenario.safety_s, random)
            self.nemeses[group] = Nemesis(cluster, plan, random, acts)
        self.counts: Counter[str] = Counter()
        assert scenario.changes is not None, "resolved"
        self.operators = [Operator(self.groups, self.counts, "operator", scenario.changes, scenario.joined)]
        if scenario.journeys and scenario.nodes:
            self.operators.append(Operator(self.groups, self.counts, "guide", scenario.journeys))
        self.clients = ShardClients(self.groups, world.stream("clients"))
        self.visitors: Visitors | None = None
        self.retriers: Retriers | None = None
        self.builder: Builder | None = None
        if isinstance(self.groups, SharedNodes):
            self.visitors = Visitors(self.groups, self.clients, world.stream("visitors"), scenario.visitors)
            self.retriers = Retriers(self.groups, self.clients, world.stream("retriers"), scenario.retriers)
            self.nemeses[CONTROLLER].may_wipe = self.groups.may_wipe
            random = world.stream("builder")
            self.builder = Builder(self.groups, self.clients, random, self.nemeses[CONTROLLER], self.counts)
        self.undecided = False

    def go(self) -> None:
        """Run to the end, and raise what is broken."""
        world = self.world
        self.groups.start()
        for nemesis in self.nemeses.values():
            nemesis.start()
        for operator in self.operators:
            operator.start()
        self.clients.start()
        for callers in (self.visitors, self.retriers, self.builder):
            if callers is not None:
                callers.start()
        self._cut_groups()
        Clocks(self.groups, self.counts).start()
        world.run_for(self.scenario.safety_s)
        for nemesis in self.nemeses.values():
            nemesis.heal()
        self.groups.heal()
        self.trace.note(CONTROLLER, "", "heal", "")
        replacing_s = _REPLACING_S_MAX * self.scenario.replaced * (self.scenario.nodes > 0)
        self._wait(self._is_settled, self.scenario.heal_s + replacing_s, self._unsettled)
        self.clients.stopping = True
        self._wait(lambda: not self._busy(), _ANSWER_S_MAX, lambda: f"{self._busy()} clients wait in vain")
        reading = world.create_task(self.clients.read_everything())
        self._wait(reading.done, _ANSWER_S_MAX, lambda: "keys cannot be read")
        reading.result()
        self._wait(self._is_settled, _ANSWER_S_MAX, self._unsettled)
        self._check_end()
        self._check_history()
        self._lose_disks()

    def _lose_disks(self) -> None:
        """Take a group all that it holds, once nothing is left to be looked at, where disks are guarded."""
        groups, settings = self.groups, self.scenario.settings
        if self.scenario.loses_disks and isinstance(groups, SharedNodes) and settings is not None and settings.pre_vote:
            wait: Wait = lambda condition, why: self._wait(condition, self.scenario.heal_s, why)  # noqa: E731
            LostDisks(groups, self.world.stream("lost disks"), self.counts, wait).go()

    def _busy(self) -> int:
        return sum(each.busy for each in (self.clients, self.visitors, self.retriers) if each is not None)

    def _cut_groups(self) -> None:
        """Cut some pairs of groups off from each other now and then."""
        per_s, random = self.scenario.cuts_per_s, self.world.stream("cuts")
        if per_s <= 0:
            return
        known = list(self.groups.group_ids)
        at_s = 2.0 * random.random() / per_s
        while at_s < self.scenario.safety_s:
            one, other = (known[int(random.random() * len(known))] for _ in range(2))
            if one != other:
                self.world.call_later(at_s, self.groups.cut, one, other, 1.5 * random.random())
                self.counts["groups cut off"] += 1
            at_s += 2.0 * random.random() / per_s

    def _wait(self, condition: Callable[[], bool], limit_s: float, why: Callable[[], str]) -> None:
        """Let the world go on until something is so; raise `LivenessViolation` if it takes too long."""
        end = self.world.now + limit_s
        while not condition():
            if self.world.now > end:
                raise LivenessViolation(f"{limit_s} s after everything was healed {why()}")
            self.world.run_for(_LOOK_S)

    def _is_settled(self) -> bool:
        """Say whether all changes were made, and every replica has taken the newest configuration and is done."""
        are_done = [operator.is_done for operator in self.operators]  # each raises what went wrong
        return all(are_done) and self._is_built() and not self.groups.late()

    def _is_built(self) -> bool:
        return self.builder is None or self.builder.is_done

    def _unsettled(self) -> str:
        late = self.groups.late()
        if not self._is_built():
            late.append("a machine is not replaced")
        return "; ".join(late) or "the operator waits for the controller"

    def _check_end(self) -> None:
        """Nothing is left of what was given, replicas are equal, tokens rose."""
        for group in self.groups.group_ids:
            known: dict[int, tuple[str, dict[str, Any]]] = {}
            for copy in self.groups.copies(group):
                state = state_of(copy.replica)
                if isinstance(copy.machine, WatchedShard):
                    state["holdings"] = msgspec.msgpack.encode(copy.machine.holdings)
                    self._check_keys(copy.machine)
                other, at = known.setdefault(copy.replica.applied, (copy.name, state))
                if (differs := difference(state, at)) is not None:
                    self._violated(f"{copy.name} and {other} of group {group} differ at the end: {differs}")
        self.clients.check()

    def _check_keys(self, machine: WatchedShard) -> None:
        """A replica holds keys of slots that its group serves, and no others."""
        holdings = machine.holdings
        for key in alive_keys(machine.store, 0):
            if holdings.configuration.owner(slot_of(key)) != holdings.group:
                self._violated(f"group {holdings.group} still holds {key.decode()}, which it gave away (G15)")

    def _check_history(self) -> None:
        """Some order of the operations explains every answer, key by key."""
        try:
            result = check(self.clients.operations, RedisStrings(), steps_max=_CHECK_STEPS_MAX, stop_at_first=True)
        except HistoryError as error:
            raise LinearizabilityViolation(f"an answer that its operation can never have: {error}") from None
        self.undecided = result.verdict is Verdict.UNKNOWN
        if result.verdict is Verdict.NO:
            part = result.failing()[0]
            raise LinearizabilityViolation(
                f"key {part.key}: no order explains the answers to its {len(part.operations)} operations "
                f"({part.returns_passed} could be explained)"
            )

    @staticmethod
    def _violated(what: str) -> NoReturn:
        raise SafetyViolation(what)


def run_sharded_seed(
    seed: int,
    scenario: ShardScenario | None = None,
    *,
    keep_trace: bool = False,
    on_finished: Callable[[list[Operation], list[str]], None] | None = None,
) -> Outcome:
    """Run one seed and return what came of it; `on_finished` gets the history and the trace's lines."""
    run = _Run(seed, scenario or ShardScenario(), keep_trace=keep_trace)
    started = time.process_time()
    collecting = gc.get_threshold()
    gc.set_threshold(_GC_OBJECTS, *collecting[1:])
    outcome = Outcome(seed=seed, size=run.scenario.groups)
    try:
        with small_pieces(run.scenario.records_max, run.scenario.piece_bytes):
            run.go()
    except Exception as error:  # noqa: BLE001  whatever it is, it is a finding, and other seeds are to be run
        outcome.error = str(error) or repr(error)
        outcome.check = type(error).__name__
        outcome.where = place_of(error)
    finally:
        gc.set_threshold(*collecting)
        run.world.close(raise_failures=False)
    outcome.cpu_s = time.process_time() - started
    _fill(outcome, run)
    if keep_trace:
        outcome.acts = [
            f"{describe_act(act)}{f' → {hit}' if hit else ''}"
            for nemesis in run.nemeses.values()
            for act, hit in nemesis.done
        ]
    if on_finished is not None:
        on_finished(run.clients.operations, run.trace.lines)
    return outcome


def _fill(outcome: Outcome, run: _Run) -> None:
    """Count what was done."""
    faults: Counter[str] = Counter(run.counts) + run.ownership.counts
    for group, cluster in run.groups.clusters.items():
        faults.update(run.nemeses[group].counts)
        stats: dict[str, int] = msgspec.structs.asdict(cluster.network.stats)
        faults.update({f"messages {name}": count for name, count in stats.items() if count})
        for member in cluster.everybody.values():
            faults.update(member.disk.stats)
            outcome.points.update(member.disk.reached)
        faults["storage failures"] += cluster.storage_failures
    clients = run.clients
    if run.visitors is not None:
        faults["visitors answered"] = run.visitors.answered
        faults["visitors refused"] = run.visitors.undone
        faults["visitors sent on"] = run.visitors.moved
    if run.retriers is not None:
        faults["commands repeated through other nodes"] = run.retriers.repeated
        faults["commands whose session was forgotten"] = run.retriers.lost
    faults["requests between groups lost"] = run.groups.lost
    faults["clients sent elsewhere"] = clients.not_served
    faults["keys expired"] = clients.expired
    faults["requests repeated"] = clients.repeated
    faults["configurations"] = len(run.ownership.configurations) - 1
    faults["runs with every check of Raft"] = int(bool(run.scenario.is_watched) and not run.scenario.nodes)
    faults["runs whose groups share nodes"] = int(run.scenario.nodes > 0)
    outcome.faults = dict(faults)
    outcome.virtual_s = run.world.now
    outcome.events = run.world.steps
    outcome.operations = len(clients.operations)
    outcome.unknown = clients.unknown
    outcome.undecided = run.undecided
    outcome.trace_digest = run.trace.digest()
