"""`raftline lab`: the tests of MIT's labs 2A to 2D, on our core or on anybody's Raft in Python."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from raftline.cli.lab_mutants import run_lab_mutants
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
from raftline.lab.supervisor import run_jobs
from raftline.lab.tests.case import LabTest
from raftline.lab.worker import Job

__all__ = ["lab"]

_BAD_INPUT = 2

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[2A 2B 2C 2D | NAME]...",
        help="Parts, or titles of tests; all if none. With --mutants: names, rules (A11) or sections (A).",
    ),
]
Implementation = Annotated[
    str, typer.Option("-i", "--implementation", metavar="MODULE:MAKE", help="Whose Raft; a file will do, too.")
]
RealTime = Annotated[bool, typer.Option("--real-time", help="On the real clock, which takes as long as it says.")]
Seed = Annotated[int, typer.Option(help="The first seed; it fixes everything on virtual time.")]
Runs = Annotated[int, typer.Option(min=1, help="Seeds to run each test with, counted on from --seed.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Tests side by side. [default: 1; with --real-time as many as there are processors, to 4]"
    ),
]
Traces = Annotated[Path, typer.Option(help="Where traces of failed tests are written.")]
Mutants = Annotated[
    bool, typer.Option("--mutants", help="Run our own core with one wrong line at a time, until a test notices.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of words.")]


def lab(
    names: Names = None,
    *,
    implementation: Implementation = OURS,
    real_time: RealTime = False,
    seed: Seed = 0,
    runs: Runs = 1,
    jobs: Jobs = None,
    traces: Traces = Path("artifacts/lab"),
    mutants: Mutants = False,
    as_json: AsJson = False,
) -> None:
    """Run the tests of labs 2A to 2D: yours with --implementation my_raft.py, the library's own without.

    A failure says which promise was broken, where, and which rules to look at. Exit code 0: all passed; 1: some
    failed; 2: no such test. With --mutants, 1: a mutant passed that is not known as one that nothing can notice.
    """
    if mutants:
        if implementation != OURS or real_time:
            complain("raftline lab: --mutants are of our own core, on virtual time")
            raise typer.Exit(_BAD_INPUT)
        raise typer.Exit(run_lab_mutants(names or (), range(seed, seed + runs), jobs or 1, as_json=as_json))
    try:
        tests = select(names or [])
    except ConfigError as error:
        complain(f"raftline lab: {error}")
        raise typer.Exit(_BAD_INPUT) from None
    todo = [
        Job(title=test.title, seed=n, virtual=not real_time, implementation=implementation, traces=str(traces))
        for n in range(seed, seed + runs)
        for test in tests
    ]
    workers = jobs or (min(4, os.cpu_count() or 1) if real_time else 1)
    results = _run(todo, min(workers, len(todo)), tests, quiet=as_json)
    if as_json:
        say(_as_json(results, implementation))
    raise typer.Exit(0 if all(result.passed for result in results) else 1)


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
