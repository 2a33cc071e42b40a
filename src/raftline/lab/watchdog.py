"""Interrupts code that does not give the loop back: an endless loop becomes an exception with the place it spins at.

It works from inside (a timer signal), because only inside the place is known; who catches even that is ended from
outside, by the process that waits for the result.
"""

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from raftline.sim import loop as loop_module

__all__ = ["Interrupted", "watch_progress"]

_CHECK_INTERVAL_S = 0.5
_INTERRUPTIONS_MAX = 10
_TESTER = (str(Path(__file__).parent), str(Path(loop_module.__file__).parent))


class Interrupted(BaseException):
    """Raised wherever the main thread is; a BaseException, so that `except Exception` does not hide it."""


@contextmanager
def watch_progress(
    progress: Callable[[], object],
    on_stuck: Callable[[str, str], None],
    *,
    stuck_s: float,
    limit_s: float,
    on_hopeless: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Raise `Interrupted` in the main thread when `progress()` stays the same for `stuck_s`, or after `limit_s`.

    `on_stuck(name, seen)` is called first, with the name of the broken promise; `on_hopeless()` when ten interruptions
    were swallowed. Main thread only.
    """
    started = time.monotonic()
    last: list[object] = [progress(), started]
    interrupted: list[str] = []

    def check(_signal: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if interrupted:
            interrupted.append(interrupted[0])
            if len(interrupted) > _INTERRUPTIONS_MAX:
                on_hopeless()
            raise Interrupted(interrupted[0])  # it spins again, maybe elsewhere
        at = progress()
        if at != last[0]:
            last[:] = [at, now]
        if now - started > limit_s:
            _interrupt("time", f"the test did not end within {limit_s:.0f} s of real time; it was {_place_of(frame)}")
        since = last[1]
        assert isinstance(since, float)
        if now - since > stuck_s:
            _interrupt("returns", f"one step of the program took more than {stuck_s:.0f} s; it was {_place_of(frame)}")

    def _interrupt(name: str, seen: str) -> NoReturn:
        interrupted.append(seen)
        on_stuck(name, seen)
        raise Interrupted(seen)

    previous = signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, _CHECK_INTERVAL_S, _CHECK_INTERVAL_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _place_of(frame: FrameType | None) -> str:
    """Return the innermost place outside the tester, and who called it."""
    stack = [item for item in traceback.extract_stack(frame) if not item.filename.startswith(_TESTER)]
    if not stack:
        return "in the tester itself"
    inner = stack[-1]
    return f"at {inner.filename}:{inner.lineno} in {inner.name}: {inner.line}"
