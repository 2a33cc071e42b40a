"""The event loop that one simulated node sees: it can be paused, slowed and killed without its code's cooperation.

Ordinary asyncio code runs on it, and `asyncio.get_running_loop()` is this loop while it does. The node's owner holds
the other end: pauses are SIGSTOP, kills are SIGKILL, and the clock drifts against that of every other node.
"""

import asyncio
import heapq
import math
from collections.abc import Awaitable, Coroutine, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from raftline.sim.handles import SimTimer
from raftline.sim.refusals import NodeKilled, SimulationError
from raftline.sim.view import Handle, LoopView

if TYPE_CHECKING:
    from raftline.sim.loop import SimLoop

__all__ = ["NodeLoop"]

T = TypeVar("T")


class NodeLoop(LoopView):
    """The event loop one simulated node sees.

    Invariants: its clock never goes back; a timer never fires before its clock shows the timer's time; while paused
    nothing of it runs; once killed nothing of it ever runs again, `finally` blocks excepted, which run at once and
    find a loop that drops whatever they schedule.
    """

    def __init__(self, root: "SimLoop", name: str, *, rate: float = 1.0, offset_s: float = 0.0) -> None:
        super().__init__(root, name)
        _check_rate(rate)
        self._rate = rate
        self._rate_since = root.now
        self._shown_then = root.now + offset_s
        self.paused = False
        self.resumed_s = -math.inf
        """When the last pause ended, in virtual time."""
        self.rate_changed_s = -math.inf
        """When the rate was last changed, in virtual time."""
        self._outcomes: dict[asyncio.Future[Any], None] = {}

    @property
    def alive(self) -> bool:
        """Whether the node has not been killed."""
        return not self.gone

    @property
    def rate(self) -> float:
        """Seconds this node's clock advances per second of virtual time."""
        return self._rate

    def time(self) -> float:
        """Return this node's monotonic clock in seconds; it drifts with `rate` and starts anywhere."""
        return self._shown_then + (self.root.now - self._rate_since) * self._rate

    def root_time(self, when: float) -> float:
        """Return the virtual time at which this node's clock shows `when`, or a rounding error later, never earlier."""
        since, shown, rate = self._rate_since, self._shown_then, self._rate
        instant = since + (when - shown) / rate
        step = math.ulp(when)
        while shown + (instant - since) * rate < when:
            instant += step
            step *= 2
        return instant

    def set_rate(self, rate: float) -> None:
        """Let the clock drift: `rate` of its seconds pass per virtual second from now on; waiting timers follow."""
        _check_rate(rate)
        self._shown_then, self._rate_since, self._rate = self.time(), self.root.now, rate
        self.rate_changed_s = self.root.now
        timers = self.root.timers
        for position, (_, tie, timer) in enumerate(timers):
            if timer._loop is self:  # noqa: SLF001  asyncio's own slot
                timers[position] = (self.root_time(timer.when()), tie, timer)
        heapq.heapify(timers)

    def pause(self) -> None:
        """Stop the node in its tracks (SIGSTOP): callbacks, timers and arriving messages wait until `resume`."""
        if not self.paused and not self.gone:
            self.paused = self.halted = True
            self.root.withdraw(self)

    def resume(self) -> None:
        """Let the node go on; what became due meanwhile runs late, timers before messages or after them by the seed."""
        if not self.paused or self.gone:
            return
        self.paused = self.halted = False
        self.resumed_s = self.root.now
        order = int(self.root.draw() * 3)
        if order:
            timers: list[Handle] = [handle for handle in self.ready if isinstance(handle, SimTimer)]
            others: list[Handle] = [handle for handle in self.ready if not isinstance(handle, SimTimer)]
            self.ready.clear()
            self.ready.extend(timers + others if order == 1 else others + timers)
        self.root.admit(self)

    def kill(self) -> None:
        """Crash the node (SIGKILL): its callbacks, timers and tasks are gone for good, from this very call on.

        Called from the node's own code, the callback that runs is the last one; it ends at its next await or return.
        """
        if self.gone:
            return
        self.forget_finished_tasks()
        self.gone = self.halted = True
        self.paused = False
        self.root.withdraw(self)
        self.root.forget_timers_of(self)
        for outcome in self._outcomes:
            if not outcome.done():
                outcome.set_exception(NodeKilled(f"{self.name} was killed at virtual time {self.root.now:.6f} s"))
                outcome.exception()
        self._outcomes.clear()
        if not self.root.is_in_turn(self):
            self.dispose()

    def spawn(self, awaitable: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Future[T]:
        """Run a coroutine in this node; its result arrives on the scheduler's loop, NodeKilled if the node dies first.

        Cancelling the returned future cancels the task in the node.
        """
        outcome: asyncio.Future[T] = self.root.create_future()
        with self.entered():
            task = self.create_task(awaitable, name=name)
        if self.gone:
            outcome.set_exception(NodeKilled(f"{self.name} is dead: nothing can be started on it"))
            return outcome
        self._outcomes[outcome] = None
        task.add_done_callback(partial(self._deliver_outcome, outcome))
        outcome.add_done_callback(partial(self._cancel_abandoned, task))
        return outcome

    def _deliver_outcome(self, outcome: asyncio.Future[T], task: asyncio.Task[T]) -> None:
        self._outcomes.pop(outcome, None)
        if outcome.done():
            if not task.cancelled():
                task.exception()
        elif task.cancelled():
            outcome.cancel()
        elif (error := task.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    def _cancel_abandoned(self, task: asyncio.Task[T], outcome: asyncio.Future[T]) -> None:
        if outcome.cancelled() and not task.done() and not self.gone:
            self._outcomes.pop(outcome, None)
            self.call_soon(task.cancel)

    # A node's loop is turned by the scheduler only.

    def run_forever(self) -> None:
        """Refuse: the scheduler turns every node's loop."""
        raise SimulationError(f"{self.name}: a node's loop is turned by its SimLoop; call run_for or run_until there")

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Refuse: the scheduler turns every node's loop."""
        if asyncio.iscoroutine(future):
            future.close()
        raise SimulationError(f"{self.name}: give the coroutine to spawn() and run the SimLoop until it is done")

    def stop(self) -> None:
        """Refuse: a node cannot stop the simulation."""
        raise SimulationError(f"{self.name}: a node cannot stop the simulation; kill() ends the node")

    def is_running(self) -> bool:
        """Return whether this node's code runs at this moment."""
        return self.root.is_in_turn(self)

    def is_closed(self) -> bool:
        """Return whether the node was killed."""
        return self.gone

    def close(self) -> None:
        """End the node as `kill` does; a stopped node has nothing left that could run."""
        self.kill()


def _check_rate(rate: float) -> None:
    if not 0.01 <= rate <= 100.0:
        raise ValueError(f"a clock rate of {rate} is no drift: give seconds per second in [0.01, 100]")
