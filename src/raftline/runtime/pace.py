"""How fast snapshots of all groups of a node go, together: writes need the disk and the network, too.

Whoever has something to move says how much, and is called when what was moved before has had its time, in the order in
which they asked.
"""

from collections.abc import Callable

__all__ = ["Pace"]


class Pace:
    """A rate in bytes per second."""

    __slots__ = ("_bytes_per_s", "_call_at", "_free_at", "_now")

    def __init__(
        self,
        now: Callable[[], float],
        call_at: Callable[[float, Callable[[], None]], object],
        bytes_per_s: int,
    ) -> None:
        self._now = now
        self._call_at = call_at
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def move(self, size_bytes: int, go: Callable[[], None]) -> None:
        """Call `go` now, or as soon as what was moved before has had its time."""
        now = self._now()
        start = max(now, self._free_at)
        self._free_at = start + size_bytes / self._bytes_per_s
        if start <= now:
            go()
        else:
            self._call_at(start, go)
