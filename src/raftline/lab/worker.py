"""The process that runs tests: jobs come in on standard input, results go out on standard output, one JSON a line.

Code under test may do anything in here; whoever started the process notices when it ends or stops answering. What
that code prints goes to standard error, so that it never gets between the results.
"""

import gc
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from raftline.lab.catalogue import select
from raftline.lab.guard import replaced
from raftline.lab.hints import remember_unawaited, suspicious_lines
from raftline.lab.loader import load_make
from raftline.lab.promises import BrokenPromise
from raftline.lab.result import TestResult, failure_of
from raftline.lab.run import run_test
from raftline.lab.tests.case import LabTest
from raftline.lab.trace import Trace
from raftline.lab.watchdog import Interrupted, watch_progress

__all__ = ["RESULTS_CLOSED", "Job", "Report", "main", "run_job"]

RESULTS_CLOSED = 97
"""The exit code of a worker that has nowhere to write its result to."""

_MEMORY_BYTES_MAX = 3 << 30
_LOADING_S_MAX = 20.0


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

    home = Path.cwd()

    def answer(result: TestResult, *, last: bool = False) -> None:
        if os.getpid() != myself:
            os._exit(0)  # a copy that the code under test made by fork
        try:
            results.write(msgspec.json.encode(Report(result, last=last)) + b"\n")
        except OSError:
            os._exit(RESULTS_CLOSED)
        if last:
            os._exit(1)

    for line in jobs:
        os.chdir(home)  # relative paths mean the same in every job, wherever the code under test went
        result = run_job(msgspec.json.decode(line, type=Job), makes, lambda result: answer(result, last=True), results)
        answer(result, last=threading.active_count() > 1 or bool(replaced()))


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
    last_words: BinaryIO | None = None,
) -> TestResult:
    """Run one job; `makes` remembers implementations that were loaded before, the rest is for `run_test`."""
    test = next(test for test in select([]) if test.title == job.title)
    traces = None if job.traces is None else Path(job.traces).absolute()
    make = makes.get(job.implementation)
    if make is None:
        make = makes[job.implementation] = _load(job.implementation, last_words)
    if isinstance(make, BrokenPromise):
        failure = failure_of(make, 0.0)
        return TestResult(
            part=test.part, title=test.title, seed=job.seed, virtual=job.virtual, passed=False, failure=failure
        )
    with remember_unawaited() as hints:
        result, trace = run_test(test, make, job.seed, virtual=job.virtual, give_up=give_up, last_words=last_words)
    if result.failure is None:
        return result
    gc.collect()  # what the failed code held may be in cycles, and fill the memory that the next test needs
    also = [*result.failure.also, *hints, *(suspicious_lines(make) if job.virtual else ())]
    failure = msgspec.structs.replace(result.failure, also=also)
    if traces is not None and job.traces is not None:
        path = _write_trace(traces, test, job, result, trace)
        failure = msgspec.structs.replace(failure, trace=str(Path(job.traces) / path.name))
    return msgspec.structs.replace(result, failure=failure)


def _load(implementation: str, last_words: BinaryIO | None) -> Callable[..., Any] | BrokenPromise:
    """Return an implementation's `make`, or what is wrong with it; importing it may take as long as any step."""
    stuck: list[str] = []
    try:
        with watch_progress(
            lambda: 0,
            lambda _name, seen: stuck.append(seen),
            stuck_s=_LOADING_S_MAX,
            limit_s=2 * _LOADING_S_MAX,
            last_words=last_words,
        ):
            return load_make(implementation)
    except BrokenPromise as broken:
        return broken
    except Interrupted:
        return BrokenPromise("loads", f"{implementation}: {stuck[0]}")
    except (SystemExit, KeyboardInterrupt) as error:
        return BrokenPromise("loads", f"{implementation} ended the program when it was imported: {error!r}")


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
