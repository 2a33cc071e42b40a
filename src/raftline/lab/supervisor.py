"""Runs jobs in worker processes and answers for them: a worker that dies or stops answering is a failed test.

Each worker runs under a warden, a process that ends whatever the code under test leaves behind.
Results come in the order of the jobs, however many workers run side by side.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import msgspec

from raftline.lab.catalogue import select
from raftline.lab.promises import BrokenPromise
from raftline.lab.result import TestResult, failure_of
from raftline.lab.run import TIME_LIMIT_S
from raftline.lab.warden import MARK, command_under
from raftline.lab.watchdog import LAST_WORDS, understand_last_words
from raftline.lab.worker import RESULTS_CLOSED, Job, Report

__all__ = ["WORKER", "run_jobs"]

WORKER = "raftline.lab.worker"
"""The module that a worker process runs."""

_LOOK_INTERVAL_S = 0.5
_ENDING_S_MAX = 7.0
"""How long a warden may take to end what the code under test started."""


def run_jobs(
    jobs: Sequence[Job],
    workers: int = 1,
    *,
    on_start: Callable[[Job], None] | None = None,
    command: Sequence[str] = (sys.executable, "-m", WORKER),
) -> Iterator[TestResult]:
    """Return each job's result, in order; `on_start(job)` is called first, if there is one worker.

    `command` starts a worker.
    """
    if workers == 1:
        worker = _Worker(command)
        try:
            for job in jobs:
                if on_start is not None:
                    on_start(job)
                yield worker.run(job)
        finally:
            worker.stop()
        return
    idle: SimpleQueue[_Worker] = SimpleQueue()
    pool = [_Worker(command) for _ in range(workers)]
    for worker in pool:
        idle.put(worker)

    def run(job: Job) -> TestResult:
        worker = idle.get()
        try:
            return worker.run(job)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(workers) as executor:
        try:
            futures: deque[Future[TestResult]] = deque(executor.submit(run, job) for job in jobs)
            while futures:
                yield futures.popleft().result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for worker in pool:
                worker.stop()


class _Worker:
    """One process, started when it is needed first and again after it failed."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, job: Job) -> TestResult:
        """Run one job; whatever becomes of the process is a result."""
        process = self._process or self._start()
        assert process.stdin is not None, "both are pipes"
        assert process.stdout is not None, "both are pipes"
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
            line = _read_line(process, TIME_LIMIT_S)
        except BrokenPipeError:
            line = b""
        if line is not None and line.startswith(LAST_WORDS):
            line += _read_rest(process)
        report = _decode(line, job)
        if report is None or report.last:
            self.stop()
        if report is not None:
            return report.result
        return _failed(job, _cause(line, process.returncode))

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                process.terminate()
            try:
                process.wait(timeout=_ENDING_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        command = command_under(list(self._command))
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)  # noqa: S603  ourselves
        return self._process


def _decode(line: bytes | None, job: Job) -> Report | None:
    """Return what a worker reported of a job, None if that is no report, or not of this job."""
    try:
        report = msgspec.json.decode(line or b"", type=Report)
    except (msgspec.MsgspecError, ValueError):
        return None
    return report if (report.result.title, report.result.seed) == (job.title, job.seed) else None


def _cause(line: bytes | None, code: int | None) -> BrokenPromise:
    """Return why a worker gave no result, from what it or its warden wrote last and the exit code it ended with."""
    if line is None:
        seen = f"the test did not end within {TIME_LIMIT_S:.0f} s and swallowed every interruption"
        return BrokenPromise("time", seen)
    if line.startswith(MARK):
        return BrokenPromise("alone", line.removeprefix(MARK).decode(errors="replace").strip())
    if (seen := understand_last_words(line) or "") != "":
        return BrokenPromise("returns", seen)
    if line.endswith(b"\n"):
        return BrokenPromise("undisturbed", "the code wrote into the pipe that results go through")
    assert code is not None, "it was waited for"
    if code == RESULTS_CLOSED:
        seen = "the code closed file descriptors that it had not opened, that of the results among them"
        return BrokenPromise("undisturbed", seen)
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return BrokenPromise("alive", f"the process that ran the test ended {how}")


def _read_line(process: "subprocess.Popen[bytes]", limit_s: float) -> bytes | None:
    """Return the next line, what there is of it if the process ended, None after `limit_s`."""
    assert process.stdout is not None, "a pipe"
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + limit_s
    line = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(_LOOK_INTERVAL_S):
                if time.monotonic() > deadline:
                    return None
                if process.poll() is not None:
                    break  # a copy of it may hold the pipe open
                continue
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                break
            line += piece
    return bytes(line)


def _read_rest(process: "subprocess.Popen[bytes]") -> bytes:
    """Return what a process that is about to end still writes."""
    rest = b""
    while piece := _read_line(process, _ENDING_S_MAX):
        rest += piece
    return rest


def _failed(job: Job, broken: BrokenPromise) -> TestResult:
    test = next(test for test in select([]) if test.title == job.title)
    return TestResult(
        part=test.part,
        title=test.title,
        seed=job.seed,
        virtual=job.virtual,
        passed=False,
        failure=failure_of(broken, 0.0),
    )
