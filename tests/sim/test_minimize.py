"""Shrinking a failing run: what is left out, what is kept, and what it costs."""

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.errors import ConfigError
from raftline.sim import minimize as minimizing
from raftline.sim.acts import ACTS, Act, NemesisPlan
from raftline.sim.executors import InProcess
from raftline.sim.minimize import CLIENTS, Failure, Minimizer, Runs, fit_acts, minimize, shrink
from raftline.sim.mutants.runner import process_command
from raftline.sim.scenario import Outcome, Scenario, Schedule, Settings, resolve

T = TypeVar("T")
R = TypeVar("R")


def schedule_of(*acts: Act, seed: int = 7, size: int = 5, plan: NemesisPlan | None = None) -> Schedule:
    """Return a schedule with these acts and nothing open."""
    scenario = Scenario(size=size, plan=plan or NemesisPlan(), acts=acts)
    return Schedule(seed=seed, scenario=resolve(seed, scenario))


def kill(at_s: float, node: str = "n1") -> Act:
    """Return an act."""
    return Act(at_s=at_s, name="kill_machine", node=node, for_s=1.23456)


class Predicate:
    """A judge that asks a function instead of running anything."""

    def __init__(self, fails: Callable[[Schedule], bool]) -> None:
        self.asked = 0
        self._fails = fails

    def first_failing(self, candidates: Sequence[Schedule]) -> tuple[int, Schedule] | None:
        """Return the first that fails."""
        for position, candidate in enumerate(candidates):
            self.asked += 1
            if self._fails(candidate):
                return position, candidate
        return None


def minimized(schedule: Schedule, fails: Callable[[Scenario], bool]) -> Scenario:
    """Shrink by a predicate, which holds of the schedule itself."""
    assert fails(schedule.scenario)
    judge = Predicate(lambda candidate: fails(candidate.scenario))
    return Minimizer(schedule, judge, lambda _schedule, _doing: None).run().scenario


def has(scenario: Scenario, *names: str) -> bool:
    """Say whether a scenario has acts of all these names."""
    return set(names) <= {act.name for act in scenario.acts or ()}


@given(st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(0, n - 1)), max_size=4))))
def test_exactly_what_is_needed_is_left(case: tuple[int, set[int]]) -> None:
    """Whatever items a failure needs together: they are found, in their order, and nothing else."""
    count, needed = case
    needed = {number for number in needed if number < count}
    left = shrink(
        tuple(range(count)),
        lambda lists: next((place for place, items in enumerate(lists) if needed <= set(items)), None),
    )
    assert left == tuple(sorted(needed))


def test_few_tries_find_few_items() -> None:
    """Large portions go first: of a thousand items, those that matter are found in some dozens of tries."""
    tries = 0

    def first_failing(lists: Sequence[tuple[int, ...]]) -> int | None:
        nonlocal tries
        for place, items in enumerate(lists):
            tries += 1
            if 500 in items:
                return place
        return None

    assert shrink(tuple(range(1000)), first_failing) == (500,)
    assert tries < 50


def test_acts_that_do_not_matter_go() -> None:
    """What the failure does not need is left out, however it is spread."""
    noise = [Act(at_s=float(n), name="pause", node="n2", for_s=1.0) for n in range(1, 30)]
    acts = sorted([*noise, kill(9.5), Act(at_s=20.5, name="kill_leader")], key=lambda act: act.at_s)
    left = minimized(schedule_of(*acts), lambda scenario: has(scenario, "kill_machine", "kill_leader"))
    assert [act.name for act in left.acts or ()] == ["kill_machine", "kill_leader"]


def test_everything_else_is_made_small_too() -> None:
    """Machines, clients, keys, mishaps and time shrink to what the failure needs."""
    schedule = schedule_of(kill(14.0, "n3"), plan=NemesisPlan(loss=0.1, reorder=0.2))

    def fails(scenario: Scenario) -> bool:
        assert scenario.plan is not None
        assert scenario.workload is not None
        return has(scenario, "kill_machine") and scenario.plan.loss > 0 and scenario.workload.clients >= 3

    left = minimized(schedule, fails)
    assert left.size == 3
    assert left.workload is not None
    assert {field: getattr(left.workload, field) for field in CLIENTS} == {**dict.fromkeys(CLIENTS, 0), "clients": 3}
    assert left.workload.keys == 1
    assert left.plan == NemesisPlan(loss=0.1)
    assert left.safety_s < 2.0
    (act,) = left.acts or ()
    assert act.at_s < 1.0


def test_settings_become_usual() -> None:
    """What the failure does not need of a strange setup is set up as usual."""
    schedule = schedule_of(kill(1.0))
    strange = Settings(pace=1.7, append_entries_max=1, inflight_messages_max=1)
    schedule = msgspec.structs.replace(schedule, scenario=msgspec.structs.replace(schedule.scenario, settings=strange))

    def fails(scenario: Scenario) -> bool:
        return scenario.settings is not None and scenario.settings.append_entries_max == 1

    assert minimized(schedule, fails).settings == Settings(append_entries_max=1)
    assert minimized(schedule, lambda _scenario: True).settings == Settings()


def test_acts_become_plainer() -> None:
    """A cut loses what it held if that will do, and times get two digits."""
    act = Act(at_s=0.123456, name="isolate_leader", hold=True, for_s=0.987654)
    left = minimized(schedule_of(act), lambda scenario: has(scenario, "isolate_leader"))
    assert left.acts == (Act(at_s=0.12, name="isolate_leader", for_s=0.99),)
    left = minimized(schedule_of(act), lambda scenario: any(act.hold for act in scenario.acts or ()))
    assert left.acts == (Act(at_s=0.12, name="isolate_leader", hold=True, for_s=0.99),)


def test_acts_fit_a_smaller_cluster() -> None:
    """Acts on machines that are gone go with them, sides and lists of times are cut down."""
    acts = (
        kill(1.0, "n4"),
        kill(2.0, "n2"),
        Act(at_s=3.0, name="one_way_cut", node="n1", other="n5"),
        Act(at_s=4.0, name="partition", side=("n2", "n4")),
        Act(at_s=5.0, name="partition", side=("n4", "n5")),
        Act(at_s=6.0, name="kill_all", each_s=(1.0, 2.0, 3.0, 4.0, 5.0)),
        Act(at_s=7.0, name="late_snapshot", node="source"),
    )
    assert fit_acts(acts, 3) == (
        kill(2.0, "n2"),
        Act(at_s=4.0, name="partition", side=("n2",)),
        Act(at_s=6.0, name="kill_all", each_s=(1.0, 2.0, 3.0)),
        Act(at_s=7.0, name="late_snapshot", node="source"),
    )


class Table:
    """An executor that looks results up by seed instead of running anything, and remembers the seeds."""

    def __init__(self, failing_seeds: set[int], workers: int = 1) -> None:
        self.workers = workers
        self.seeds: list[int] = []
        self._failing = failing_seeds

    def run(self, function: Callable[[T], R], work: Iterable[T]) -> Iterator[R]:
        """Yield (key, failure) as the real function does."""
        assert function is minimizing._try_schedule
        for piece in work:
            key, schedule = cast("tuple[bytes, Schedule]", piece)
            self.seeds.append(schedule.seed)
            yield cast("R", (key, Failure("E", "f", "w") if schedule.seed in self._failing else None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def runs_on(table: Table, runs_max: int = 100) -> Runs:
    """Return a judge that uses this table."""
    return Runs(Failure("E", "f", "w"), table, runs_max, lambda _count: None)


def test_a_candidate_gets_a_few_seeds() -> None:
    """What was left out shifts the rest: another seed may fail where the first one does not."""
    table = Table({8})
    found = runs_on(table).first_failing([schedule_of(seed=7)])
    assert found is not None
    assert (found[0], found[1].seed) == (0, 8)
    assert table.seeds == [7, 8]


def test_the_first_candidate_that_fails_is_taken() -> None:
    """Candidates are tried in their order; the position of the chosen one is told."""
    table = Table({20})
    found = runs_on(table).first_failing([schedule_of(seed=10), schedule_of(seed=20), schedule_of(seed=30)])
    assert found is not None
    assert found[0] == 1
    assert 30 not in table.seeds


def test_several_workers_are_kept_busy_and_agree_with_one() -> None:
    """As many candidates as workers run at a time; still the first one counts."""
    candidates = [schedule_of(seed=10), schedule_of(seed=20), schedule_of(seed=30)]
    table = Table({20, 21, 30}, workers=4)
    found = runs_on(table).first_failing(candidates)
    assert found is not None
    assert (found[0], found[1].seed) == (1, 20)
    assert table.seeds == [10, 11, 12, 20]


def test_nothing_runs_twice_and_runs_are_limited() -> None:
    """A schedule whose outcome is known costs nothing; after the last allowed run nothing is tried any more."""
    table = Table(set())
    runs = runs_on(table, runs_max=4)
    assert runs.first_failing([schedule_of(seed=1)]) is None
    assert runs.first_failing([schedule_of(seed=1)]) is None
    assert runs.count == 3
    assert not runs.exhausted
    assert runs.first_failing([schedule_of(seed=50)]) is None
    assert runs.exhausted
    assert table.seeds == [1, 2, 3, 50]


def test_failures_are_told_apart_by_check_place_and_words() -> None:
    """Other names and numbers make the same failure; another check, place or promise another one; no error is none."""

    def failure(error: str, check: str = "SafetyViolation", where: str = "sim.checkers.f") -> Failure | None:
        return Failure.of(Outcome(seed=1, error=error, check=check, where=where))

    first = failure("n1: takes n2 for matching up to 17, 12 is on its disk")
    assert first == failure("n3: takes n1 for matching up to 4, 3 is on its disk")
    others = (
        failure("n1: takes n2 for matching up to 17, 12 is on its disk", where="sim.checkers.g"),
        failure("n1: takes n2 for matching up to 17, 12 is on its disk", check="LivenessViolation"),
        failure("n1: leads term 3, which n2 led"),
        Failure.of(Outcome(seed=1)),
    )
    assert first is not None
    assert first not in others
    assert others[-1] is None


def test_a_seed_that_does_not_fail_is_refused() -> None:
    """There is nothing to shrink in a run that kept every promise."""
    with pytest.raises(ConfigError, match="seed 3 does not fail"):
        minimize(3, Scenario(size=3, safety_s=1.0, heal_s=6.0), InProcess())


def _raftline(mutant: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = process_command(mutant, "raftline.cli.main", "sim", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_a_mutant_is_shrunk_to_what_shows_it(tmp_path: Path) -> None:
    """A vote kept in a higher term: a crash or two are left, they fail again, and not once the code is right (A8)."""
    mutant = "higher_term_keeps_the_vote"
    trials = subprocess.run(
        process_command(mutant, "raftline.sim.mutants.trial", "cluster", "0", "50"),
        capture_output=True,
        text=True,
        check=True,
    )
    seed = json.loads(trials.stdout.splitlines()[-1])["seed"]
    shrunk = _raftline(mutant, "--minimize", "--seed", str(seed), "--json", "--artifacts", str(tmp_path))
    assert shrunk.returncode == 1, shrunk.stderr
    found = json.loads(shrunk.stdout)
    assert found["complete"]
    scenario = msgspec.convert(found["schedule"]["scenario"], Scenario)
    assert len(scenario.acts or ()) < len(found["was"]["scenario"]["acts"])
    assert len(scenario.acts or ()) <= 2
    assert scenario.workload is not None
    assert (scenario.size or 0) <= 3
    assert scenario.workload.clients == 1
    assert not any(getattr(scenario.plan, name) for name in ACTS)

    path = str(tmp_path / f"seed-{seed}.schedule.json")
    again = _raftline(mutant, "--schedule", path, "--json", "--artifacts", str(tmp_path))
    assert again.returncode == 1, again.stderr
    outcome = json.loads(again.stdout)
    assert outcome["error"] in found["schedule"]["found"]
    right = _raftline("none", "--schedule", path, "--artifacts", str(tmp_path))
    assert right.returncode == 0, right.stdout
