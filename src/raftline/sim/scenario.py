"""What a run looks like apart from its seed, and what came of it; both are plain data that JSON can hold.

A scenario leaves open what the seed is to draw. `resolve` draws it: what it returns, with the same seed, is the same
run, and every part of it can be changed by hand. A schedule is such a scenario with its seed, as a file.
"""

from random import Random

import msgspec

from raftline.core.ids import NodeId
from raftline.errors import ConfigError
from raftline.sim.acts import ACTS, Act, NemesisPlan, describe_act, draw_acts
from raftline.sim.loop import derive_seed
from raftline.sim.workload import WorkloadPlan

__all__ = ["CHANCES", "Outcome", "Scenario", "Schedule", "names_of", "read_schedule", "resolve", "write_schedule"]

_FORMAT = 1


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
        clients = scenario.workload.clients + scenario.workload.session_clients + scenario.workload.expiry_clients
        chances = ", ".join(
            f"{name} {getattr(scenario.plan, name):g}" for name in CHANCES if getattr(scenario.plan, name)
        )
        head = (
            f"seed {self.seed}, {scenario.size} nodes, {clients} clients, {scenario.safety_s:g} s of faults; "
            f"of each message or fsync: {chances or 'no mishaps'}"
        )
        return [head, *(describe_act(act) for act in scenario.acts or ())]


CHANCES = ("loss", "duplicate", "reorder", "delay", "slow_sync")
"""The rates of a plan that need no act."""


def names_of(size: int) -> list[NodeId]:
    """Return the names of a cluster's machines."""
    return [f"n{number}" for number in range(1, size + 1)]


def resolve(seed: int, scenario: Scenario) -> Scenario:
    """Return the scenario with everything drawn that it leaves open; resolving it again changes nothing."""
    random = Random(derive_seed(seed, "scenario"))  # noqa: S311  reproducible on purpose
    plan = scenario.plan or NemesisPlan.draw(random)
    size = scenario.size or (3 if random.random() < 0.5 else 5)
    workload = scenario.workload or WorkloadPlan.draw(random)
    snapshot_entries = scenario.snapshot_entries or 10 + int(200 * random.random() ** 2)
    chunk_bytes = scenario.chunk_bytes or 64 + int(20_000 * random.random() ** 4)
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
        acts=acts,
    )


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
