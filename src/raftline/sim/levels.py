"""Whether anything grows: many measures over time, and what is higher at the end than after the warm-up.

What goes up and down by itself (a log between two snapshots, say) is compared by its highest value within a window that
is longer than its period. Only these are kept, so that long runs need no more memory than short ones. Nothing here
knows what is measured; the same judgement serves virtual and real time.
"""

import sys
from collections.abc import Callable, Mapping

import msgspec

__all__ = ["Growth", "Levels", "Windows"]

_SHARE = 0.10


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Which minutes are compared: those from `warm_up` on, `length` of them, with the last `length` before `end`."""

    warm_up: float = 10.0
    length: float = 20.0
    end: float = 60.0

    @staticmethod
    def of(end: float) -> "Windows":
        """Return the windows of a run of `end` minutes: a sixth of it to warm up, the next third, the last third."""
        return Windows(warm_up=end / 6, length=end / 3, end=end)


class Growth(msgspec.Struct, frozen=True):
    """A measure that is not level: its highest value after the warm-up, and at the end."""

    measure: str
    before: float
    after: float

    def __str__(self) -> str:
        return f"{self.measure} grew from {self.before:,.0f} to {self.after:,.0f}"


class Levels:
    """The highest value of each measure in both windows."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self.early: dict[str, float] = {}
        self.late: dict[str, float] = {}

    def add(self, minute: float, values: Mapping[str, float]) -> None:
        """Take in what was measured at a moment; what is not there just then is left out."""
        windows = self._windows
        if windows.warm_up <= minute <= windows.warm_up + windows.length:
            _raise(self.early, values)
        if minute > windows.end - windows.length:
            _raise(self.late, values)

    def grown(self, allowance: Callable[[str], float]) -> list[Growth]:
        """Return what is over a tenth higher in the last window than after the warm-up, the worst first.

        `allowance(measure)` comes on top: what chance may add to a small number.
        """
        found = [
            Growth(measure, self.early.get(measure, 0.0), after)
            for measure, after in self.late.items()
            if after > self.early.get(measure, 0.0) * (1 + _SHARE) + allowance(measure)
        ]
        return sorted(found, key=lambda growth: (growth.before / growth.after, growth.measure))


def _raise(highest: dict[str, float], values: Mapping[str, float]) -> None:
    for measure, value in values.items():
        known = highest.get(measure)
        if known is None:
            highest[sys.intern(measure)] = value
        elif value > known:
            highest[measure] = value
