"""How much is applied before the clock is looked at: less where commands take long, so that leaders are heard in time.

A command may take microseconds or, on a value of megabytes, milliseconds, and nobody knows before. Heartbeats and votes
wait for a turn to end, so a slice is sized by what the last one took.
"""

from collections.abc import Callable

from raftline.replica.replica import Replica

__all__ = ["Applying"]

_SLICE_S = 0.002


class Applying:
    """Applies what one group committed.

    Invariant: 1 <= `_slice` <= `_slice_max`.
    """

    __slots__ = ("_now", "_replica", "_slice", "_slice_max")

    def __init__(self, replica: Replica, now: Callable[[], float], slice_max: int) -> None:
        """`now` tells the loop's time in seconds; `slice_max` is the most entries between two looks at it."""
        self._replica = replica
        self._now = now
        self._slice = self._slice_max = slice_max

    def go_on(self, now: float, for_s: float, slice_max: int) -> None:
        """Apply until nothing is left or `for_s` has passed since `now`; a slice that was begun is finished."""
        replica, began = self._replica, self._now()
        while replica.has_work and began < now + for_s:
            count = replica.apply_some(min(self._slice, slice_max), now)
            ended = self._now()
            if ended - began > _SLICE_S:
                self._slice = max(1, int(count * _SLICE_S / (ended - began)))
            elif self._slice < self._slice_max:
                self._slice = min(2 * self._slice, self._slice_max)
            began = ended
