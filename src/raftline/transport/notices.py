"""Log lines that cannot flood: each kind of trouble is told at once, and then at most once per interval.

What was held back is counted and told with the next line of its kind, so that nothing disappears unmentioned.
"""

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Log", "Notices"]

_KEYS_MAX = 1024


class Log(Protocol):
    """The two verbs of a structlog logger that the transport uses."""

    def info(self, event: str, **fields: object) -> Any:
        """Tell what an operator may want to know."""

    def warning(self, event: str, **fields: object) -> Any:
        """Tell what an operator should look into."""


class Notices:
    """Passes lines on to a log, each kind at most once per `interval_s`."""

    __slots__ = ("_held_back", "_interval_s", "_log", "_next_s", "_now")

    def __init__(self, log: Log, now: Callable[[], float], interval_s: float = 10.0) -> None:
        self._log = log
        self._now = now
        self._interval_s = interval_s
        self._next_s: dict[object, float] = {}
        self._held_back: dict[object, int] = {}

    def info(self, event: str, **fields: object) -> None:
        """Log a change that is rare by nature; never held back."""
        self._log.info(event, **fields)

    def warn(self, key: object, event: str, **fields: object) -> None:
        """Log a warning unless one with the same `key` (any hashable value) was logged within the interval."""
        now = self._now()
        if now < self._next_s.get(key, now):
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return
        held_back = self._held_back.pop(key, 0)
        if len(self._next_s) >= _KEYS_MAX:
            self._next_s.clear()
            self._held_back.clear()
        self._next_s[key] = now + self._interval_s
        if held_back:
            fields["held_back"] = held_back
        self._log.warning(event, **fields)
