"""Where in the segments the entries of one group are, so that they can be read back without reading everything.

A place is a frame from which on reading may begin, one in so many bytes, and one wherever entries replace others: so
between two places indices only rise, and each place stands for its own range, whatever was written before it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec

from raftline.core.ids import GroupId, Index
from raftline.wal.record import Write

__all__ = ["LogIndex", "Span"]

_BYTES_BETWEEN_PLACES = 64 << 10


class _Place(msgspec.Struct, frozen=True, gc=False):
    first: Index
    sequence: int
    offset: int


def _first_of(place: _Place) -> Index:
    return place.first


class Span(msgspec.Struct, frozen=True, gc=False):
    """Entries `[low, high)` of a group are in segment `sequence`, in frames from `offset` on."""

    sequence: int
    offset: int
    low: Index
    high: Index


class LogIndex:
    """The places of one group.

    Invariants: their first indices rise, and so do their positions on disk; the last one's range ends with the log.
    """

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self.end: Index = 0
        """The last index of the log."""

    def note(self, group: GroupId, sequence: int, offset: int, writes: Sequence[Write]) -> None:
        """Take in that the frame at `offset` of segment `sequence` holds these records; other groups' are skipped."""
        places = self._places
        for write in writes:
            if write.group != group:
                continue
            if write.reset is not None:
                places.clear()
                self.end = write.reset.index
            if write.entries:
                first = write.entries[0].index
                last = places[-1] if places else None
                if (
                    last is None
                    or first <= self.end
                    or last.sequence != sequence
                    or offset - last.offset >= _BYTES_BETWEEN_PLACES
                ):
                    del places[bisect_left(places, first, key=_first_of) :]
                    places.append(_Place(first, sequence, offset))
                self.end = write.entries[-1].index

    def forget_before(self, sequence: int) -> None:
        """Forget the segments before `sequence`: they are removed."""
        gone = 0
        while gone < len(self._places) and self._places[gone].sequence < sequence:
            gone += 1
        del self._places[:gone]

    def locate(self, low: Index, bytes_max: int) -> list[Span]:
        """Return where to read from `low` on, in order, for about `bytes_max`; nothing if `low` is not there."""
        places = self._places
        start = bisect_right(places, low, key=_first_of) - 1
        if start < 0 or low > self.end:
            return []
        found = places[start : start + 3 + bytes_max // _BYTES_BETWEEN_PLACES]
        ends = [place.first for place in found[1:]]
        follower = start + len(found)
        ends.append(places[follower].first if follower < len(places) else self.end + 1)
        return [
            Span(place.sequence, place.offset, max(low, place.first), end)
            for place, end in zip(found, ends, strict=True)
        ]
