"""The disk thread under virtual time: work runs at once, and its outcome arrives when a real disk would be done.

One piece at a time, in order, as in production. It pauses and dies with its node, because its timers are the node's.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from raftline.sim.disk import SimDisk
from raftline.sim.faults import Latency, SimCrash
from raftline.sim.refusals import SimulationError
from raftline.sim.view import LoopView

__all__ = ["SimDiskThread"]

T = TypeVar("T")

_WAKE_UP = Latency(0.000005, 0.00002, 0.001)
"""From `submit` to the start of the work, if the thread is idle; and from the end of the work to `done`."""


class SimDiskThread:
    """Implements `runtime.ports.DiskThread` for one incarnation of a node.

    Invariants: work runs in the order of `submit`, one piece at a time; `done` is called in the same order, when the
    time that the disk took has passed.
    """

    def __init__(self, loop: LoopView, disk: SimDisk) -> None:
        self._loop = loop
        self._disk = disk
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._ending: tuple[Callable[[Any], None], Any] | None = None
        self._busy = False
        self._closed = False

    def submit(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Queue `work`; its result, or what it raised, is given to `done` on the node's loop."""
        if self._closed:
            raise SimulationError("the disk thread is closed: nothing can be submitted any more")
        self._waiting.append((work, done))
        if not self._busy:
            self._busy = True
            self._after(_WAKE_UP.sample(self._disk.draw), self._start)

    def close(self) -> None:
        """Finish what was submitted, without waiting for virtual time, and take nothing more."""
        self._closed = True
        if self._ending is not None:
            done, result = self._ending
            self._ending = None
            self._loop.call_soon(done, result)
        while self._waiting:
            work, done = self._waiting.popleft()
            self._loop.call_soon(done, self._run(work))

    def _start(self) -> None:
        if not self._waiting:
            self._busy = False
            return
        work, done = self._waiting.popleft()
        spent = self._disk.spent_s
        result = self._run(work)
        took = self._disk.spent_s - spent + _WAKE_UP.sample(self._disk.draw)
        self._ending = (done, result)
        self._after(took, self._end)

    def _after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Go on when the disk is ready, in the world's time: the node's own clock may drift, and disks do not care."""

        def go_on() -> None:
            if not self._loop.gone:
                self._loop.call_soon(callback)

        world = self._loop.root
        world.at(world.now + seconds, go_on)

    def _end(self) -> None:
        if self._ending is None:
            return  # closed meanwhile: it was told already
        done, result = self._ending
        self._ending = None
        if self._waiting:
            self._loop.call_soon(self._start)
        else:
            self._busy = False
        done(result)

    def _run(self, work: Callable[[], Any]) -> Any:
        """Run one piece; a crash ends the node, anything else that is raised is its result."""
        try:
            return work()
        except SimCrash:
            if not self._loop.gone:
                raise
            return None
        except BaseException as error:  # noqa: BLE001  handed to whoever submitted the work
            return error
