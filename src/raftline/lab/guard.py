"""Functions that everybody in a process shares, and which of them the code under test has replaced.

A patched `asyncio.sleep` or `time.monotonic` changes every server, the tester and all tests that follow.
"""

import asyncio
import builtins
import os
import random
import signal
import threading
import time
from types import ModuleType

__all__ = ["replaced"]

_SHARED: dict[ModuleType, tuple[str, ...]] = {
    asyncio: (
        *("sleep", "wait", "wait_for", "gather", "create_task", "ensure_future", "get_running_loop", "current_task"),
        *("Task", "Future", "Event", "Lock", "Condition", "Queue", "timeout", "shield", "run", "new_event_loop"),
    ),
    time: ("time", "monotonic", "perf_counter", "process_time", "sleep"),
    random: ("random", "uniform", "randint", "randrange", "choice", "shuffle", "sample", "getrandbits", "Random"),
    signal: ("signal", "setitimer"),
    threading: ("Thread", "enumerate", "active_count"),
    os: ("getpid", "write", "_exit"),
    builtins: tuple(name for name in vars(builtins) if name.islower() and not name.startswith("_")),
}
_AT_START = {(module, name): getattr(module, name) for module, names in _SHARED.items() for name in names}


def replaced() -> list[str]:
    """Return the names of what is no longer what it was when this module was imported."""
    return [
        f"{module.__name__}.{name}"
        for (module, name), original in _AT_START.items()
        if getattr(module, name, None) is not original
    ]
