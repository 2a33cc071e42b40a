"""`raftline lab 3A 3B 4A 4B`: the service labs, on our own store and shard controller, on virtual time."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import msgspec

from raftline.cli.output import say
from raftline.lab.loader import OURS
from raftline.lab.report import failure_lines, first_line, passed_line, replay_command, summary_lines
from raftline.lab.result import TestResult
from raftline.lab.services.case import ServiceTest, ShardedTest
from raftline.lab.services.catalogue import SERVICE_TESTS
from raftline.lab.services.run import run_service_test
from raftline.sim.quiet import quiet
from raftline.sim.trace import Trace

__all__ = ["run_service_labs"]


def run_service_labs(
    tests: Sequence[ServiceTest | ShardedTest], seeds: Sequence[int], jobs: int, traces: Path, *, as_json: bool
) -> bool:
    """Run each test with each seed, tell what came of it, and return whether all passed."""
    todo = [(test.title, seed) for seed in seeds for test in tests]
    began = time.monotonic()
    results: list[TestResult] = []
    for result in _results(todo, min(jobs, len(todo)), str(traces)):
        results.append(result)
        if not as_json:
            _tell(result)
    if as_json:
        passed = all(result.passed for result in results)
        say(json.dumps({"passed": passed, "tests": [msgspec.to_builtins(result) for result in results]}, indent=2))
    else:
        say("")
        for line in summary_lines(results, time.monotonic() - began):
            say(line)
    return all(result.passed for result in results)


def _results(todo: Sequence[tuple[str, int]], jobs: int, traces: str) -> Iterator[TestResult]:
    run = partial(_run_one, traces=traces)
    if jobs == 1:
        yield from map(run, todo)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as processes:
        yield from processes.map(run, todo)


def _run_one(job: tuple[str, int], traces: str) -> TestResult:
    """Run one test; a failure is run again, which comes to the same, to write its trace down."""
    title, seed = job
    test = next(test for test in SERVICE_TESTS if test.title == title)
    with quiet():
        result = run_service_test(test, seed)
        if result.failure is None:
            return result
        trace = Trace(keep=True)
        again = run_service_test(test, seed, trace=trace)
    assert again.failure is not None, "the seed fixes everything"
    path = Path(traces) / f"{test.part}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}-seed{seed}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [f"# Test ({test.part}): {title}, seed {seed}", f"# seen: {again.failure.seen}"]
    path.write_text("\n".join([*head, *trace.lines]) + "\n", encoding="utf-8", errors="backslashreplace")
    return msgspec.structs.replace(again, failure=msgspec.structs.replace(again.failure, trace=str(path)))


def _tell(result: TestResult) -> None:
    say(first_line(result.part, result.title))
    if result.passed and result.numbers is not None:
        say(passed_line(result.numbers))
    else:
        for line in failure_lines(result, replay_command(result, OURS)):
            say(line)
