"""What one run of one test shares: the implementation, the randomness, the trace, and the way to fail.

The first failure wins: whoever sees a broken promise reports it here, wherever in the world that is, and the test
ends. Exceptions of the implementation end up here too, with the server they belong to as far as its frames tell.
"""

import asyncio
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import FrameType, TracebackType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from raftline.lab import network as network_module
from raftline.lab.promises import BrokenPromise
from raftline.lab.trace import Trace
from raftline.lab.values import text_of
from raftline.lab.watchdog import Interrupted
from raftline.sim import loop as loop_module
from raftline.sim.loop import SimLoop
from raftline.sim.view import is_unseen

__all__ = ["Bench"]

_NETWORK_FILE = str(Path(network_module.__file__))
_HERE = str(Path(__file__).parent)
_SIMULATOR = str(Path(loop_module.__file__).parent)
_TASKS_MAX = 50_000
_THREADS_MAX = 100


class Bench:
    """One run of one test.

    Invariants: `failed` is set at most once; `random` is the only source of chance of the tester.
    """

    def __init__(self, make: Callable[..., Any], seed: int, *, virtual: bool) -> None:
        """`make` is the implementation's; must be created inside the running loop."""
        self.loop = asyncio.get_running_loop()
        self.make = make
        self.random = Random(f"lab {seed}")  # noqa: S311  reproducible on purpose
        self.virtual = virtual
        self.trace = Trace()
        self.failed: asyncio.Future[BrokenPromise] = self.loop.create_future()
        self.exceptions: list[str] = []
        """What unhandled exceptions of the implementation said."""
        self.suspects: tuple[str, ...] = ()
        """Rules that the script in progress aims at."""
        self.server_of: Callable[[object], int | None] = lambda _object: None
        """Tells which server an object is; None for a stranger or a dead one."""
        self._tasks: WeakSet[asyncio.Future[Any]] = WeakSet()
        self._unseen_since: WeakKeyDictionary[asyncio.Future[Any], float] = WeakKeyDictionary()
        self._exception_handler = self._on_unhandled
        self.loop.set_exception_handler(self._exception_handler)
        if not isinstance(self.loop, SimLoop):
            self.loop.set_task_factory(self._make_task)

    def now(self) -> float:
        """Return the time in seconds."""
        return self.loop.time()

    def note(self, text: str) -> None:
        """Put a line into the trace."""
        self.trace.note(self.now(), text)

    def fail(self, broken: BrokenPromise) -> None:
        """Report a broken promise; the first one counts."""
        self.note(f"BROKEN: {broken.promise.sentence}: {broken.seen}")
        if not self.failed.done():
            self.failed.set_result(broken)

    def fail_with_exception(self, server: int | None, where: str, error: BaseException) -> None:
        """Report what the implementation raised; a complaint of the network about wrong types is one about types."""
        innermost = traceback.extract_tb(error.__traceback__)[-1:]
        in_network = bool(innermost) and innermost[0].filename == _NETWORK_FILE
        name = "types" if in_network and isinstance(error, TypeError) else "no exception"
        if isinstance(error, MemoryError):
            name = "memory"
        self.fail(BrokenPromise(name, f"{where}: {describe_error(error)}", server=server))

    def report_unseen(self, *, for_s: float = 0.0) -> None:
        """Report the exceptions of failed tasks that nobody has looked at for so long; asyncio itself reports a task's
        only once nothing refers to it any more.
        """  # noqa: D205  one sentence
        now = self.now()
        if self.loop.get_exception_handler() is not self._exception_handler:
            self.fail(
                BrokenPromise("undisturbed", "the code replaced the loop's exception handler, which is the lab's")
            )
        tasks = self.loop.unseen_tasks() if isinstance(self.loop, SimLoop) else [*filter(is_unseen, self._tasks)]
        for task in tasks:
            if now >= self._unseen_since.setdefault(task, now) + for_s:
                self._report(task.exception())

    def check_tasks(self) -> None:
        """Complain of tasks and threads without end, before they fill memory."""
        count = len(self.loop.tasks if isinstance(self.loop, SimLoop) else self._tasks)
        if count > _TASKS_MAX:
            self.fail(BrokenPromise("memory", f"there are {count} tasks, all servers' together"))
        if threading.active_count() > _THREADS_MAX:
            self.fail(BrokenPromise("alone", f"there are {threading.active_count()} threads; servers need none"))

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, /, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks.add(task)
        return task

    def _on_unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._report(context.get("exception"))

    def _report(self, error: BaseException | None) -> None:
        if isinstance(error, BrokenPromise):
            self.fail(error)
        elif error is not None and not isinstance(error, (Interrupted, SystemExit, KeyboardInterrupt)):
            server, dead = self._owner_of(error.__traceback__)
            if not dead:
                self.exceptions.append(describe_error(error))
                self.fail_with_exception(server, "a task or callback ended with an exception", error)

    def _owner_of(self, trace: TracebackType | None) -> tuple[int | None, bool]:
        """Return the server in whose code an exception arose, and whether that server is dead."""
        for frame in _frames(trace):
            for value in list(frame.f_locals.values()):
                server = self.server_of(value)
                if server is not None:
                    return (server, False) if server >= 0 else (None, True)
        return None, False


def _frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def describe_error(error: BaseException) -> str:
    """Return the exception and the last place in the implementation's code, on one line."""
    everything = list(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in everything if not frame.filename.startswith((_HERE, _SIMULATOR))] or everything
    place = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}: {frames[-1].line}" if frames else ""
    return f"{type(error).__name__}: {text_of(error)}{place}"
