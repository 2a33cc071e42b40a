"""Runs jobs in worker processes and answers for them: a worker that dies or stops answering is a failed test.

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
from raftline.lab.worker import Job

__all__ = ["run_jobs"]

_GRACE_S = 20.0
"""What a worker that interrupts a test by itself may need on top of the time limit."""


def run_jobs(
    jobs: Sequence[Job], workers: int = 1, *, on_start: Callable[[Job], None] | None = None
) -> Iterator[TestResult]:
    """Return each job's result, in order; `on_start(job)` is called first, if there is one worker."""
    if workers == 1:
        worker = _Worker()
        try:
            for job in jobs:
                if on_start is not None:
                    on_start(job)
                yield worker.run(job)
        finally:
            worker.stop()
        return
    idle: SimpleQueue[_Worker] = SimpleQueue()
    pool = [_Worker() for _ in range(workers)]
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

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, job: Job) -> TestResult:
        """Run one job; whatever becomes of the process is a result."""
        process = self._process or self._start()
        assert process.stdin is not None, "both are pipes"
        assert process.stdout is not None, "both are pipes"
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
            line = _read_line(process.stdout.fileno(), TIME_LIMIT_S + _GRACE_S)
        except BrokenPipeError:
            line = b""
        if line is not None and line.endswith(b"\n"):
            return msgspec.json.decode(line, type=TestResult)
        self.stop()
        if line is None:
            seen = f"the test did not end within {TIME_LIMIT_S + _GRACE_S:.0f} s and swallowed every interruption"
            return _failed(job, BrokenPromise("time", seen))
        code = process.returncode
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return _failed(job, BrokenPromise("alive", f"the process that ran the test ended {how}"))

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
                process.kill()
                process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "raftline.lab.worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  ourselves
        return self._process


def _read_line(descriptor: int, limit_s: float) -> bytes | None:
    """Return the next line, what there is of it if the other end closed, None after `limit_s`."""
    deadline = time.monotonic() + limit_s
    line = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                break
            line += piece
    return bytes(line)


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
