"""Callbacks, timers, tasks and futures of the simulated loop: asyncio's own, made lean and reproducible.

Handles skip what asyncio keeps for its debug mode. Tasks and futures hash to their number instead of their address,
so that a set of them (`asyncio.wait`, `TaskGroup`) is walked in the same order in every process.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar, final

if TYPE_CHECKING:
    from raftline.sim.view import LoopView

__all__ = ["SimFuture", "SimHandle", "SimMoment", "SimTask", "SimTimer", "describe_callback", "describe_task"]

T = TypeVar("T")


def describe_callback(callback: object) -> str:
    """Return a name for `callback` that holds no address, so that it may stand in a trace."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return describe_task(owner)
    inner = getattr(callback, "func", callback)
    return str(getattr(inner, "__qualname__", type(inner).__name__))


def describe_task(task: asyncio.Task[Any]) -> str:
    """Return the name of `task` and of the coroutine it runs, without addresses."""
    return f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')})"


class SimHandle(asyncio.Handle):
    """One scheduled callback; `asyncio.Handle` without the debug fields."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: "LoopView", context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False

    def __repr__(self) -> str:
        state = "cancelled" if self._cancelled else describe_callback(self._callback)
        return f"<{type(self).__name__} {state}>"

    def get_context(self) -> Context:
        """Return the context the callback runs in."""
        return self._context

    def cancel(self) -> None:
        """Never run the callback."""
        if not self._cancelled:
            self._cancelled = True
            self._callback = None  # type: ignore[assignment]  # as asyncio does: let go of what it refers to
            self._args = None  # type: ignore[assignment]

    def cancelled(self) -> bool:
        """Return whether the callback will never run."""
        return self._cancelled


class SimTimer(asyncio.TimerHandle):
    """A callback at a time of its own loop's clock; tells the loop when it is cancelled, so that heaps stay small."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: "LoopView",
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._when = when
        self._scheduled = True

    def __repr__(self) -> str:
        state = "cancelled" if self._cancelled else describe_callback(self._callback)
        return f"<SimTimer when={self._when!r} {state}>"

    def get_context(self) -> Context:
        """Return the context the callback runs in."""
        return self._context

    def cancel(self) -> None:
        """Never run the callback."""
        if not self._cancelled:
            self._cancelled = True
            self._callback = None  # type: ignore[assignment]  # as asyncio does: let go of what it refers to
            self._args = None  # type: ignore[assignment]
            if self._scheduled:
                self._loop.root.on_timer_cancelled()


@final
class SimMoment:
    """Something that the environment does at a moment: nobody's callback, and nobody can cancel it."""

    __slots__ = ("act",)

    _loop = None

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    @staticmethod
    def cancelled() -> bool:
        """Return False."""
        return False


class SimTask(asyncio.Task[T]):
    """A task that hashes to its number in the run."""

    order: int

    def __new__(cls, *_args: Any, loop: "LoopView", **_kwargs: Any) -> "SimTask[T]":
        """Take the next number before asyncio registers, and so hashes, the task."""
        task = super().__new__(cls)
        task.order = loop.root.next_order()
        return task

    def __hash__(self) -> int:
        return self.order


class SimFuture(asyncio.Future[T]):
    """A future that hashes to its number in the run."""

    order: int

    def __new__(cls, *, loop: "LoopView") -> "SimFuture[T]":
        """Take the next number."""
        future = super().__new__(cls)
        future.order = loop.root.next_order()
        return future

    def __hash__(self) -> int:
        return self.order
