"""One face of the simulated loop: what asyncio code sees, with its own callbacks, tasks and clock.

`LoopView` is what the scheduler (`SimLoop`) and each simulated node (`NodeLoop`) have in common. Callbacks of one view
run first in, first out, as asyncio promises; between views there is no promise, and the seed decides.
"""

import asyncio
import heapq
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, TypeVarTuple
from weakref import ReferenceType, ref

from raftline.sim.handles import SimFuture, SimHandle, SimTask, SimTimer, describe_callback, describe_task
from raftline.sim.refusals import RefusingLoop, SimulationError

if TYPE_CHECKING:
    from raftline.sim.loop import SimLoop

__all__ = ["Handle", "LoopView", "is_unseen"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Handle: TypeAlias = SimHandle | SimTimer

_TASKS_KEPT_MIN = 64
_CLOSE_ATTEMPTS_MAX = 1000


class LoopView(RefusingLoop):
    """Callbacks, timers and tasks of one party; the scheduler owns time and decides whose turn it is."""

    name: str
    root: "SimLoop"
    ready: deque[Handle]
    """What may run now, oldest first."""
    queued: bool
    """The scheduler has this view in its list, or must not put it there (paused, dead)."""
    halted: bool
    """Paused or dead: a turn in progress ends after the current callback."""
    gone: bool
    """Closed or dead: nothing that is scheduled will run."""

    def __init__(self, root: "SimLoop", name: str) -> None:
        self.root = root
        self.name = name
        self.ready = deque()
        self.queued = False
        self.halted = False
        self.gone = False
        self.tasks: dict[asyncio.Future[Any], None] = {}
        self._unseen: list[ReferenceType[asyncio.Future[Any]]] = []
        self._tasks_named = 0
        self._tasks_kept_max = _TASKS_KEPT_MIN
        self._exception_handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._task_factory: Any = None
        self._generators: dict[int, ReferenceType[AsyncGenerator[Any, Any]]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} at {self.root.now:.6f} s>"

    # --- callbacks -------------------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> SimHandle:
        """Run `callback` at this virtual instant, after everything scheduled here before it."""
        handle = SimHandle(callback, args, self, context)
        if self.gone:
            self.drop(handle)
            return handle
        self.ready.append(handle)
        if not self.queued:
            self.queued = True
            self.root.runnable.append(self)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> SimHandle:
        """Act as `call_soon`; refused from any other thread."""
        self.root.check_thread("call_soon_threadsafe")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> SimTimer:
        """Run `callback` when `delay` seconds of this view's clock have passed."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> SimTimer:
        """Run `callback` when this view's clock shows `when`, never earlier; the seed orders what is due together."""
        timer = SimTimer(when, callback, args, self, context)
        if self.gone:
            self.drop(timer)
            return timer
        root = self.root
        heapq.heappush(root.timers, (self.root_time(when), root.draw(), timer))
        return timer

    def drop(self, handle: Handle) -> None:
        """Answer for a dead view: the handle exists, and nothing will come of it."""
        _close_arguments(handle)
        if isinstance(handle, SimTimer):
            handle._scheduled = False  # noqa: SLF001  asyncio's own slot
        handle.cancel()

    def time(self) -> float:
        """Return this view's monotonic clock in seconds."""
        return self.root.now

    def root_time(self, when: float) -> float:
        """Return the virtual time at which this view's clock shows `when`."""
        return when

    # --- futures and tasks -----------------------------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this view."""
        return SimFuture(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """Return a task that runs `coro` in this view; without a name it is numbered within the view."""
        if name is None:
            self._tasks_named += 1
            name = f"{self.name}/task-{self._tasks_named}"
        task: asyncio.Task[T]
        if self._task_factory is None:
            task = SimTask(coro, loop=self, name=name, context=context, **options)
        else:
            task = self._task_factory(self, coro, context=context, **options)
            task.set_name(name)
        if self.gone:
            self._bury(task)
            return task
        self.tasks[task] = None
        if len(self.tasks) >= self._tasks_kept_max:
            self.forget_finished_tasks()
            self._tasks_kept_max = max(_TASKS_KEPT_MIN, 2 * len(self.tasks))
        return task

    def set_task_factory(self, factory: Any) -> None:
        """Make tasks with `factory(loop, coro, context=...)`; None restores the loop's own."""
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        """Return what `set_task_factory` was given."""
        return self._task_factory

    def forget_finished_tasks(self) -> None:
        """Let go of finished tasks: asyncio reports an exception nobody looked at once nobody can look any more."""
        finished = [task for task in self.tasks if task.done()]
        self._unseen = [item for item in self._unseen if is_unseen(item())]
        for task in finished:
            del self.tasks[task]
            if is_unseen(task):
                self._unseen.append(ref(task))

    def unseen_tasks(self) -> list[asyncio.Future[Any]]:
        """Return the failed tasks whose exception nobody has looked at, oldest first."""
        candidates = [*(item() for item in self._unseen), *self.tasks]
        return [task for task in candidates if task is not None and is_unseen(task)]

    def pending_tasks(self) -> list[asyncio.Task[Any]]:
        """Return the unfinished tasks, oldest first."""
        return [task for task in self.tasks if isinstance(task, asyncio.Task) and not task.done()]

    # --- exceptions ------------------------------------------------------------------------------------------------

    def set_exception_handler(
        self, handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
    ) -> None:
        """Hand unhandled exceptions to `handler(loop, context)`; None restores the default, which fails the run."""
        self._exception_handler = handler

    def get_exception_handler(self) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None:
        """Return what `set_exception_handler` was given."""
        return self._exception_handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an exception that nobody handles: to the handler that was set, otherwise the run fails with it."""
        if self.gone and self is not self.root:
            return
        if self._exception_handler is None:
            self.default_exception_handler(context)
            return
        try:
            self._exception_handler(self, context)
        except BaseException as error:  # noqa: BLE001  a broken handler must fail the run, whatever it raised
            self.default_exception_handler({"message": "the exception handler itself raised", "exception": error})

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Fail the run with the exception in `context`, or with its message where there is none."""
        error = context.get("exception")
        message = context.get("message", "unhandled exception")
        task = context.get("task")
        if isinstance(task, asyncio.Task):
            message = f"{message} [{describe_task(task)}]"
        if not isinstance(error, BaseException):
            error = SimulationError(message)
        error.add_note(f"in {self.name} at virtual time {self.root.now:.6f} s: {message}")
        self.root.failures.append(error)

    def report_callback_error(self, handle: Handle, callback: object, error: BaseException) -> None:
        """Pass on what a callback raised."""
        message = f"exception in callback {describe_callback(callback)}"
        self.call_exception_handler({"message": message, "exception": error, "handle": handle})

    # --- asynchronous generators -----------------------------------------------------------------------------------

    def on_generator_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Remember `generator`, so that `shutdown_asyncgens` can close it."""
        if len(self._generators) >= _TASKS_KEPT_MIN:
            self._generators = {key: value for key, value in self._generators.items() if value() is not None}
        self._generators[id(generator)] = ref(generator)

    def on_generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close a generator that was dropped half-way, in a task of its own; a dead node runs nothing any more."""
        self._generators.pop(id(generator), None)
        if not self.gone:
            self.call_soon(self._close_generator, generator)

    def _close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        self.create_task(_aclose(generator))

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator that is still open, oldest first."""
        alive = [generator for generator in (item() for item in self._generators.values()) if generator is not None]
        self._generators.clear()
        for generator in alive:
            await generator.aclose()

    # --- running as this view, and the end -------------------------------------------------------------------------

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this view `asyncio.get_running_loop()` for plain calls from outside (constructors, `start`, `kill`)."""
        hooks = sys.get_asyncgen_hooks()
        previous = self.root.enter(self)
        try:
            yield
        finally:
            self.root.leave(previous)
            sys.set_asyncgen_hooks(*hooks)

    def dispose(self) -> None:
        """Drop callbacks and close coroutines without running the loop; nothing of this view runs afterwards."""
        for handle in self.ready:
            _close_arguments(handle)
        self.ready.clear()
        tasks, self.tasks = list(self.tasks), {}
        self._generators.clear()
        with self.entered():
            for task in tasks:
                self._bury(task)

    def _bury(self, task: asyncio.Future[Any]) -> None:
        if not isinstance(task, asyncio.Task):
            return
        if task.done():
            task._log_traceback = False  # noqa: SLF001  asyncio's way to say "seen"
            return
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  asyncio's own switch, as gather uses it
        coroutine = task.get_coro()
        if coroutine is None:
            return
        for _ in range(_CLOSE_ATTEMPTS_MAX):
            try:
                coroutine.close()
            except RuntimeError:  # it awaited something while it was being closed
                continue
            except BaseException:  # noqa: BLE001, S110  what a dying node's cleanup raises reaches nobody
                pass
            return


def is_unseen(task: asyncio.Future[Any] | None) -> bool:
    """Return whether `task` failed and nobody has looked at its exception."""
    return task is not None and task.done() and not task.cancelled() and task._log_traceback  # noqa: SLF001  asyncio's own


async def _aclose(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _close_arguments(handle: Handle) -> None:
    for argument in handle._args or ():  # noqa: SLF001  asyncio's own slot
        if asyncio.iscoroutine(argument):
            argument.close()
