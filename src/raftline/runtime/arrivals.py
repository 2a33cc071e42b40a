"""Which numbered frames of one sender came already: those that came in a row take the space of one.

Frames of a sender have rising numbers, and come in that order as a rule; numbers that went to somebody else are gaps.
"""

from bisect import bisect_right
from enum import Enum

__all__ = ["Arrival", "Arrivals"]

KEPT_MAX = 1024
"""Gaps are few: what a sender passes on to others, and asks without a command."""


class Arrival(Enum):
    """What a frame is to the node that it reached."""

    NEW = "new"
    OVERTAKEN = "overtaken"
    """Never seen, but a newer frame of the same node came first: taking it would turn their order round."""
    REPEATED = "repeated"
    """Seen before, or too old to be told apart."""


class Arrivals:
    """The numbers that came, as runs without a gap.

    Invariant: every number below `_floor`, and those in `_ends`, which are where runs begin and end in turns, were
    seen or are too old to be told apart; there are at most `_kept_max` runs.
    """

    __slots__ = ("_ends", "_floor", "_kept_max")

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._floor = 0
        self._ends: list[int] = []

    def arrive(self, number: int) -> Arrival:
        """Say what a number is beside those that came before it, and remember it."""
        ends = self._ends
        at = bisect_right(ends, number)
        if number < self._floor or at & 1:
            return Arrival.REPEATED
        arrival = Arrival.OVERTAKEN if at < len(ends) else Arrival.NEW
        low, high = at, at
        run = [number, number + 1]
        if at and ends[at - 1] == number:
            low, run = at - 1, run[1:]
        if at < len(ends) and ends[at] == number + 1:
            high, run = at + 1, run[:-1]
        ends[low:high] = run
        if len(ends) > 2 * self._kept_max:
            self._floor = ends[1]
            del ends[:2]
        return arrival
