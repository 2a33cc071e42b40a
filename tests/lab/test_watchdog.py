"""Code that spins is interrupted where it spins, code that makes progress is not."""

import signal
import sys
import time
import weakref
from typing import Any

import pytest

from raftline.lab import watchdog
from raftline.lab.watchdog import Interrupted, watch_progress


def _spin() -> None:
    while True:
        pass


def test_an_endless_loop_is_interrupted_where_it_spins() -> None:
    """After `stuck_s` without progress the place is named, and the main thread gets `Interrupted` (F19)."""
    told: list[tuple[str, str]] = []
    with (
        pytest.raises(Interrupted),
        watch_progress(lambda: 0, lambda *what: told.append(what), stuck_s=0.2, limit_s=60),
    ):
        _spin()
    [(name, seen)] = told
    assert name == "returns"
    assert "in _spin" in seen


def test_code_that_swallows_the_interruption_is_interrupted_again() -> None:
    """A bare except does not save an endless loop: it is interrupted until it ends."""
    told: list[tuple[str, str]] = []
    swallowed = 0
    with watch_progress(lambda: 0, lambda *what: told.append(what), stuck_s=0.1, limit_s=60):
        while swallowed < 2:
            try:
                _spin()
            except Interrupted:
                swallowed += 1
    assert len(told) == 1


def test_progress_is_left_alone_until_time_is_up() -> None:
    """Code whose progress changes is interrupted only at the limit, as being out of time (J4)."""
    told: list[tuple[str, str]] = []
    with (
        pytest.raises(Interrupted),
        watch_progress(time.monotonic, lambda *what: told.append(what), stuck_s=0.1, limit_s=1.2),
    ):
        _spin()
    assert [name for name, _ in told] == ["time"]


def test_nothing_is_left_behind() -> None:
    """After the block no signal comes any more."""
    with watch_progress(time.monotonic, lambda *_: None, stuck_s=0.1, limit_s=60):
        pass
    began = time.monotonic()
    while time.monotonic() < began + 0.7:
        pass


def test_nobody_is_interrupted_where_python_would_drop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the callback of a weak reference it waits for the next signal: what is raised there reaches nobody."""
    here = compile("def spin(check, frame):\n    check(14, frame())\n", weakref.__file__, "exec")
    names: dict[str, Any] = {}
    exec(here, names)  # noqa: S102  a frame that looks like one of that module
    stuck: list[str] = []
    monkeypatch.setattr(watchdog, "_CHECK_INTERVAL_S", 3600.0)  # the signals are sent by hand
    with watch_progress(lambda: 0, lambda name, _: stuck.append(name), stuck_s=0.0, limit_s=60.0):
        check: Any = signal.getsignal(signal.SIGALRM)
        names["spin"](check, lambda: sys._getframe(1))
        assert stuck == []
        with pytest.raises(Interrupted):
            check(signal.SIGALRM, sys._getframe())
    assert stuck == ["returns"]
