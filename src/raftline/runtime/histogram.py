"""How long something took, as counts in preallocated buckets: one bisection and three additions for each measurement.

Bounds are fixed, so histograms of different nodes and times can be added and subtracted. It reads no clock.
"""

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["BOUNDS_S", "Histogram", "quantile"]

_STEPS = [float(f"{digits}e{power}") for power in range(-5, 1) for digits in (1, 2, 5)]
BOUNDS_S: tuple[float, ...] = (*_STEPS, 10.0)
"""Upper bounds of the buckets in seconds: 10 µs to 10 s in steps of 1, 2, 5; what took longer has its own bucket."""


class Histogram:
    """Counts of durations.

    Invariant: `counts[i]` of what took more than `BOUNDS_S[i - 1]` and at most `BOUNDS_S[i]`; the last is unbounded.
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """Note that `count` things took so long; a clock that goes back counts as no time."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += count
        self.sum_s += seconds * count if seconds > 0 else 0.0

    @property
    def count(self) -> int:
        """Return how many durations were noted."""
        return sum(self.counts)


def quantile(counts: Sequence[int], fraction: float) -> float | None:
    """Return the time in seconds within which `fraction` stayed, interpolated inside its bucket; None without counts.

    What is beyond the last bound counts as the last bound.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = fraction * total
    below = 0
    for position, bound in enumerate(BOUNDS_S):
        here = counts[position]
        if here and below + here >= wanted:
            low = BOUNDS_S[position - 1] if position else 0.0
            return low + (bound - low) * max(0.0, wanted - below) / here
        below += here
    return BOUNDS_S[-1]
