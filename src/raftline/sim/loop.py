"""An asyncio event loop on virtual time: nothing sleeps, and one seed gives one order of events.

Time jumps to the next timer. Callbacks of one view run first in, first out; the seed orders timers of the same instant
and the turns of different nodes. Code under it cannot tell, except that threads, sockets, processes and signals are
refused by name. An exception that nobody handles ends the run, and so does a run that makes no progress.
"""

import asyncio
import hashlib
import math
import random
import sys
import threading
from asyncio import _set_running_loop  # the documented hook for authors of event loops
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from heapq import heapify, heappop, heappush
from types import TracebackType
from typing import Any, Self, TypeVar

from raftline.sim.handles import SimHandle, SimMoment, SimTimer, describe_callback
from raftline.sim.node_loop import NodeLoop
from raftline.sim.refusals import Deadlock, NoProgress, NotSimulated
from raftline.sim.view import LoopView

__all__ = ["SimLoop", "derive_seed"]

T = TypeVar("T")

_PROGRESS_S = 0.001
"""How far virtual time must have come, at least, within one step budget."""

_CANCELLED_TIMERS_MIN = 64


def derive_seed(seed: int | str, name: str) -> int:
    """Return the 128-bit seed of the stream `name`; it depends on nothing else, so streams never shift each other."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest())


class SimLoop(LoopView):
    """The scheduler of a simulated world, and the event loop of the code that observes and torments it.

    Invariants: `now` never goes back; equal seeds and equal code give equal runs; no exception is lost.
    """

    def __init__(self, seed: int | str = 0, *, steps_max: int = 1_000_000, name: str = "world") -> None:
        """Start at virtual time 0; at most `steps_max` callbacks may run within one virtual millisecond."""
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        """Callbacks run so far."""
        self.timers: list[tuple[float, float, SimTimer | SimMoment]] = []
        self.runnable: list[LoopView] = []
        self.failures: list[BaseException] = []
        self.nodes: list[NodeLoop] = []
        self.draw = self.stream("loop").random
        self._steps_max = steps_max
        self._checkpoint = (0, 0.0)
        self._timers_cancelled = 0
        self._orders = 0
        self._current: LoopView | None = None
        self._turn_of: LoopView | None = None
        self._generators_of: dict[int, LoopView] = {}
        self._stopping = False
        self._running = False
        self._closed = False
        self._thread = threading.get_ident()
        super().__init__(self, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(raise_failures=error is None)

    # --- random streams, nodes, bookkeeping for views ---------------------------------------------------------------

    def stream(self, name: str) -> random.Random:
        """Return a random source of its own for `name`; equal names give equal streams."""
        return random.Random(derive_seed(self.seed, name))  # noqa: S311  reproducible on purpose

    def node(self, name: str, *, rate: float = 1.0, offset_s: float = 0.0) -> NodeLoop:
        """Return a loop for one node (one incarnation of it); its clock starts `offset_s` from virtual time."""
        node = NodeLoop(self, name, rate=rate, offset_s=offset_s)
        self.nodes = [known for known in self.nodes if known.alive]
        self.nodes.append(node)
        return node

    def next_order(self) -> int:
        """Return a number that tasks and futures of this run are told apart by."""
        self._orders += 1
        return self._orders

    def at(self, when: float, act: Callable[[], object]) -> None:
        """Let the environment `act` at virtual time `when`, by itself: `act` must not look at the running loop.

        For what is nobody's code, such as a packet that arrives; it takes no turn, so it costs less than `call_at`.
        """
        heappush(self.timers, (when, self.draw(), SimMoment(act)))

    def on_timer_cancelled(self) -> None:
        """Throw cancelled timers out once they are the larger part."""
        self._timers_cancelled += 1
        if self._timers_cancelled > _CANCELLED_TIMERS_MIN and 2 * self._timers_cancelled > len(self.timers):
            self.timers[:] = [item for item in self.timers if not item[2].cancelled()]
            heapify(self.timers)
            self._timers_cancelled = 0

    def forget_timers_of(self, view: LoopView) -> None:
        """Throw out the timers of a dead node."""
        kept = []
        for item in self.timers:
            timer = item[2]
            if timer._loop is view:  # noqa: SLF001  asyncio's own slot
                timer._scheduled = False  # noqa: SLF001
                timer.cancel()
            elif not timer.cancelled():
                kept.append(item)
        self.timers[:] = kept
        heapify(self.timers)
        self._timers_cancelled = 0

    def withdraw(self, view: LoopView) -> None:
        """Give `view` no turn until it is admitted again."""
        if view in self.runnable:
            self.runnable.remove(view)
        view.queued = True

    def admit(self, view: LoopView) -> None:
        """Give `view` turns again."""
        view.queued = bool(view.ready)
        if view.queued:
            self.runnable.append(view)

    def enter(self, view: LoopView) -> LoopView | None:
        """Make `view` the running loop; return what `leave` needs to undo it."""
        previous = self._current
        running = asyncio._get_running_loop()  # noqa: SLF001  the documented hook for authors of event loops
        if previous is None and running is not None:
            raise RuntimeError("another event loop runs in this thread: a simulation needs the thread for itself")
        sys.set_asyncgen_hooks(self._on_any_generator_started, self._on_any_generator_dropped)
        self._switch(view)
        return previous

    def leave(self, previous: LoopView | None) -> None:
        """Undo `enter`."""
        self._switch(previous)

    def is_in_turn(self, view: LoopView) -> bool:
        """Return whether a callback of `view` runs at this moment."""
        return self._turn_of is view

    def check_thread(self, what: str) -> None:
        """Raise NotSimulated if the caller runs in another thread than the simulation."""
        if threading.get_ident() != self._thread:
            raise NotSimulated(f"{what} from another thread: under virtual time there is one thread, the simulation's")

    def _switch(self, view: LoopView | None) -> None:
        _set_running_loop(view)
        self._current = view

    def _on_any_generator_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        view = self._current or self
        self._generators_of[id(generator)] = view
        view.on_generator_started(generator)

    def _on_any_generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Tell the view in which the generator was started; a later one of the same address replaced the entry."""
        self._generators_of.pop(id(generator), self).on_generator_dropped(generator)

    # --- running -----------------------------------------------------------------------------------------------------

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T], *, limit_s: float = math.inf) -> T:
        """Run until `future` is done and return its result; raise Deadlock if it cannot be done any more.

        With `limit_s`, raise TimeoutError once that much virtual time has passed.
        """
        task = self._as_future(future)
        task.add_done_callback(self._stop_on_done)
        started = self.now
        try:
            self._run(started + limit_s)
        except BaseException:
            if task.done() and not task.cancelled():
                task.exception()
            raise
        finally:
            task.remove_done_callback(self._stop_on_done)
        if task.done():
            return task.result()
        if self.timers and self.timers[0][0] < math.inf:
            self.now = started + limit_s
            raise TimeoutError(f"not done after {limit_s} s of virtual time")
        raise Deadlock(f"{task!r} can never be done at virtual time {self.now:.6f} s: {self._describe_idleness()}")

    def run_until(self, when: float) -> None:
        """Run everything that is due before or at virtual time `when`, and set the time to it."""
        if when < self.now:
            raise ValueError(f"virtual time is {self.now:.6f} s already and never goes back to {when:.6f} s")
        self._run(when)
        if not self._stopping:
            self.now = when
        self._stopping = False

    def run_for(self, duration_s: float) -> None:
        """Run everything that is due within the next `duration_s` seconds of virtual time."""
        self.run_until(self.now + duration_s)

    def run_forever(self) -> None:
        """Run until `stop` is called; raise Deadlock when nothing is left that could call it."""
        self._run(math.inf)
        if not self._stopping:
            raise Deadlock(f"nothing is left to run at virtual time {self.now:.6f} s: {self._describe_idleness()}")
        self._stopping = False

    def stop(self) -> None:
        """End the current run after the turn that is in progress."""
        self._stopping = True

    def _as_future(self, awaitable: Generator[Any, None, T] | Awaitable[T]) -> asyncio.Future[T]:
        if not isinstance(awaitable, Awaitable):
            raise TypeError(f"a future or coroutine was expected, not {type(awaitable).__name__}")
        if asyncio.isfuture(awaitable) and awaitable.get_loop() is not self:
            raise ValueError("the future belongs to another loop: NodeLoop.spawn brings a node's results here")
        return asyncio.ensure_future(awaitable, loop=self)

    def _stop_on_done(self, _future: object) -> None:
        self._stopping = True

    def is_running(self) -> bool:
        """Return whether a run is in progress."""
        return self._running

    def _run(self, limit: float) -> None:
        self._check_may_run()
        hooks = sys.get_asyncgen_hooks()
        self._running = True
        self._stopping = False
        sys.set_asyncgen_hooks(self._on_any_generator_started, self._on_any_generator_dropped)
        try:
            self._turn_until(limit)
        finally:
            self._running = False
            self._turn_of = None
            self._switch(None)
            sys.set_asyncgen_hooks(*hooks)

    def _check_may_run(self) -> None:
        if self.gone:
            raise RuntimeError("the simulated loop is closed")
        if self._running:
            raise RuntimeError("the simulated loop runs already: await, or schedule a callback")
        if asyncio._get_running_loop() is not None:  # noqa: SLF001  the documented hook for authors of event loops
            raise RuntimeError("another event loop runs in this thread: a simulation needs the thread for itself")
        self.check_thread("running the loop")
        self._checkpoint = (self.steps + self._steps_max, self.now)
        self._raise_failures()

    def _turn_until(self, limit: float) -> None:
        timers, runnable, draw = self.timers, self.runnable, self.draw
        while not self._stopping:
            if not runnable:
                if not timers or timers[0][0] > limit or timers[0][0] == math.inf:
                    return
                self.now = max(self.now, timers[0][0])
                self._release_timer()
            while timers and timers[0][0] <= self.now and draw() < 0.5:
                self._release_timer()
            if runnable:
                self._turn(runnable)
                if self.failures:
                    self._raise_failures()
            if self.steps >= self._checkpoint[0]:
                self._check_progress()

    def _release_timer(self) -> None:
        timer = heappop(self.timers)[2]
        if type(timer) is SimMoment:
            self.steps += 1
            timer.act()
            return
        timer._scheduled = False  # noqa: SLF001  asyncio's own slot
        if timer._cancelled:  # noqa: SLF001
            self._timers_cancelled -= 1
            return
        view: LoopView = timer._loop  # noqa: SLF001
        view.ready.append(timer)
        if not view.queued:
            view.queued = True
            self.runnable.append(view)

    def _turn(self, runnable: list[LoopView]) -> None:
        """Run callbacks of one view: all that wait if it is alone, else as many as the seed says."""
        if len(runnable) == 1:
            view = runnable[0]
            count = len(view.ready)
        else:
            view = runnable[int(self.draw() * len(runnable))]
            count = 1 + int(self.draw() * len(view.ready))
        if view is not self._current:
            _set_running_loop(view)
            self._current = view
        self._turn_of = view
        try:
            self._run_callbacks(view, count)
        finally:
            self._turn_of = None
            if view.gone:
                view.dispose()
            elif not view.ready and view.queued and not view.halted:
                view.queued = False
                runnable.remove(view)

    def _run_callbacks(self, view: LoopView, count: int) -> None:
        ready = view.ready
        while count and not view.halted:
            handle = ready.popleft()
            count -= 1
            self.steps += 1
            if handle._cancelled:  # noqa: SLF001  asyncio's own slots, read in the hot loop
                continue
            callback = handle._callback  # noqa: SLF001
            try:
                handle._context.run(callback, *handle._args)  # noqa: SLF001
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001  nothing may be lost, a simulated crash included
                view.report_callback_error(handle, callback, error)
                if self.failures:
                    return

    def _check_progress(self) -> None:
        if self.now - self._checkpoint[1] < _PROGRESS_S:
            waiting = ", ".join(
                f"{view.name}: {describe_callback(handle._callback)}"  # noqa: SLF001
                for view in self.runnable[:8]
                for handle in list(view.ready)[:3]
            )
            raise NoProgress(
                f"{self._steps_max} callbacks ran and virtual time stands still at {self.now:.6f} s: something"
                f" schedules itself without end; next in line: {waiting or 'timers that are due at once'}"
            )
        self._checkpoint = (self.steps + self._steps_max, self.now)

    def _raise_failures(self) -> None:
        if self.failures:
            failures, self.failures = self.failures, []
            first = failures[0]
            for other in failures[1:]:
                first.add_note(f"at the same time: {type(other).__name__}: {other}")
            raise first

    def _describe_idleness(self) -> str:
        views: list[LoopView] = [self, *self.nodes]
        pending = [task for view in views for task in view.pending_tasks()]
        paused = [node.name for node in self.nodes if node.paused]
        lines = [f"{task.get_name()} waits in {_place_of(task)}" for task in pending[:20]]
        return "; ".join([*lines, *(f"{name} is paused" for name in paused)]) or "no task and no timer is left"

    # --- the end -----------------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Return whether `close` was called."""
        return self.gone

    def close(self, *, raise_failures: bool = True) -> None:
        """End every node and drop what is left, silently; then raise what failed and was not raised yet."""
        if self.gone:
            return
        if self._running:
            raise RuntimeError("the simulated loop runs: it can be closed after the run, not within")
        for view in (self, *self.nodes):
            self._collect_task_failures(view)
        for node in self.nodes:
            node.kill()
        self.gone = True
        self.dispose()
        self._closed = True
        for _, _, timer in self.timers:
            if isinstance(timer, SimTimer):
                timer._scheduled = False  # noqa: SLF001  asyncio's own slot
                timer.cancel()
        self.timers.clear()
        self.runnable.clear()
        if raise_failures:
            self._raise_failures()
        self.failures.clear()

    def drop(self, handle: SimHandle | SimTimer) -> None:
        """Drop what is scheduled while the loop closes; raise RuntimeError afterwards, as asyncio does."""
        super().drop(handle)
        if self._closed:
            raise RuntimeError("the simulated loop is closed: nothing can be scheduled on it any more")

    def _collect_task_failures(self, view: LoopView) -> None:
        for task in view.unseen_tasks():
            message = "an exception of a task was never looked at"
            view.call_exception_handler({"message": message, "exception": task.exception(), "task": task})


def _place_of(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    if not frames:
        return "no frame"
    frame = frames[-1]
    return f"{frame.f_code.co_qualname} line {frame.f_lineno}"
