"""The process that runs tests: jobs come in on standard input, results go out on standard output, one JSON a line.

Code under test may do anything in here; whoever started the process notices when it ends or stops answering. What
that code prints goes to standard error, so that it never gets between the results.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from raftline.lab.catalogue import select
from raftline.lab.hints import remember_unawaited, suspicious_lines
from raftline.lab.loader import load_make
from raftline.lab.promises import BrokenPromise
from raftline.lab.result import TestResult, failure_of
from raftline.lab.run import run_test
from raftline.lab.tests.case import LabTest
from raftline.lab.trace import Trace

__all__ = ["Job", "Report", "main", "run_job"]

_MEMORY_BYTES_MAX = 3 << 30


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one test."""

    title: str
    seed: int
    virtual: bool
    implementation: str
    traces: str | None = None
    """The folder that traces of failed runs go to; None: nowhere."""


class Report(msgspec.Struct, frozen=True):
    """What a worker answers to a job."""

    result: TestResult
    last: bool = False
    """The process ends itself: its main thread is lost to code that swallows every interruption."""


def main() -> None:
    """Serve jobs until standard input ends."""
    jobs, results = _take_over_pipes()
    _limit_memory()
    myself = os.getpid()
    makes: dict[str, Callable[..., Any] | BrokenPromise] = {}

    def give_up(result: TestResult) -> None:
        results.write(msgspec.json.encode(Report(result, last=True)) + b"\n")
        os._exit(1)

    for line in jobs:
        result = run_job(msgspec.json.decode(line, type=Job), makes, give_up)
        if os.getpid() != myself:
            os._exit(0)  # a copy that the code under test made by fork
        results.write(msgspec.json.encode(Report(result)) + b"\n")


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for jobs and results; what code under test reads is empty, what it prints is standard error."""
    jobs, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return jobs, results


def run_job(
    job: Job,
    makes: dict[str, Callable[..., Any] | BrokenPromise],
    give_up: Callable[[TestResult], None] = lambda _result: None,
) -> TestResult:
    """Run one job; `makes` remembers implementations that were loaded before, `give_up` is for `run_test`."""
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
    with remember_unawaited() as hints:
        result, trace = run_test(test, make, job.seed, virtual=job.virtual, give_up=give_up)
    if result.failure is None:
        return result
    also = [*result.failure.also, *hints, *(suspicious_lines(make) if job.virtual else ())]
    failure = msgspec.structs.replace(result.failure, also=also)
    if job.traces is not None:
        path = _write_trace(Path(job.traces), test, job, result, trace)
        failure = msgspec.structs.replace(failure, trace=str(path))
    return msgspec.structs.replace(result, failure=failure)


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
