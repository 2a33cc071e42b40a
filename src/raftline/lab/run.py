"""Runs one test once, in this process and thread: on virtual time, where a seed fixes everything, or on real time."""

import asyncio
import gc
import logging
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import msgspec

from raftline.lab.bench import Bench, describe_error
from raftline.lab.cluster import Cluster
from raftline.lab.guard import replaced
from raftline.lab.promises import BrokenPromise, rules_in
from raftline.lab.result import Failure, Numbers, TestResult, failure_of
from raftline.lab.tests.case import LabTest
from raftline.lab.trace import Trace
from raftline.lab.watchdog import Interrupted, watch_progress
from raftline.sim.loop import SimLoop
from raftline.sim.refusals import SimulationError

__all__ = ["TIME_LIMIT_S", "run_test"]

TIME_LIMIT_S = 120.0
"""Of the test's own time, and of real time until its process is ended (J4)."""
_FAREWELLS_S = 10.0
"""Before that the test is interrupted, so that it can say where it is."""

_STUCK_S = 10.0
_CALLBACKS_PER_MS_MAX = 300_000
_ATTEMPTS_MAX = 10
_ALSO_MAX = 5
_FAREWELL_S = 0.5
_LOOP_STOPPED = re.compile("loop stopped before|^not done after")

_logger = logging.getLogger(__name__)


def run_test(
    test: LabTest,
    make: Callable[..., Any],
    seed: int,
    *,
    virtual: bool,
    scripts: bool = True,
    give_up: Callable[[TestResult], None] = lambda _result: None,
    last_words: BinaryIO | None = None,
) -> tuple[TestResult, Trace]:
    """Run a test with an implementation's `make`; must be called in the main thread, outside any loop.

    Whatever the implementation does becomes a result. If it swallows every interruption, `give_up(result)` is called,
    which may end the process; `last_words` is for `watch_progress`.
    """
    threads = set(threading.enumerate())
    random.seed(f"lab {seed}")
    run = _Run(test, make, seed, virtual=virtual, scripts=scripts)

    def on_hopeless() -> None:
        give_up(run.result())

    with watch_progress(
        run.progress,
        run.on_stuck,
        stuck_s=_STUCK_S,
        limit_s=max(1.0, TIME_LIMIT_S - _FAREWELLS_S),
        on_hopeless=on_hopeless,
        last_words=last_words,
    ):
        run.run()
    run.look_around(threads)
    return run.result(), run.trace


class _Run:
    """One run; gathers what is known even if it ends by an interruption."""

    def __init__(self, test: LabTest, make: Callable[..., Any], seed: int, *, virtual: bool, scripts: bool) -> None:
        self._test = test
        self._make = make
        self._seed = seed
        self._virtual = virtual
        self._scripts = [script for script in test.scripts if scripts and (virtual or not script.virtual_only)]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bench: Bench | None = None
        self._broken: BrokenPromise | None = None
        self._script: str | None = None
        self._also: list[str] = []
        self._ended_at = 0.0
        self._ticks = 0
        self._cpu_started_s = time.process_time()
        self.numbers: Numbers | None = None
        self.trace = Trace()

    def progress(self) -> object:
        """Return something that changes as long as the loop turns."""
        return (self._loop.steps, self._loop.now) if isinstance(self._loop, SimLoop) else self._ticks

    def on_stuck(self, name: str, seen: str) -> None:
        """Note why the run is being interrupted, and end it at the loop's next turn."""
        broken = BrokenPromise(name, seen)
        self._note_broken(broken)
        if self._bench is not None:
            self._bench.fail(broken)

    def run(self) -> None:
        """Run to the end, whatever that is."""
        try:
            if self._virtual:
                with SimLoop(self._seed, steps_max=_CALLBACKS_PER_MS_MAX) as loop:
                    self._loop = loop
                    loop.run_until_complete(self._main())
            else:
                self._loop = asyncio.new_event_loop()
                with _ended_at_once(self._loop):
                    self._loop.run_until_complete(self._main())
        except BrokenPromise as broken:
            self._note_broken(broken)
        except Interrupted:
            assert self._broken is not None, "whoever interrupts says why first"
        except SimulationError as error:
            self._note_broken(BrokenPromise("returns", str(error)))
        except MemoryError as error:
            self._note_broken(BrokenPromise("memory", describe_error(error)))
        except (SystemExit, KeyboardInterrupt) as error:
            self._note_broken(BrokenPromise("alive", f"the code ended the program: {describe_error(error)}"))
        except asyncio.CancelledError:
            self._note_broken(BrokenPromise("undisturbed", "the code cancelled a task of the tester"))
        except BaseException as error:
            _logger.warning("the tester broke down", exc_info=True)
            what = "stopped the loop" if _LOOP_STOPPED.search(str(error)) else "changed what the tester relies on"
            seen = f"the tester broke down, probably because the code {what}: {describe_error(error)}"
            self._note_broken(BrokenPromise("undisturbed", seen))

    def look_around(self, threads: set[threading.Thread]) -> None:
        """Note what the code did to the process: functions it replaced, threads beside `threads` that still run."""
        names = replaced()
        if names:
            what = f"the code replaced {', '.join(names)}, which everybody in this process uses"
            self._also.append(what)
            self._note_broken(BrokenPromise("undisturbed", what))
        deadline = time.monotonic() + _FAREWELL_S
        left = [thread for thread in threading.enumerate() if thread not in threads]
        for thread in left:
            thread.join(max(0.0, deadline - time.monotonic()))
        left = [thread for thread in left if thread.is_alive()]
        if left:
            what = f"threads still run after kill(): {', '.join([thread.name for thread in left][:_ALSO_MAX])}"
            self._also.append(what)
            self._note_broken(BrokenPromise("alive", what, suspects=("F22",)))

    def result(self) -> TestResult:
        """Return what came of the run."""
        failure = self._failure()
        return TestResult(
            part=self._test.part,
            title=self._test.title,
            seed=self._seed,
            virtual=self._virtual,
            passed=failure is None,
            numbers=self.numbers,
            cpu_s=round(time.process_time() - self._cpu_started_s, 3),
            failure=failure,
        )

    def _failure(self) -> Failure | None:
        """Return why the run failed, None if it did not."""
        if self._broken is None:
            return None
        failure = failure_of(self._broken, self._ended_at, script=self._script)
        return msgspec.structs.replace(failure, also=[what for what in self._also if what != failure.seen])

    async def _main(self) -> None:
        """Run body and scripts until they end, something breaks, or time is up."""
        bench = Bench(self._make, self._seed, virtual=self._virtual)
        self._bench = bench
        self.trace = bench.trace
        ticker = asyncio.create_task(self._tick(), name="lab ticker")
        work = asyncio.create_task(self._work(bench), name="lab test")
        try:
            await asyncio.wait({work, bench.failed}, timeout=TIME_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
            broken = self._outcome(bench, work)
            if broken is not None:
                self._note_broken(broken)
            self._look_for_exceptions(bench, work)
        finally:
            ticker.cancel()
            work.cancel()
            await asyncio.wait({work}, timeout=1)

    def _outcome(self, bench: Bench, work: "asyncio.Task[None]") -> BrokenPromise | None:
        """Return what broke first, None if the test passed; an exception of the tester is raised."""
        if bench.failed.done():
            return bench.failed.result()
        if work.cancelled():
            return BrokenPromise("undisturbed", "the code cancelled a task of the tester")
        if not work.done():
            return BrokenPromise("time", f"the test did not end within {TIME_LIMIT_S:.0f} s")
        error = work.exception()
        if error is None or isinstance(error, BrokenPromise):
            return error
        raise error

    async def _work(self, bench: Bench) -> None:
        test = self._test
        async with Cluster(bench, test.servers, reliable=test.reliable, snapshots=test.snapshots) as cluster:
            started = bench.now()
            cluster.start_all()
            await test.body(cluster)
            self.numbers = Numbers(
                time_s=round(bench.now() - started, 3),
                servers=test.servers,
                rpcs=cluster.network.rpcs_sent,
                bytes=cluster.network.bytes_total,
                commits=cluster.ledger.index_max,
            )
        for script in self._scripts:
            self._script = script.title
            bench.suspects = script.suspects
            bench.note(f"--- {script.title} ---")
            for _ in range(_ATTEMPTS_MAX):
                if await script.run(bench) is not False:
                    break
        self._script = None

    async def _tick(self) -> None:
        while True:
            self._ticks += 1
            await asyncio.sleep(0.1)

    def _note_broken(self, broken: BrokenPromise) -> None:
        """Keep the first broken promise, with the rules that the script in progress aims at in front."""
        if self._broken is not None:
            return
        if self._bench is not None:
            usual = rules_in(broken.name, self._test.part)
            broken.rules = tuple(dict.fromkeys((*self._bench.suspects, *broken.suspects, *usual)))
            now = self._bench.now()
            self._ended_at = now if math.isfinite(now) else 0.0
        self._broken = broken

    def _look_for_exceptions(self, bench: Bench, work: "asyncio.Task[None]") -> None:
        """Find exceptions of tasks that nobody awaited: they fail a test, and often explain the failure of one."""
        gc.collect()  # asyncio reports a failed task when the last reference to it is gone
        if bench.failed.done() and self._broken is None:
            self._note_broken(bench.failed.result())
        symptom = work.exception() if work.done() and not work.cancelled() else None
        known = self._broken.seen if self._broken is not None else ""
        others = [*bench.exceptions, *([symptom.seen] if isinstance(symptom, BrokenPromise) else [])]
        self._also = [seen for seen in dict.fromkeys(others) if seen not in known][:_ALSO_MAX]


@contextmanager
def _ended_at_once(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Close a loop of real time, whatever still runs in it: tasks that refuse to be cancelled are left behind."""
    try:
        yield
    finally:
        loop.set_exception_handler(lambda _loop, _context: None)
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        with suppress(Exception, asyncio.CancelledError):
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=_FAREWELL_S))
        with suppress(Exception):
            loop.close()
