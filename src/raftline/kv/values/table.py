"""Members with a value each, in parts of at most 512: the ground of hashes, sets and the scores of sorted sets.

Each part holds the members whose CRC32 lies in one interval, in the order of insertion. An interval is cut in halves
when it holds more than 512 members, and two halves become one again as soon as 512 are enough. So the parts follow
from the members alone, and a table filled in the order in which another one is walked is equal to it.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar
from zlib import crc32

from raftline.kv.values.container import PART_MEMBERS_MAX
from raftline.kv.values.draws import Draws

__all__ = ["Table"]

V = TypeVar("V")

_HASHES = 1 << 32
_DRAWN_SHARE = 3
"""Fewer members than one in so many are drawn until they differ, more are taken from a shuffled list of all."""


class Table(Generic[V]):
    """A dictionary of bytes.

    Invariants: `_lows` are the beginnings of the parts' intervals, ascending from 0; an interval that could be halved
    holds more than 512 members only between two statements; `_shared` marks parts that a clone may hold, too.
    """

    __slots__ = ("_lows", "_parts", "_shared", "count")

    def __init__(self, lows: list[int] | None = None, parts: list[dict[bytes, V]] | None = None) -> None:
        self._lows = lows or [0]
        self._parts = parts or [{}]
        self._shared: bytearray | None = None if parts is None else bytearray(b"\1") * len(parts)
        self.count = 0 if parts is None else sum(map(len, parts))

    def clone(self) -> "Table[V]":
        """Return a table that shares the parts until one of the two changes them."""
        self._shared = bytearray(b"\1") * len(self._parts)
        return Table(self._lows.copy(), self._parts.copy())

    def get(self, member: bytes) -> V | None:
        """Return the value of a member, None if it is not there."""
        parts = self._parts
        if len(parts) == 1:
            return parts[0].get(member)
        return parts[bisect_right(self._lows, crc32(member)) - 1].get(member)

    def put(self, member: bytes, value: V) -> V | None:
        """Set the value of a member, in its place or behind all others; return the one before."""
        number = self._number(member)
        part = self._own(number)
        old = part.get(member)
        part[member] = value
        if old is None:
            self.count += 1
            if len(part) > PART_MEMBERS_MAX:
                self._split(number)
        return old

    def remove(self, member: bytes) -> V | None:
        """Remove a member; return its value, None if it was not there."""
        number = self._number(member)
        if member not in self._parts[number]:
            return None
        old = self._own(number).pop(member)
        self.count -= 1
        if len(self._parts) > 1:
            self._merge(number)
        return old

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            yield from part

    def values(self) -> Iterator[V]:
        """Yield every value, in the order of the members."""
        for part in self._parts:
            yield from part.values()

    def items(self) -> Iterator[tuple[bytes, V]]:
        """Yield every member with its value."""
        for part in self._parts:
            yield from part.items()

    def parts(self) -> list[dict[bytes, V]]:
        """Return the parts, which are not to be changed."""
        return self._parts.copy()

    def parts_from(self, first_hash: int) -> Iterator[dict[bytes, V]]:
        """Yield the parts, in order, from that on in whose interval a CRC32 lies."""
        return islice(self._parts, bisect_right(self._lows, first_hash) - 1, None)

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, V]]]:
        """Return whole parts with at least `count` members, from `cursor` on, and the next cursor, 0 at the end.

        A cursor is a CRC32, a place that no change can move: a member that is there during a whole walk is returned.
        """
        number = bisect_right(self._lows, cursor % _HASHES) - 1
        found: list[tuple[bytes, V]] = []
        while number < len(self._parts) and len(found) < count:
            found += self._parts[number].items()
            number += 1
        return (self._lows[number] if number < len(self._parts) else 0), found

    def draw(self, draws: Draws) -> tuple[bytes, V]:
        """Return one member, each with the same probability; there is at least one."""
        parts = self._parts
        largest = PART_MEMBERS_MAX if len(parts) > 1 else self.count
        while True:
            part = parts[draws.below(len(parts))]
            if len(part) > PART_MEMBERS_MAX:  # members that share one CRC32
                return self._draw_by_rank(draws.below(self.count))
            place = draws.below(largest)
            if place < len(part):
                return next(islice(part.items(), place, None))

    def draw_many(self, draws: Draws, count: int) -> list[tuple[bytes, V]]:
        """Return `count` different members, all of them if there are fewer; of a negative count any, repeatedly too."""
        if count < 0:
            return [self.draw(draws) for _ in range(-count)]
        if count >= self.count:
            return list(self.items())
        if count * _DRAWN_SHARE < self.count:
            drawn: dict[bytes, V] = {}
            while len(drawn) < count:
                member, value = self.draw(draws)
                drawn[member] = value
            return list(drawn.items())
        members = list(self.items())
        for place in range(count):
            other = place + draws.below(len(members) - place)
            members[place], members[other] = members[other], members[place]
        return members[:count]

    def _draw_by_rank(self, rank: int) -> tuple[bytes, V]:
        return next(islice(self.items(), rank, None))

    # Parts.

    def _number(self, member: bytes) -> int:
        return bisect_right(self._lows, crc32(member)) - 1 if len(self._lows) > 1 else 0

    def _own(self, number: int) -> dict[bytes, V]:
        """Return a part that no clone holds."""
        shared = self._shared
        if shared is not None and shared[number]:
            self._parts[number] = self._parts[number].copy()
            shared[number] = 0
        return self._parts[number]

    def _end(self, number: int) -> int:
        return self._lows[number + 1] if number + 1 < len(self._lows) else _HASHES

    def _split(self, number: int) -> None:
        """Halve the interval of a part until no part is too large, or nothing is left to halve."""
        while len(self._parts[number]) > PART_MEMBERS_MAX and self._end(number) - self._lows[number] > 1:
            middle = (self._lows[number] + self._end(number)) // 2
            part = self._parts[number]
            left = {member: value for member, value in part.items() if crc32(member) < middle}
            right = {member: value for member, value in part.items() if crc32(member) >= middle}
            self._lows.insert(number + 1, middle)
            self._parts[number : number + 1] = [left, right]
            if self._shared is not None:
                self._shared[number : number + 1] = b"\0\0"
            if len(right) > PART_MEMBERS_MAX:
                number += 1

    def _merge(self, number: int) -> None:
        """Join a part with the other half of their interval, as long as one part is enough for both."""
        while len(self._parts) > 1:
            low, end = self._lows[number], self._end(number)
            size = end - low
            first = number - 1 if low & size else number
            is_whole = self._lows[first] == low - size if low & size else self._end(number + 1) == end + size
            if not is_whole or len(self._parts[first]) + len(self._parts[first + 1]) > PART_MEMBERS_MAX:
                return
            self._parts[first : first + 2] = [{**self._parts[first], **self._parts[first + 1]}]
            del self._lows[first + 1]
            if self._shared is not None:
                self._shared[first : first + 2] = b"\0"
            number = first
