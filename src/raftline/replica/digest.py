"""A rolling hash over applied commands and results: equal logs must give equal states on every replica.

The leader's hash travels with AppendEntries; a follower compares it at the same index and notices a state machine
that is not deterministic (dictionary order, time, randomness) at once, whichever of the two is ahead.
"""

from zlib import crc32

from raftline.core.ids import Index
from raftline.errors import Diverged

__all__ = ["Digest"]

_KEPT = 8192
_JOINED_BYTES_MAX = 1 << 10
"""Copying more than this takes longer than a second call."""


class Digest:
    """The hash at `index`, the hashes just before it, and the leader's hash still to be reached.

    Invariant: `_ring[(i - _first) % _KEPT]` is the hash at `i` for the last `_KEPT` indices from `_first` on; the ring
    grows as it is filled, so that a group in which nothing happens needs none.
    """

    __slots__ = ("_expected", "_first", "_ring", "index", "value")

    def __init__(self, index: Index = 0, value: int = 0) -> None:
        self.restart_at(index, value)

    def restart_at(self, index: Index, value: int) -> None:
        """Go on from a snapshot's hash."""
        self.index = index
        self.value = value
        self._first = index
        self._expected: tuple[Index, int] | None = None
        self._ring = [value]

    def on_applied(self, index: Index, command: bytes, result: bytes) -> None:
        """Mix in one command and its result; raise `Diverged` if the leader had something else here."""
        if len(command) <= _JOINED_BYTES_MAX:
            value = crc32(command + result, self.value)  # as of one after the other, by one call
        else:
            value = crc32(result, crc32(command, self.value))
        self.value = value
        self.index = index
        ring, place = self._ring, (index - self._first) % _KEPT
        if place < len(ring):
            ring[place] = value
        else:
            ring.append(value)
        if self._expected is not None and index >= self._expected[0]:
            expected_index, expected = self._expected
            self._expected = None
            if index == expected_index:
                self._check(index, expected)

    def compare(self, index: Index, value: int) -> None:
        """Hold the leader's hash at `index` against ours: now, or as soon as we get there."""
        if index > self.index:
            if self._expected is None:
                self._expected = (index, value)
        elif index >= self._first and index > self.index - _KEPT:
            self._check(index, value)

    def _check(self, index: Index, expected: int) -> None:
        value = self._ring[(index - self._first) % _KEPT]
        if value != expected:
            raise Diverged(
                f"the state machine differs from the leader's at index {index} (hash {value:08x}, leader's "
                f"{expected:08x}): apply() must depend on nothing but its arguments and the state. This replica stops "
                f"serving; correct the state machine, then restart the node with an empty data directory"
            )
