"""`raftline lab`: the tests of MIT's labs 2A to 2D, on our core or on anybody's Raft in Python; 3A to 4B on ours."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from raftline.cli.lab_mutants import run_lab_mutants
from raftline.cli.lab_services import run_service_labs
from raftline.cli.output import complain, say
from raftline.errors import ConfigError
from raftline.lab.catalogue import select
from raftline.lab.loader import OURS
from raftline.lab.report import (
    failure_lines,
    first_line,
    passed_line,
    replay_command,
    summary_lines,
    table_lines,
)
from raftline.lab.result import TestResult
from raftline.lab.services.catalogue import find_services
from raftline.lab.supervisor import run_jobs
from raftline.lab.tests.case import LabTest
from raftline.lab.worker import Job

__all__ = ["run_lab"]

_BAD_INPUT = 2


def run_lab(
    names: Sequence[str],
    *,
    implementation: str | None,
    real_time: bool,
    seeds: range,
    jobs: int | None,
    traces: Path,
    mutants: bool,
    as_json: bool,
) -> int:
    """Do what the options of `raftline lab` say; return the exit code."""
    implementation = implementation or OURS
    if mutants:
        if implementation != OURS or real_time:
            complain("raftline lab: --mutants are of our own core, on virtual time")
            return _BAD_INPUT
        return run_lab_mutants(names, seeds, jobs or 1, as_json=as_json)
    if services := [test for name in names for test in find_services(name)]:
        if implementation != OURS or real_time or not all(map(find_services, names)):
            complain("raftline lab: 3A to 4B run our own services on virtual time, apart from other tests")
            return _BAD_INPUT
        return 0 if run_service_labs(services, seeds, jobs or 1, traces, as_json=as_json) else 1
    try:
        tests = select(names)
    except ConfigError as error:
        complain(f"raftline lab: {error}")
        return _BAD_INPUT
    todo = [
        Job(title=test.title, seed=n, virtual=not real_time, implementation=implementation, traces=str(traces))
        for n in seeds
        for test in tests
    ]
    workers = jobs or (min(4, os.cpu_count() or 1) if real_time else 1)
    results = _run(todo, min(workers, len(todo)), tests, quiet=as_json)
    if as_json:
        say(_as_json(results, implementation))
    return 0 if all(result.passed for result in results) else 1


def _run(todo: list[Job], workers: int, tests: tuple[LabTest, ...], *, quiet: bool) -> list[TestResult]:
    parts = {test.title: test.part for test in tests}
    results: list[TestResult] = []
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that workers are ended, too

    def announce(job: Job) -> None:
        if not quiet:
            say(first_line(parts[job.title], job.title))

    for job, result in zip(todo, run_jobs(todo, workers, on_start=announce), strict=True):
        results.append(result)
        if workers > 1:
            announce(job)
        if not quiet:
            _tell(result, job)
    if not quiet:
        say("")
        if any(result.numbers is not None for result in results):
            for line in table_lines(results):
                say(line)
            say("")
        for line in summary_lines(results, time.monotonic() - began):
            say(line)
    sys.stdout.flush()
    return results


def _tell(result: TestResult, job: Job) -> None:
    if result.passed and result.numbers is not None:
        say(passed_line(result.numbers))
    elif not result.passed:
        for line in failure_lines(result, replay_command(result, job.implementation)):
            say(line)


def _as_json(results: list[TestResult], implementation: str) -> str:
    document = {
        "implementation": implementation,
        "passed": all(result.passed for result in results),
        "tests": [msgspec.to_builtins(result) for result in results],
    }
    return json.dumps(document, indent=2)
