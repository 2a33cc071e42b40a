"""Numbers that a replica puts on what it sends, and since when it has used each: an echo proves when it was sent."""

from array import array
from typing import NamedTuple

from raftline.core.ids import NodeId

__all__ = ["Proof", "Stamps"]

_KEPT_MAX = 1024


class Stamps:
    """A number is used for `apart_s` at most, then the next one; `first` differs in each life of the replica.

    Numbers rise: what answers an older one than was drawn at some time answers what was sent before.

    Invariant: `_since[i]` is when number `_next - len(_since) + i` was first used.
    """

    __slots__ = ("_next", "_since", "apart_s")

    def __init__(self, first: int, apart_s: float) -> None:
        self.apart_s = apart_s
        self._next = first + 1
        self._since = array("d")

    def use(self, now: float) -> int:
        """Return the number for what is sent now."""
        if not self._since or now >= self._since[-1] + self.apart_s:
            return self.renew(now)
        return self._next - 1

    def renew(self, now: float) -> int:
        """Return a number under which nothing was sent so far; it is used from now on."""
        self._since.append(now)
        del self._since[:-_KEPT_MAX]
        self._next += 1
        return self._next - 1

    def used_at(self, number: int) -> float:
        """Return a time before which nothing was sent under this number; minus infinity if this life never used it."""
        place = number - self._next + len(self._since)
        return self._since[place] if 0 <= place < len(self._since) else float("-inf")


class Proof(NamedTuple):
    """What a leader knows of who follows it, for its AppendEntries."""

    made_at: float
    followed_at: float
    """The latest time at which a quorum is known to have followed it; minus infinity if none is."""
    echoes: tuple[tuple[NodeId, int], ...]
    """The latest number received of each follower."""
