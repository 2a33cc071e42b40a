"""Many seeds, over processes or machines: what was done, what was reached, what failed.

Each seed is independent; results come back in any order and are summed. The first failures are kept with the command
that replays them.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from raftline.sim.coverage import FAULTS, SHARDED, counting, missing, missing_sharded
from raftline.sim.disk import PERSISTENCE_POINTS
from raftline.sim.executors import Executor, make_executor
from raftline.sim.quiet import quiet
from raftline.sim.run import Outcome, Scenario, run_seed
from raftline.sim.sharded.run import run_sharded_seed
from raftline.sim.sharded.scenario import ShardScenario

__all__ = ["Campaign", "Summary", "run_campaign"]

_FAILURES_KEPT = 20


class Summary(msgspec.Struct, kw_only=True):
    """What a campaign did."""

    is_sharded: bool = False
    """The runs are of the sharded store."""
    seeds: int = 0
    failed: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    events: int = 0
    committed: int = 0
    elections: int = 0
    operations: int = 0
    unknown: int = 0
    undecided: int = 0
    """Runs whose history was too hard to decide."""
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    points: Counter[str] = msgspec.field(default_factory=Counter)
    rows: Counter[str] = msgspec.field(default_factory=Counter)
    cases: Counter[str] = msgspec.field(default_factory=Counter)
    failures: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Sum one run up."""
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.cpu_s += outcome.cpu_s
        self.events += outcome.events
        self.committed += outcome.committed
        self.elections += outcome.elections
        self.operations += outcome.operations
        self.unknown += outcome.unknown
        self.undecided += outcome.undecided
        self.faults.update(outcome.faults)
        self.points.update(outcome.points)
        if outcome.error is not None:
            self.failed += 1
            if len(self.failures) < _FAILURES_KEPT:
                self.failures.append(outcome)

    @property
    def faults_injected(self) -> int:
        """How often the environment did something, a message that was lost counted like a machine that crashed."""
        return sum(self.faults[name] for name in dict.fromkeys((*FAULTS, *(SHARDED if self.is_sharded else ()))))

    def never_reached(self) -> tuple[list[str], list[str]]:
        """Return what no run reached: what a campaign of this size should have, and what takes a larger one."""
        if self.is_sharded:
            return missing_sharded(self.faults, self.seeds)
        return missing(self.rows, self.cases, self.points, self.faults, PERSISTENCE_POINTS, self.seeds)


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """Which seeds, how, over how many processes."""

    first: int
    stop: int
    scenario: Scenario | ShardScenario = Scenario()
    jobs: int = 1
    batch: int = 4

    def batches(self) -> Iterator[range]:
        """Yield the seeds in portions for one process each."""
        for start in range(self.first, self.stop, self.batch):
            yield range(start, min(start + self.batch, self.stop))


Batch = tuple[list[Outcome], Counter[str], Counter[str]]


def run_campaign(
    campaign: Campaign,
    on_outcome: Callable[[Outcome], None] | None = None,
    executor: Executor | None = None,
    summary: Summary | None = None,
) -> Summary:
    """Run every seed; `on_outcome` hears of each as it ends. Without `executor`, in processes of this machine.

    A `summary` that is given is filled run by run, so that something is left of a campaign that is interrupted.
    """
    summary = summary if summary is not None else Summary()
    summary.is_sharded = isinstance(campaign.scenario, ShardScenario)
    work = partial(run_batch, scenario=campaign.scenario)
    with executor or make_executor("processes", campaign.jobs) as workers:
        for outcomes, rows, cases in workers.run(work, campaign.batches()):
            summary.rows.update(rows)
            summary.cases.update(cases)
            for outcome in outcomes:
                summary.add(outcome)
                if on_outcome is not None:
                    on_outcome(outcome)
    return summary


def run_batch(seeds: range, scenario: Scenario | ShardScenario) -> Batch:
    """Run some seeds in this process."""
    with quiet(), counting() as reached:
        if isinstance(scenario, ShardScenario):
            outcomes = [run_sharded_seed(seed, scenario) for seed in seeds]
        else:
            outcomes = [run_seed(seed, scenario) for seed in seeds]
    return outcomes, reached.rows, reached.cases
