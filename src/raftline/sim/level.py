"""Whether anything grows: a production cluster over virtual hours at a fixed number of keys, measured every minute.

Clients use all kinds of commands and sessions, nodes crash and are cut off now and then, snapshots are taken and the
log is let go. After a warm-up nothing may grow any more: nothing that a node owns in memory, wherever it hangs, nothing
on its disk, and not the process as a whole. The simulator's own records (checks, histories, traces) are left out, so
that they do not grow either; other campaigns keep them. n1 never crashes: what leaks only in a long life leaks there.
"""

import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import msgspec

from raftline.core.ids import NodeId
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine
from raftline.kv.store import DEADLINE_BYTES, ENTRY_BYTES, Store
from raftline.replica.sessions import Sessions
from raftline.runtime.config import NodeConfig
from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.blame import place_of
from raftline.sim.clock import SimClock
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.directory import Names
from raftline.sim.disk import CrashKind, SimDisk
from raftline.sim.holdings import weigh
from raftline.sim.inode import Inode
from raftline.sim.level_clients import LevelClients
from raftline.sim.levels import Growth, Levels, Windows
from raftline.sim.loop import SimLoop, derive_seed
from raftline.sim.nemesis import Nemesis
from raftline.sim.network import SimNetwork
from raftline.sim.no_checks import NoChecks
from raftline.sim.service_door import Line, ServiceDoor
from raftline.sim.view import LoopView

__all__ = ["LevelOutcome", "LevelPlan", "NotLevel", "run_level_seed"]

_GC_OBJECTS = 20_000
_CALM_S = 20.0
_LOOKS_MAX, _LOOK_AGAIN_S = 10, 0.3
_ANSWERED_SHARE_MIN = 0.8
_FOREIGN = (LoopView, SimNetwork, SimDisk, SimClock, SimCluster, Member, Inode, Names, Random, Line)
_MAX = "[max "
_BOUNDED = ("_seen_frames._seen[]", "digest._ring[]", "slowlog.entries[]")
"""Where tables hang that keep so many of the latest and no more: after a restart they may take half an hour to be full.
Each is judged by itself; the sums of what a node owns leave them out."""
_ALLOWED = {
    "_seen_frames._seen[] objects": 2 * 8192,
    "_seen_frames._seen[] bytes": 1 << 20,
    "digest._ring[] objects": 8192,
    "digest._ring[] bytes": 8192 * 32,
    "slowlog.entries[] objects": 128 * 10,
    "slowlog.entries[] bytes": 128 * 600,
    "state.log._entries[] objects": 4 * 75,
    "memory objects": 500,
    "memory bytes": 100_000,
    "objects": 100,
    "miscounted bytes": 0,
    "file bytes": 100_000,
    "data bytes": 20_000,
    "log bytes": 60_000,
    "resident bytes": 6 << 20,
    " bytes": 30_000,
    "files": 3,
    "requests": 30,
    "sessions": 15,
    "clients": 20,
    "tasks": 80,
    "timers": 100,
    "keys": 25,
    "blocks": 6_000,
}
"""What may come on top of a tenth, by how a measure's name ends: chance moves small numbers by as much, and what is
bounded may take longer than a warm-up to be full. Between two snapshots of the shortest plan a log has 15 to 75 entries
of up to four objects, and samples need not meet it at its longest."""


class NotLevel(SafetyViolation):
    """Something is higher at the end than it was after the warm-up."""


class LevelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run looks like apart from its seed."""

    minutes: float = 60.0
    clients: int = 6
    think_s_max: float = 2.4
    change: float = 0.01
    """The chance that a client changes its session, or its connection, before a command."""
    keys: int = 12
    """Of each of eight kinds: so few that each is as full as it will be within minutes, see `LevelWords`."""
    trouble_each_s: float = 120.0
    """One crash, cut, pause or change of leader in so many seconds."""
    trouble_s_max: float = 12.0
    """How long it lasts."""
    snapshot_entries: int = 600
    session_idle_s: float = 180.0
    """An hour in production: too long to become level within one."""

    @staticmethod
    def of(minutes: float) -> "LevelPlan":
        """Return a plan for so many minutes: what happens every few minutes of an hour comes sooner in less."""
        usual = LevelPlan()
        share = min(1.0, minutes / usual.minutes)
        return LevelPlan(
            minutes=minutes,
            think_s_max=usual.think_s_max * max(0.5, share),
            trouble_each_s=usual.trouble_each_s * share,
            trouble_s_max=max(1.0, usual.trouble_s_max * share),
            snapshot_entries=max(50, int(usual.snapshot_entries * share)),
            change=min(0.1, usual.change / share),
            session_idle_s=usual.session_idle_s * share,
        )


class LevelOutcome(msgspec.Struct, kw_only=True):
    """What came of a run."""

    seed: int
    error: str | None = None
    check: str | None = None
    where: str | None = None
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    events: int = 0
    asked: int = 0
    answered: int = 0
    entries: int = 0
    """Committed, as far as n1 knows."""
    snapshots: int = 0
    """Taken by n1, which never crashes."""
    acts: dict[str, int] = {}
    early: dict[str, float] = {}
    """The highest value of each measure after the warm-up."""
    late: dict[str, float] = {}
    """And at the end."""
    grown: list[Growth] = []


OnSample = Callable[[float, dict[str, float]], None]
"""Hears of each sample: the virtual minute, and all measures."""


def run_level_seed(
    seed: int,
    plan: LevelPlan = LevelPlan(),  # noqa: B008  frozen
    on_sample: OnSample | None = None,
) -> LevelOutcome:
    """Run one seed; whatever goes wrong is in the outcome."""
    outcome = LevelOutcome(seed=seed)
    started = time.process_time()
    collecting = gc.get_threshold()
    gc.set_threshold(_GC_OBJECTS, *collecting[1:])
    run = _Run(seed, plan, outcome)
    try:
        run.go(on_sample)
    except Exception as error:  # noqa: BLE001  whatever it is, it is a finding, and other seeds are to be run
        outcome.error = str(error) or repr(error)
        outcome.check = type(error).__name__
        outcome.where = place_of(error)
    finally:
        gc.set_threshold(*collecting)
        gc.unfreeze()
        run.fill()
        run.world.close(raise_failures=False)
    outcome.cpu_s = time.process_time() - started
    return outcome


class _Run:
    """The pieces of one run."""

    def __init__(self, seed: int, plan: LevelPlan, outcome: LevelOutcome) -> None:
        self.plan = plan
        self.outcome = outcome
        gc.collect()
        gc.freeze()  # what was there before is not looked at again every minute
        self._blocks_before = sys.getallocatedblocks()
        self.world = SimLoop(seed)
        self.cluster = SimCluster(
            self.world,
            3,
            config_of=self._config_of,
            make_machine=KvMachine,
            make_sessions=lambda: Sessions(idle_ms_max=int(plan.session_idle_s * 1000)),
            make_checkers=NoChecks,
        )
        random = Random(derive_seed(seed, "troubles"))  # noqa: S311  reproducible on purpose
        self.nemesis = Nemesis(self.cluster, NemesisPlan(), self.world.stream("nemesis"), _troubles(plan, random))
        self.door = ServiceDoor(self.cluster)
        self.clients = LevelClients(
            self.cluster,
            self.door,
            self.world.stream("clients"),
            count=plan.clients,
            keys=plan.keys,
            think_s_max=plan.think_s_max,
            change=plan.change,
        )

    def _config_of(self, name: NodeId, addresses: dict[NodeId, str]) -> NodeConfig:
        entries = self.plan.snapshot_entries
        return NodeConfig(
            node_id=name,
            members=addresses,
            data_dir="/data",
            segment_bytes=1 << 16,
            snapshot_log_entries=entries,
            keep_log_entries=entries // 4,
            log_memory_bytes=64 << 10,
        )

    def go(self, on_sample: OnSample | None) -> None:
        """Run for as long as was planned; raise what grew."""
        self.cluster.start()
        self.nemesis.start()
        self.clients.start()
        levels = Levels(Windows.of(self.plan.minutes))
        self.outcome.early, self.outcome.late = levels.early, levels.late
        for minute in _minutes(self.plan.minutes):
            self.world.run_until(max(self.world.now, 60.0 * minute))
            self._wait_for_stores()
            values = self._measure()
            levels.add(minute, values)
            if on_sample is not None:
                on_sample(minute, values)
        if self.clients.answered < _ANSWERED_SHARE_MIN * self.clients.asked:
            raise SafetyViolation(f"only {self.clients.answered} of {self.clients.asked} requests were answered")
        self.outcome.grown = levels.grown(_allowance)
        if self.outcome.grown:
            raise NotLevel("; ".join(map(str, self.outcome.grown[:6])))

    def _wait_for_stores(self) -> None:
        """Give stores a moment: what a restore replaced goes bit by bit, what a snapshot holds once it is written."""
        for _ in range(_LOOKS_MAX):
            services = [self.door.service(member) for member in self.cluster.ready()]
            if not any(service is not None and _is_busy(service.store) for service in services):
                return
            self.world.run_for(_LOOK_AGAIN_S)

    def _measure(self) -> dict[str, float]:
        """Return every measure of every node that is up, and of the process."""
        gc.collect()
        values: dict[str, float] = {
            "process blocks": sys.getallocatedblocks() - self._blocks_before,
            "process resident bytes": _resident_bytes(),
            "simulator timers": len(self.world.timers),
        }
        for member in self.cluster.members.values():
            values.update((f"{member.name} {measure}", value) for measure, value in self._measures_of(member))
        return values

    def _measures_of(self, member: Member) -> Iterable[tuple[str, float]]:
        sizes = [inode.size for inode in member.disk.names.live.values()]
        yield "files", len(sizes)
        yield "file bytes", sum(sizes)
        yield "open files", member.disk.open_files
        service = self.door.service(member)
        if service is None or member.loop is None:
            return
        status, store = service.status(), service.store
        yield "keys", store.count
        yield "data bytes", store.used_bytes
        yield "data miscounted bytes", abs(_miscounted_bytes(store))
        yield "log bytes", status.log_bytes
        yield "log memory bytes", status.log_memory_bytes
        yield "sessions", status.sessions
        yield "session reply bytes", status.session_reply_bytes
        group = member.node._group if member.node is not None else None  # noqa: SLF001  the simulator looks inside
        if group is not None:
            yield "replies miscounted bytes", abs(_miscounted_reply_bytes(group.replica.sessions))
        yield "pending requests", status.pending_requests
        yield "tasks", len(member.loop.tasks)
        yield "clients", len(service.clients)
        found = weigh({"node": member.node, "service": service}, lambda item: isinstance(item, _FOREIGN))
        summed = [holding for path, holding in found.items() if not _is_bounded(path)]
        yield "memory objects", sum(holding.objects for holding in summed)
        yield "memory bytes", sum(holding.size_bytes for holding in summed)
        for path, holding in found.items():
            yield f"{path} objects", holding.objects
            yield f"{path} bytes", holding.size_bytes

    def fill(self) -> None:
        """Count what was done."""
        outcome = self.outcome
        outcome.virtual_s = self.world.now
        outcome.events = self.world.steps
        outcome.asked, outcome.answered = self.clients.asked, self.clients.answered
        outcome.acts = dict(self.nemesis.counts)
        first = self.cluster.members["n1"].node
        if first is not None:
            outcome.entries = first.status().commit_index
            outcome.snapshots = first.status().snapshots_taken


def _minutes(end: float) -> Iterable[float]:
    """Yield each whole minute, or thirty moments of a run that is shorter than that."""
    step = min(1.0, end / 30)
    return [step * number for number in range(1, round(end / step) + 1)]


def _troubles(plan: LevelPlan, random: Random) -> tuple[Act, ...]:
    """Draw the acts: as many of each kind in every window, whom and when chance decides."""
    acts: list[Act] = []
    calm_s = min(_CALM_S, 3.0 * plan.minutes)
    at_s, number = calm_s, 0
    while at_s < 60.0 * plan.minutes - calm_s:
        node = ("n2", "n3")[int(random.random() * 2)]
        kind = (CrashKind.PROGRAM, CrashKind.MACHINE)[int(random.random() * 2)]
        for_s = round(plan.trouble_s_max * (0.2 + 0.8 * random.random()), 3)
        choices = (
            Act(at_s=at_s, name="kill_machine", node=node, kind=kind, for_s=for_s),
            Act(at_s=at_s, name="isolate_leader", for_s=for_s),
            Act(at_s=at_s, name="lag", node=node, for_s=1.5 * plan.trouble_each_s),
            Act(at_s=at_s, name="transfer", node="n1"),
            Act(at_s=at_s, name="pause_leader", for_s=for_s),
            Act(at_s=at_s, name="reset", node=node, other="n1"),
        )
        acts.append(choices[number % len(choices)])
        number += 1
        at_s = round(at_s + plan.trouble_each_s * (0.5 + random.random()), 3)
    return tuple(acts)


def _allowance(measure: str) -> float:
    """Return what chance may add to a measure."""
    if _MAX in measure:
        return math.inf  # a queue that drops its oldest by itself
    return next((allowed for end, allowed in _ALLOWED.items() if measure.endswith(end)), 0)


def _is_bounded(path: str) -> bool:
    """Say whether what hangs there has a bound of its own."""
    return _MAX in path or path.endswith(_BOUNDED)


def _is_busy(store: Store) -> bool:
    """Say whether a store holds more for a moment than its keys."""
    return store.has_garbage or bool(store._frozen)  # noqa: SLF001  the simulator looks inside


def _miscounted_bytes(store: Store) -> int:
    """Return by how much the store's count of its memory differs from what it is the sum of."""
    counted = sum(
        len(key) + len(value) + ENTRY_BYTES
        for values in store._values  # noqa: SLF001  the simulator looks inside
        for key, value in values.items()
    )
    return store.used_bytes - counted - DEADLINE_BYTES * store.deadline_count


def _miscounted_reply_bytes(sessions: Sessions) -> int:
    return sessions.reply_bytes - sum(len(session.reply) for _, session in sessions.dump())


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
