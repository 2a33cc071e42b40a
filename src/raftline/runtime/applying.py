"""How much is applied before the clock is looked at: less where commands take long, so that leaders are heard in time.

A command may take microseconds or, on a value of megabytes, milliseconds, and nobody knows before. Heartbeats and votes
wait for a turn to end, so a slice is sized by what the last one took. Where callers wait here, a turn ends sooner:
those who are answered by then propose again while the rest is applied, and what they propose goes to the disks and the
other nodes meanwhile. Else all callers of a batch would wait for its last entry, and all nodes for the callers.
"""

from collections.abc import Callable

from raftline.replica.replica import Replica

__all__ = ["Applying"]

_SLICE_S = 0.002
_CALLED_MAX = 128
"""So many entries are applied at a time where callers wait: a turn costs what some ten of them do."""


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
        """Apply until nothing is left, enough for callers is, or `for_s` has passed since `now`.

        A slice that was begun is finished.
        """
        replica, began = self._replica, self._now()
        left = _CALLED_MAX if replica.has_callers else replica.backlog
        while left > 0 and replica.has_work and began < now + for_s:
            count = replica.apply_some(min(self._slice, slice_max, left), now)
            left -= count
            ended = self._now()
            if ended - began > _SLICE_S:
                self._slice = max(1, int(count * _SLICE_S / (ended - began)))
            elif self._slice < self._slice_max:
                self._slice = min(2 * self._slice, self._slice_max)
            began = ended
