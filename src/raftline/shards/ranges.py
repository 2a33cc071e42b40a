"""Ranges of slots and whose they are: what a configuration says of all 16,384, in as few pieces as can be."""

from collections.abc import Iterable, Iterator

import msgspec

from raftline.core.ids import GroupId

__all__ = ["NOBODY", "SLOT_COUNT", "SlotRange", "filled", "joined"]

SLOT_COUNT = 16_384
"""As in Redis Cluster, so that its clients find their way."""

NOBODY: GroupId = -1
"""Stands for the owner of slots that no group serves."""


class SlotRange(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """The slots [low, high), all of one group."""

    low: int
    high: int
    group: GroupId

    @property
    def size(self) -> int:
        """Return how many slots it holds."""
        return self.high - self.low


def joined(ranges: Iterable[SlotRange]) -> tuple[SlotRange, ...]:
    """Return disjoint ranges in order, with neighbours of one group as one range, and without those of nobody."""
    out: list[SlotRange] = []
    for piece in sorted(ranges):
        if piece.group == NOBODY or not piece.size:
            continue
        if out and out[-1].high == piece.low and out[-1].group == piece.group:
            out[-1] = SlotRange(out[-1].low, piece.high, piece.group)
        else:
            out.append(piece)
    return tuple(out)


def filled(ranges: Iterable[SlotRange]) -> Iterator[SlotRange]:
    """Yield ordered, disjoint ranges with the gaps between them, which are of `NOBODY`: all slots once."""
    end = 0
    for piece in ranges:
        if piece.low > end:
            yield SlotRange(end, piece.low, NOBODY)
        yield piece
        end = piece.high
    if end < SLOT_COUNT:
        yield SlotRange(end, SLOT_COUNT, NOBODY)
