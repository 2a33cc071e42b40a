"""Shrinks a failing run: fewer acts, machines, clients and mishaps, less time, and still the same check fails.

Delta debugging (Zeller and Hildebrandt 2002) over a schedule: a change is kept if the same check fails with the same
words. What is left out shifts all that chance decides later, so each change is tried with a few seeds.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from raftline.errors import ConfigError
from raftline.sim.acts import ACTS, Act
from raftline.sim.executors import Executor
from raftline.sim.quiet import quiet
from raftline.sim.run import run_seed
from raftline.sim.scenario import CHANCES, Outcome, Scenario, Schedule, Settings, names_of, resolve
from raftline.sim.workload import WorkloadPlan

__all__ = ["CLIENTS", "Failure", "Judge", "Minimized", "Minimizer", "Runs", "fit_acts", "minimize", "shrink"]

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

_SEEDS_TRIED = 3
_MARGIN_S = 1.0
"""After the failure: what takes its place may come a little later."""
_SAFETY_S_MIN = 1.0
_HEAL_S_NONE = 2.0
"""The shortest healing phase; enough if the check fails before it."""
_GAP_S = 0.1
_WORDS = 4
CLIENTS = tuple(field for field in WorkloadPlan.__struct_fields__ if field.endswith("clients"))
"""Fields of a workload that count clients of some kind; there is always one of the plain kind."""


class Failure(msgspec.Struct, frozen=True):
    """What makes two failures the same: the kind of error, the function that noticed, and how its message begins."""

    check: str
    where: str
    words: str
    """The first words without a digit: some functions hold several promises, and names and numbers differ."""

    @staticmethod
    def of(outcome: Outcome) -> "Failure | None":
        """Return how a run failed, None if it did not."""
        if outcome.error is None:
            return None
        words = [word for word in outcome.error.split() if not any(letter.isdigit() for letter in word)]
        return Failure(outcome.check or "", outcome.where or "", " ".join(words[:_WORDS]))


class Minimized(msgspec.Struct, kw_only=True):
    """What is left of a failing run."""

    schedule: Schedule
    outcome: Outcome
    """What that schedule leads to, the acts carried out included."""
    was: Schedule
    runs: int
    complete: bool
    """Nothing can be left out by itself any more; False if the runs were used up before."""


class Judge(Protocol):
    """Decides which of several smaller schedules to go on with."""

    def first_failing(self, candidates: Sequence[Schedule]) -> tuple[int, Schedule] | None:
        """Return the first that fails as wanted and its position; its seed may be another. None if none fails."""


class Runs:
    """The judge that runs them.

    Invariant: no schedule is run twice, and never more than `runs_max` are run.
    """

    def __init__(self, wanted: Failure, executor: Executor, runs_max: int, on_run: Callable[[int], None]) -> None:
        self.count = 0
        self._wanted = wanted
        self._executor = executor
        self._runs_max = runs_max
        self._on_run = on_run
        self._known: dict[bytes, bool] = {}

    @property
    def exhausted(self) -> bool:
        """Say whether no more runs are allowed."""
        return self.count >= self._runs_max

    def first_failing(self, candidates: Sequence[Schedule]) -> tuple[int, Schedule] | None:
        """Run each with a few seeds, as many at a time as there are workers."""
        work = [
            (number, msgspec.structs.replace(candidate, seed=candidate.seed + another))
            for number, candidate in enumerate(candidates)
            for another in range(_SEEDS_TRIED)
        ]
        for start in range(0, len(work), self._executor.workers):
            if self.exhausted:
                return None
            window = work[start : start + self._executor.workers]
            self._look([schedule for _, schedule in window])
            for number, schedule in window:
                if self._known.get(_key(schedule)):
                    return number, schedule
        return None

    def _look(self, schedules: Sequence[Schedule]) -> None:
        """Find out about those that are not known yet."""
        unknown = {_key(schedule): schedule for schedule in schedules if _key(schedule) not in self._known}
        for key, failure in self._executor.run(_try_schedule, unknown.items()):
            self.count += 1
            self._known[key] = failure == self._wanted
            self._on_run(self.count)


def _key(schedule: Schedule) -> bytes:
    return msgspec.json.encode(schedule)


def _try_schedule(item: tuple[bytes, Schedule]) -> tuple[bytes, Failure | None]:
    """Run one; in whatever process."""
    key, schedule = item
    with quiet():
        return key, Failure.of(run_seed(schedule.seed, schedule.scenario))


class Minimizer:
    """Makes a schedule smaller for as long as a judge agrees.

    Invariant: `best` fails as wanted.
    """

    def __init__(self, schedule: Schedule, judge: Judge, on_step: Callable[[Schedule, str], None]) -> None:
        """`on_step` hears of the best schedule so far and of what is tried next."""
        self.best = schedule
        self._judge = judge
        self._on_step = on_step

    def run(self) -> Schedule:
        """Shrink until nothing can be left out any more."""
        while True:
            before = self.best.scenario
            for doing, change in (
                ("fewer acts", self._acts),
                ("fewer machines", self._machines),
                ("fewer clients", self._clients),
                ("fewer mishaps", self._mishaps),
                ("usual settings", self._settings),
                ("less time", self._time),
                ("plainer acts", self._plainer),
            ):
                self._on_step(self.best, doing)
                change()
            if self.best.scenario == before:
                return self.best

    def _try(self, scenarios: Sequence[Scenario]) -> int | None:
        """Go on with the first of these that fails as wanted; return its position."""
        found = self._judge.first_failing([_replaced(self.best, scenario=scenario) for scenario in scenarios])
        if found is None:
            return None
        position, self.best = found
        return position

    def _acts(self) -> None:
        def try_acts(candidates: Sequence[tuple[Act, ...]]) -> int | None:
            return self._try([_replaced(self.best.scenario, acts=acts) for acts in candidates])

        shrink(_acts_of(self.best.scenario), try_acts)

    def _machines(self) -> None:
        scenario = self.best.scenario
        assert scenario.size is not None, "resolved"
        sizes = [size for size in (1, 2, 3) if size < scenario.size]
        self._try([_replaced(scenario, size=size, acts=fit_acts(_acts_of(scenario), size)) for size in sizes])

    def _clients(self) -> None:
        for field in (*CLIENTS, "keys"):
            fewest = int(field in ("clients", "keys"))
            while True:
                scenario = self.best.scenario
                workload = scenario.workload
                assert workload is not None, "resolved"
                count = getattr(workload, field)
                fewer = [value for value in sorted({fewest, count // 2, count - 1}) if fewest <= value < count]
                if self._try([_replaced(scenario, workload=_replaced(workload, **{field: n})) for n in fewer]) is None:
                    break

    def _mishaps(self) -> None:
        for field in CHANCES:
            scenario = self.best.scenario
            assert scenario.plan is not None, "resolved"
            if getattr(scenario.plan, field):
                self._try([_replaced(scenario, plan=_replaced(scenario.plan, **{field: 0.0}))])

    def _settings(self) -> None:
        """Set the nodes up as usual: all at once, or one setting after the other."""
        usual = Settings()
        settings = self.best.scenario.settings or usual
        if settings == usual or self._try([_replaced(self.best.scenario, settings=usual)]) is not None:
            return
        for field in Settings.__struct_fields__:
            settings = self.best.scenario.settings or usual
            plainer = _replaced(settings, **{field: getattr(usual, field)})
            if plainer != settings:
                self._try([_replaced(self.best.scenario, settings=plainer)])

    def _time(self) -> None:
        """Let the faults end earlier; then close the gaps between acts."""
        for share in (0.5, 0.75, 0.9):
            while (safety_s := round(self.best.scenario.safety_s * share, 2)) >= _SAFETY_S_MIN:
                if self._try([_ended(self.best.scenario, safety_s)]) is None:
                    break
        for number in range(len(_acts_of(self.best.scenario))):
            self._try(_closer(self.best.scenario, number))

    def _plainer(self) -> None:
        """Let cuts lose what they held, and write times with two digits; each act by itself."""
        for number, act in enumerate(_acts_of(self.best.scenario)):
            plain = _replaced(act, at_s=round(act.at_s, 2), for_s=round(act.for_s, 2))
            changed = [each for each in (_replaced(plain, hold=False), plain) if each != act]
            acts = _acts_of(self.best.scenario)
            self._try(
                [
                    _replaced(self.best.scenario, acts=(*acts[:number], each, *acts[number + 1 :]))
                    for each in dict.fromkeys(changed)
                ]
            )


def minimize(
    seed: int,
    scenario: Scenario,
    executor: Executor,
    *,
    runs_max: int = 1000,
    on_progress: Callable[[int, Schedule, str], None] = lambda _runs, _best, _doing: None,
) -> Minimized:
    """Shrink a failing run; `on_progress` hears of the runs so far, the best schedule and what is tried.

    Raises `ConfigError` if the run does not fail.
    """
    was = Schedule(seed=seed, scenario=_without_rates(resolve(seed, scenario)))
    with quiet():
        outcome = run_seed(seed, was.scenario)
    wanted = Failure.of(outcome)
    if wanted is None:
        raise ConfigError(f"seed {seed} does not fail: there is nothing to minimize")
    best, doing = was, "what comes after the failure"

    def tell(count: int) -> None:
        on_progress(count, best, doing)

    def on_step(schedule: Schedule, what: str) -> None:
        nonlocal best, doing
        best, doing = schedule, what
        tell(judge.count)

    judge = Runs(wanted, executor, runs_max, tell)
    if outcome.virtual_s < was.scenario.safety_s:
        ended = _replaced(_ended(was.scenario, round(outcome.virtual_s + _MARGIN_S, 2)), heal_s=_HEAL_S_NONE)
        found = judge.first_failing([_replaced(was, scenario=ended)])
        best = found[1] if found is not None else was
    best = Minimizer(best, judge, on_step).run()
    # Whoever repeats it without the fault needs the time to heal again.
    best = _replaced(best, scenario=_replaced(best.scenario, heal_s=was.scenario.heal_s))
    with quiet():
        outcome = run_seed(best.seed, best.scenario, keep_trace=True)
    best = _replaced(best, found=f"{outcome.check}: {outcome.error}")
    return Minimized(schedule=best, outcome=outcome, was=was, runs=judge.count, complete=not judge.exhausted)


def shrink(items: tuple[T, ...], first_failing: Callable[[Sequence[tuple[T, ...]]], int | None]) -> tuple[T, ...]:
    """Leave out as many items as possible, large portions first; in the end none can be left out by itself.

    `first_failing` gets lists in which something more is left out, and returns the position of one to go on with.
    """
    portion = len(items)
    while portion:
        start, shorter = 0, False
        while start < len(items):
            starts = range(start, len(items), portion)
            found = first_failing([items[:first] + items[first + portion :] for first in starts])
            if found is None:
                break
            start, shorter = starts[found], True
            items = items[:start] + items[start + portion :]
        if not shorter or portion > 1:
            portion //= 2
    return items


def fit_acts(acts: Sequence[Act], size: int) -> tuple[Act, ...]:
    """Return the acts that a cluster of `size` machines can have: what names others is left out or cut down."""
    names = names_of(size)
    kept = []
    for act in acts:
        ends = () if act.name == "late_snapshot" else (act.node, act.other)
        side = tuple(name for name in act.side if name in names)
        if all(end in ("", *names) for end in ends) and bool(side) == bool(act.side):
            kept.append(_replaced(act, side=side, each_s=act.each_s[:size]))
    return tuple(kept)


def _acts_of(scenario: Scenario) -> tuple[Act, ...]:
    assert scenario.acts is not None, "resolved"
    return scenario.acts


def _replaced(struct: S, **changes: object) -> S:
    return msgspec.structs.replace(struct, **changes)


def _without_rates(scenario: Scenario) -> Scenario:
    """Leave out the rates by which the acts were drawn: they are there, and the rates mean nothing any more."""
    assert scenario.plan is not None, "resolved"
    return _replaced(scenario, plan=_replaced(scenario.plan, **dict.fromkeys(ACTS, 0.0)))


def _ended(scenario: Scenario, safety_s: float) -> Scenario:
    """Let the faults end at `safety_s`."""
    acts = tuple(act for act in _acts_of(scenario) if act.at_s < safety_s)
    return _replaced(scenario, safety_s=safety_s, acts=acts)


def _closer(scenario: Scenario, number: int) -> list[Scenario]:
    """Let everything from an act on come earlier: right after the act before it, or by half of the gap."""
    acts = _acts_of(scenario)
    gap_s = acts[number].at_s - (acts[number - 1].at_s if number else 0.0)
    scenarios = []
    for earlier_s in (round(gap_s - _GAP_S, 6), round(gap_s / 2, 6)):
        if earlier_s > _GAP_S:
            moved = (_replaced(act, at_s=round(act.at_s - earlier_s, 6)) for act in acts[number:])
            safety_s = round(scenario.safety_s - earlier_s, 6)
            scenarios.append(_replaced(scenario, acts=(*acts[:number], *moved), safety_s=safety_s))
    return scenarios
