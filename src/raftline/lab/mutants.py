"""Our own core with one wrong line at a time, under the lab's tests: which of the simulator's mutants they notice.

A mutant runs in worker processes in which the simulator's import hook compiles the patched source. It is tried test by
test, seed by seed, until a test fails. Those that no test of this kind can see are listed here, each with its reason.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import msgspec

from raftline.lab.catalogue import TESTS
from raftline.lab.loader import OURS
from raftline.lab.result import TestResult
from raftline.lab.supervisor import WORKER, run_jobs
from raftline.lab.worker import Job
from raftline.sim.mutants.catalogue import select
from raftline.sim.mutants.mutant import Mutant
from raftline.sim.mutants.runner import process_command

__all__ = ["LabVerdict", "in_scope", "run_mutants"]

_PATCHED = "raftline.core."
"""What the lab runs of the production code."""


class LabVerdict(msgspec.Struct, kw_only=True):
    """What became of a mutant."""

    mutant: str
    rules: tuple[str, ...]
    runs: int = 0
    """Tests run, the one that failed included."""
    failed: TestResult | None = None
    """The run that noticed, None if none did."""


def in_scope(words: Sequence[str] = ()) -> list[Mutant]:
    """Return the mutants of the core meant by names, rules or sections; raise `ConfigError` for a word without any."""
    return [mutant for mutant in select(words) if any(module.startswith(_PATCHED) for module in mutant.modules())]


def run_mutants(mutants: Sequence[Mutant], seeds: range, workers: int = 1) -> Iterator[LabVerdict]:
    """Run each mutant until a test fails, `workers` side by side; yield what became of it, in the order they end."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_run_one, mutant, seeds) for mutant in mutants]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_one(mutant: Mutant, seeds: range) -> LabVerdict:
    verdict = LabVerdict(mutant=mutant.name, rules=mutant.rules)
    jobs = [Job(title=test.title, seed=seed, virtual=True, implementation=OURS) for seed in seeds for test in TESTS]
    results = run_jobs(jobs, command=process_command(mutant.name, WORKER))
    for result in results:
        verdict.runs += 1
        if not result.passed:
            verdict.failed = result
            break
    return verdict
