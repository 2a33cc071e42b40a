"""The process that runs tests: jobs come in on standard input, results go out on standard output, one JSON a line.

Code under test may do anything in here; whoever started the process notices when it ends or stops answering. What
that code prints goes to standard error, so that it never gets between the results.
"""

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from raftline.lab.catalogue import select
from raftline.lab.loader import load_make
from raftline.lab.promises import BrokenPromise
from raftline.lab.result import TestResult, failure_of
from raftline.lab.run import run_test
from raftline.lab.tests.case import LabTest
from raftline.lab.trace import Trace

__all__ = ["Job", "main", "run_job"]

_MEMORY_BYTES_MAX = 3 << 30


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one test."""

    title: str
    seed: int
    virtual: bool
    implementation: str
    traces: str | None = None
    """The folder that traces of failed runs go to; None: nowhere."""


def main() -> None:
    """Serve jobs until standard input ends."""
    results = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    _limit_memory()
    makes: dict[str, Callable[..., Any] | BrokenPromise] = {}
    for line in sys.stdin.buffer:
        job = msgspec.json.decode(line, type=Job)
        results.write(msgspec.json.encode(run_job(job, makes)) + b"\n")


def run_job(job: Job, makes: dict[str, Callable[..., Any] | BrokenPromise]) -> TestResult:
    """Run one job; `makes` remembers implementations that were loaded before."""
    test = next(test for test in select([]) if test.title == job.title)
    make = makes.get(job.implementation)
    if make is None:
        try:
            make = load_make(job.implementation)
        except BrokenPromise as broken:
            make = broken
        makes[job.implementation] = make
    if isinstance(make, BrokenPromise):
        failure = failure_of(make, 0.0)
        return TestResult(
            part=test.part, title=test.title, seed=job.seed, virtual=job.virtual, passed=False, failure=failure
        )
    result, trace = run_test(test, make, job.seed, virtual=job.virtual)
    if result.failure is None or job.traces is None:
        return result
    path = _write_trace(Path(job.traces), test, job, result, trace)
    return msgspec.structs.replace(result, failure=msgspec.structs.replace(result.failure, trace=str(path)))


def _write_trace(folder: Path, test: LabTest, job: Job, result: TestResult, trace: Trace) -> Path:
    assert result.failure is not None, "only failures are written down"
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", test.title.lower()).strip("-")
    path = folder / f"{test.part}-{slug}-seed{job.seed}.txt"
    head = [
        f"# Test ({test.part}): {test.title}, seed {job.seed}, of {job.implementation}",
        f"# promise: {result.failure.promise}",
        f"# seen: {result.failure.seen}",
        "# columns: time in seconds; per server L leads, f does not, its term, ! disconnected, -- down; the event",
    ]
    path.write_text("\n".join([*head, *trace.lines()]) + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  not on every platform

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))


if __name__ == "__main__":
    main()
