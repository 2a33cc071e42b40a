"""Interrupts code that does not give the loop back: an endless loop becomes an exception with the place it spins at.

It works from inside (a timer signal), because only inside the place is known. Code that no signal reaches (a loop in C)
ends the process, with the place as its last words; who catches even that is ended from outside.
"""

import _weakrefset
import faulthandler
import re
import signal
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn

from raftline.sim import loop as loop_module

__all__ = ["LAST_WORDS", "Interrupted", "understand_last_words", "watch_progress"]

_CHECK_INTERVAL_S = 0.5
_INTERRUPTIONS_MAX = 10
_DEAF_S_MAX = 20.0
"""How long no signal may reach the program."""
LAST_WORDS = b"Timeout ("
"""How they begin."""
_PLACE = re.compile(r'File "(.+)", line (\d+) in (.+)')
_TESTER = (str(Path(__file__).parent), str(Path(loop_module.__file__).parent))


_PYTHON = str(Path(re.__file__).parents[1])


_DROPS_WHAT_IS_RAISED = frozenset({weakref.__file__, _weakrefset.__file__})
"""Python calls these when an object goes, and drops whatever they raise."""


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
    last_words: BinaryIO | None = None,
) -> Iterator[None]:
    """Raise `Interrupted` in the main thread when `progress()` stays the same for `stuck_s`, or after `limit_s`.

    `on_stuck(name, seen)` is called first, with the name of the broken promise; `on_hopeless()` when ten interruptions
    were swallowed. If no signal gets through for 20 s, the process writes where it is to `last_words` and ends; see
    `understand_last_words`. Main thread only.
    """
    started = time.monotonic()
    last: list[object] = [progress(), started]
    interrupted: list[str] = []

    def check(_signal: int, frame: FrameType | None) -> None:
        _end_if_deaf(last_words)
        if frame is not None and frame.f_code.co_filename in _DROPS_WHAT_IS_RAISED:
            return  # it is over in a moment; the next signal comes soon
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

    _end_if_deaf(last_words)
    previous = signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, _CHECK_INTERVAL_S, _CHECK_INTERVAL_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        faulthandler.cancel_dump_traceback_later()


def _end_if_deaf(last_words: BinaryIO | None) -> None:
    """End the process, with where it is as its last words, unless this is called again before long."""
    if last_words is not None:
        faulthandler.dump_traceback_later(_DEAF_S_MAX, exit=True, file=last_words)


def understand_last_words(text: bytes) -> str | None:
    """Return what a process that no signal reached says of where it was; None if these are no such words."""
    if not text.startswith(LAST_WORDS):
        return None
    main_thread = text.decode(errors="replace").rpartition("Thread 0x")[2]
    places = [place for place in _PLACE.findall(main_thread) if not place[0].startswith((*_TESTER, "<frozen"))]
    places.sort(key=lambda place: place[0].startswith(_PYTHON))  # innermost first, and Python's own last
    where = "at {}:{} in {}".format(*places[0]) if places else "in the tester itself"
    return f"no signal reached the program for a long time: C code that does not end; it was {where}"


def _place_of(frame: FrameType | None) -> str:
    """Return the innermost place outside the tester and, if there is one, outside Python's own modules."""
    stack = [item for item in traceback.extract_stack(frame) if not item.filename.startswith(_TESTER)]
    if not stack:
        return "in the tester itself"
    stack.sort(key=lambda item: not item.filename.startswith(_PYTHON))  # innermost last, Python's own before
    inner = stack[-1]
    return f"at {inner.filename}:{inner.lineno} in {inner.name}: {inner.line}"
