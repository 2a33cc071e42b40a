"""All of a node lives in the event loop in which it was started: whoever calls it from elsewhere is told so.

Nothing there is guarded by locks, and no call from another thread wakes the loop: it would hang, or do harm. Calls that
need no future look at the thread first, which costs a quarter of asking which loop runs.
"""

from asyncio import AbstractEventLoop, _get_running_loop  # None, and no exception, where no loop runs
from threading import get_ident

from raftline.errors import ConfigError

__all__ = ["check_caller", "check_loop"]


def check_caller(thread: int, loop: AbstractEventLoop) -> None:
    """Raise `ConfigError` unless the caller runs in the thread of this number, or in `loop` wherever that runs by now.

    Two loops do not run in one thread at a time, and one that is closed says so itself.
    """
    if get_ident() != thread:
        check_loop(loop)


def check_loop(loop: AbstractEventLoop) -> None:
    """Raise `ConfigError` unless the caller runs in `loop`."""
    if _get_running_loop() is not loop:
        raise ConfigError(
            "the node runs in another event loop: call it there, from other threads by "
            "asyncio.run_coroutine_threadsafe(node.propose(...), loop) or loop.call_soon_threadsafe(...)"
        )
