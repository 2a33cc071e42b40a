"""Slots spread evenly over groups, with as few as possible changing hands; the same on every replica.

Only sorted sequences are walked, so equal arguments give equal results in every process (G17).
"""

from collections.abc import Iterable, Sequence

from raftline.core.ids import GroupId
from raftline.shards.ranges import SLOT_COUNT, SlotRange, filled, joined

__all__ = ["balance"]


def balance(ranges: Iterable[SlotRange], groups: Iterable[GroupId]) -> tuple[SlotRange, ...]:
    """Return all slots divided over `groups` so that no two differ by more than one; without groups, nothing.

    `ranges` are as a configuration has them. Slots of groups that are not in `groups`, or of nobody, go to those that
    lack some; beyond these only a surplus is taken away, from the high end. The odd slots stay with those who hold
    most already, which is what makes the moves as few as they can be.
    """
    order = sorted(groups)
    if not order:
        return ()
    held: dict[GroupId, list[SlotRange]] = {group: [] for group in order}
    free: list[SlotRange] = []
    for piece in filled(ranges):
        held.get(piece.group, free).append(piece)
    wanted = _shares({group: _count(held[group]) for group in order})
    for group in order:
        free += _cut_off(held[group], _count(held[group]) - wanted[group])
    free.sort(reverse=True)
    for group in order:
        held[group] += _take(free, wanted[group] - _count(held[group]), group)
    return joined(piece for group in order for piece in held[group])


def _count(pieces: Sequence[SlotRange]) -> int:
    return sum(piece.size for piece in pieces)


def _shares(counts: dict[GroupId, int]) -> dict[GroupId, int]:
    """Return how many slots each group is to have: those that hold most get the odd ones."""
    least, odd = divmod(SLOT_COUNT, len(counts))
    by_wealth = sorted(counts, key=lambda group: (-counts[group], group))
    return {group: least + (rank < odd) for rank, group in enumerate(by_wealth)}


def _cut_off(pieces: list[SlotRange], surplus: int) -> list[SlotRange]:
    """Remove `surplus` slots from the end of ordered pieces and return them."""
    cut: list[SlotRange] = []
    while surplus > 0:
        last = pieces.pop()
        middle = max(last.low, last.high - surplus)
        if middle > last.low:
            pieces.append(SlotRange(last.low, middle, last.group))
        cut.append(SlotRange(middle, last.high, last.group))
        surplus -= last.high - middle
    return cut


def _take(free: list[SlotRange], lacking: int, group: GroupId) -> list[SlotRange]:
    """Take `lacking` slots, the lowest first, from pieces whose lowest is the last; return them as the group's."""
    taken: list[SlotRange] = []
    while lacking > 0:
        lowest = free.pop()
        middle = min(lowest.high, lowest.low + lacking)
        if middle < lowest.high:
            free.append(SlotRange(middle, lowest.high, lowest.group))
        taken.append(SlotRange(lowest.low, middle, group))
        lacking -= middle - lowest.low
    return taken
