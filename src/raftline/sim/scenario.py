"""What a run looks like apart from its seed, and what came of it; both are plain data that JSON can hold.

A scenario leaves open what the seed is to draw. `resolve` draws it: what it returns, with the same seed, is the same
run, and every part of it can be changed by hand. A schedule is such a scenario with its seed, as a file.
"""

from random import Random

import msgspec

from raftline.core.config import CoreConfig
from raftline.core.ids import NodeId
from raftline.errors import ConfigError
from raftline.replica.sessions import Sessions
from raftline.sim.acts import ACTS, Act, NemesisPlan, describe_act, draw_acts
from raftline.sim.loop import derive_seed
from raftline.sim.workload import WorkloadPlan

__all__ = [
    "CHANCES",
    "CLOCKS_APART",
    "Outcome",
    "Scenario",
    "Schedule",
    "Settings",
    "names_of",
    "read_schedule",
    "resolve",
    "write_schedule",
]

_FORMAT = 1
CLOCKS_APART = 0.25
"""By how much, as a fraction, the drift that is drawn may take one clock from another."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How all nodes are set up, where it differs from what is usual; see `CoreConfig` and `NodeConfig`."""

    pace: float = 1.0
    """Heartbeats and election timeouts are so many times as long."""
    pre_vote: bool = True
    """Without it lost disks are not guarded against either, and none is lost."""
    check_quorum: bool = True
    lease_reads: bool = False
    """Then clients read on the leader's lease, and no clock goes worse than it may."""
    commit_notice_s: float | None = None
    quiesce_after_s: float | None = None
    """A group that had nothing to do for so long falls asleep; None: none does."""
    append_bytes_max: int = 1 << 20
    append_entries_max: int = 8192
    probe_bytes_max: int = 64 << 10
    inflight_messages_max: int = 16
    inflight_bytes_max: int = 8 << 20
    committed_max: int = 4096
    apply_slice: int = 16
    log_memory_bytes: int = 32 << 20
    sessions_max: int = 10_000
    session_reply_bytes_max: int = 8 << 20

    @staticmethod
    def draw(random: Random) -> "Settings":
        """Draw settings: half of the clusters are set up as usual, in the others any setting may be extreme."""

        def some(usual: int, *others: int) -> int:
            chance, which = random.random(), random.random()
            return others[int(which * len(others))] if unusual and chance < 0.4 else usual

        unusual = random.random() < 0.5
        pace = round(0.5 + 1.5 * random.random(), 3)
        kind = random.random()
        return Settings(
            pace=pace if unusual else 1.0,
            pre_vote=not (unusual and kind < 0.15),
            check_quorum=not (unusual and 0.1 < kind < 0.25),
            lease_reads=unusual and kind > 0.7,
            commit_notice_s=0.003 if some(0, 1) else None,
            append_bytes_max=some(1 << 20, 1, 100, 2000),
            append_entries_max=some(8192, 1, 2, 5),
            probe_bytes_max=some(64 << 10, 1, 200),
            inflight_messages_max=some(16, 1, 2, 100),
            inflight_bytes_max=some(8 << 20, 1, 300, 5000),
            committed_max=some(4096, 1, 3),
            apply_slice=some(16, 1, 512),
            log_memory_bytes=some(32 << 20, 0, 200, 5000),
        )

    def with_sleep(self, random: Random) -> "Settings":
        """Return the same for a group that may fall asleep, mostly soon."""
        shortest_s = self.pace * CoreConfig().heartbeat_interval_s
        return msgspec.structs.replace(self, quiesce_after_s=round(shortest_s + 0.6 * random.random() ** 2 + 0.001, 3))

    def with_evictions(self, random: Random) -> "Settings":
        """Return the same, one time in five with so little room for sessions that they have to give way."""
        if random.random() >= 0.2:
            return self
        return msgspec.structs.replace(
            self, sessions_max=2 + int(3 * random.random()), session_reply_bytes_max=10 + int(20 * random.random())
        )

    @property
    def evicts(self) -> bool:
        """Say whether sessions, or their replies, have to give way."""
        return self.sessions_max < Settings().sessions_max

    def make_sessions(self) -> Sessions:
        """Return an empty table of sessions within the bounds."""
        return Sessions(count_max=self.sessions_max, reply_bytes_max=self.session_reply_bytes_max)

    def core(self, chunk_bytes: int) -> CoreConfig:
        """Return the core's settings."""
        usual = CoreConfig()
        low_s, high_s = usual.election_timeout_s
        return CoreConfig(
            heartbeat_interval_s=self.pace * usual.heartbeat_interval_s,
            election_timeout_s=(self.pace * low_s, self.pace * high_s),
            commit_notice_s=usual.commit_notice_s if self.commit_notice_s is None else self.commit_notice_s,
            quiesce_after_s=usual.quiesce_after_s if self.quiesce_after_s is None else self.quiesce_after_s,
            pre_vote=self.pre_vote,
            guard_lost_disk=self.pre_vote,
            check_quorum=self.check_quorum,
            lease_reads=self.lease_reads,
            clock_drift_max=CLOCKS_APART if self.lease_reads else usual.clock_drift_max,
            append_bytes_max=self.append_bytes_max,
            append_entries_max=self.append_entries_max,
            probe_bytes_max=self.probe_bytes_max,
            inflight_messages_max=self.inflight_messages_max,
            inflight_bytes_max=self.inflight_bytes_max,
            committed_max=self.committed_max,
            snapshot_chunk_bytes=chunk_bytes,
        )


class Scenario(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a run looks like apart from its seed; None is drawn from the seed."""

    size: int | None = None
    safety_s: float = 30.0
    heal_s: float = 12.0
    plan: NemesisPlan | None = None
    acts: tuple[Act, ...] | None = None
    """What the nemesis does; drawn by the rates of the plan."""
    workload: WorkloadPlan | None = None
    snapshot_entries: int | None = None
    """A node takes a snapshot after so many entries."""
    chunk_bytes: int | None = None
    """Most bytes of a snapshot in one message."""
    settings: Settings | None = None
    upgraded: bool | None = None
    """Every program that starts again is one whose state machine knows a newer version of commands."""


class Outcome(msgspec.Struct, kw_only=True):
    """What came of a run."""

    seed: int
    size: int = 0
    error: str | None = None
    check: str | None = None
    """Which check failed."""
    where: str | None = None
    """The function that noticed, below `raftline`."""
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    events: int = 0
    steps: int = 0
    committed: int = 0
    elections: int = 0
    operations: int = 0
    unknown: int = 0
    refused: int = 0
    undecided: bool = False
    """The history was too hard to decide within the steps that were allowed."""
    trace_digest: str = ""
    plan: NemesisPlan | None = None
    acts: list[str] = []
    """What the nemesis did, a line each; only if the trace was kept."""
    faults: dict[str, int] = {}
    points: dict[str, int] = {}


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run that can be repeated by whoever has the file: a seed, and a scenario in which nothing is open."""

    schedule: int = _FORMAT
    """The format's version."""
    seed: int
    scenario: Scenario
    found: str = ""
    """What it led to when it was written: the check and its message."""

    def lines(self) -> list[str]:
        """Return it for people: what the cluster is, then an act a line."""
        scenario = self.scenario
        assert scenario.plan is not None, "resolved"
        assert scenario.workload is not None, "resolved"
        clients = scenario.workload.everybody
        chances = ", ".join(
            f"{name} {getattr(scenario.plan, name):g}" for name in CHANCES if getattr(scenario.plan, name)
        )
        head = (
            f"seed {self.seed}, {scenario.size} nodes, {clients} clients, {scenario.safety_s:g} s of faults; "
            f"of each message or fsync: {chances or 'no mishaps'}; set up {_shown(scenario.settings)}"
        )
        return [head, *(describe_act(act) for act in scenario.acts or ())]


_CHUNKS_MAX = 500
"""So many pieces of a snapshot, one after the other, take a second: time for three machines to be replaced."""
_SLEEPY_SHARE = 0.3
"""In so many runs the group may fall asleep, and has time to."""

CHANCES = ("loss", "duplicate", "reorder", "delay", "slow_sync", "slow_read", "latency_s")
"""The rates of a plan that need no act."""


def names_of(size: int) -> list[NodeId]:
    """Return the names of a cluster's machines."""
    return [f"n{number}" for number in range(1, size + 1)]


def resolve(seed: int, scenario: Scenario) -> Scenario:
    """Return the scenario with everything drawn that it leaves open; resolving it again changes nothing."""
    random = Random(derive_seed(seed, "scenario"))  # noqa: S311  reproducible on purpose
    plan = scenario.plan or NemesisPlan.draw(random)
    size = scenario.size or _draw_size(random)
    workload = scenario.workload or WorkloadPlan.draw(random)
    snapshot_entries = scenario.snapshot_entries or 10 + int(200 * random.random() ** 2)
    chunk_bytes = scenario.chunk_bytes or max(
        64 + int(20_000 * random.random() ** 4), workload.keys * workload.value_bytes_max // _CHUNKS_MAX
    )
    settings = scenario.settings or Settings.draw(random)
    if scenario.plan is None:
        random = Random(derive_seed(seed, "sessions"))  # noqa: S311  its own stream leaves the others as they were
        settings = settings.with_evictions(random) if scenario.settings is None else settings
        random = Random(derive_seed(seed, "churn"))  # noqa: S311  as above; its own stream leaves the others as they were
        plan = plan.with_churn(scenario.safety_s, random)
    if scenario.workload is None:
        workload = workload.with_queues(Random(derive_seed(seed, "queues")))  # noqa: S311  as above
    if scenario.plan is None and scenario.settings is None and scenario.workload is None:
        chance = Random(derive_seed(seed, "sleep"))  # noqa: S311  as above
        if chance.random() < _SLEEPY_SHARE and settings.pre_vote:
            settings, workload = settings.with_sleep(chance), WorkloadPlan.draw_sleepy(chance)
    upgraded = scenario.upgraded
    if upgraded is None:
        upgraded = scenario.plan is None and random.random() < 0.5 and plan.rolling_restart > 0
    acts = scenario.acts
    if acts is None:
        random = Random(derive_seed(seed, "acts"))  # noqa: S311  as above
        acts = draw_acts(plan, names_of(size), scenario.safety_s, random)
    return msgspec.structs.replace(
        scenario,
        plan=plan,
        size=size,
        workload=workload,
        snapshot_entries=snapshot_entries,
        chunk_bytes=chunk_bytes,
        settings=settings,
        upgraded=upgraded,
        acts=acts,
    )


def _draw_size(random: Random) -> int:
    """Mostly three or five machines; now and then another number, also an even one and one alone."""
    usual, which = random.random(), random.random()
    if usual < 0.12:
        return (1, 2, 4, 4, 6, 7)[int(which * 6)]
    return 3 if which < 0.5 else 5


def write_schedule(schedule: Schedule) -> str:
    """Return the text of a schedule's file."""
    return msgspec.json.format(msgspec.json.encode(schedule), indent=1).decode() + "\n"


def read_schedule(text: str) -> Schedule:
    """Read a schedule's file; raise `ConfigError` if it is none, or of another format."""
    try:
        schedule = msgspec.json.decode(text, type=Schedule)
    except msgspec.DecodeError as error:
        raise ConfigError(f"this is no schedule: {error}") from None
    if schedule.schedule != _FORMAT:
        raise ConfigError(f"the schedule has format {schedule.schedule}; this raftline reads format {_FORMAT}")
    scenario = resolve(schedule.seed, schedule.scenario)
    for act in scenario.acts or ():
        _check_act(act, names_of(scenario.size or 0))
    return msgspec.structs.replace(schedule, scenario=scenario)


def _check_act(act: Act, names: list[NodeId]) -> None:
    """Raise `ConfigError` unless the act is known and names machines of the cluster, if it needs any."""
    if act.name not in ACTS:
        raise ConfigError(f"there is no act {act.name!r}; there are {', '.join(ACTS)}")
    known = ["source", "target"] if act.name == "late_snapshot" else names
    needed = draw_acts(NemesisPlan(**{act.name: 120.0}), names, 1.0, Random(0))[0]  # noqa: S311  only its shape counts
    named = [act.node] * bool(needed.node) + [act.other] * bool(needed.other) + [*act.side]
    if "" in named:
        raise ConfigError(f"the act {act.name} at {act.at_s} s names nobody; there are {', '.join(known)}")
    for name in named:
        if name not in (names if name in act.side else known):
            raise ConfigError(f"the act {act.name} at {act.at_s} s names {name}; there are {', '.join(known)}")
    if needed.each_s and len(act.each_s) != len(names):
        raise ConfigError(f"the act {act.name} at {act.at_s} s needs {len(names)} times in each_s, one per machine")


def _shown(settings: Settings | None) -> str:
    unusual = msgspec.structs.asdict(settings or Settings())
    usual = msgspec.structs.asdict(Settings())
    return ", ".join(f"{name} {unusual[name]}" for name in usual if unusual[name] != usual[name]) or "as usual"
