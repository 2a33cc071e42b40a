"""Items in an order, in parts of at most 512: the ground of lists and of the order of sorted sets.

Where the parts are cut shows in nothing but time: an item by its index costs a bisection over the parts' ends, which
are counted again after a change.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, islice
from typing import Generic, Self, TypeVar

from raftline.kv.values.container import PART_MEMBERS_MAX

__all__ = ["Sequence"]

T = TypeVar("T")

_SMALL = PART_MEMBERS_MAX // 4


class Sequence(Generic[T]):
    """A list; invariants: no part is empty; `_shared` marks parts that a clone may hold, too."""

    __slots__ = ("_ends", "_parts", "_shared", "count")

    def __init__(self, parts: list[list[T]] | None = None) -> None:
        self._parts = parts or []
        self._shared: bytearray | None = None if parts is None else bytearray(b"\1") * len(parts)
        self._ends: list[int] | None = None
        self.count = sum(map(len, self._parts))

    def clone(self) -> Self:
        """Return a sequence that shares the parts until one of the two changes them."""
        self._shared = bytearray(b"\1") * len(self._parts)
        return type(self)(self._parts.copy())

    def __getitem__(self, index: int) -> T:
        """Return the item at `index`, which is in [0, count)."""
        number, offset = self._place(index)
        return self._parts[number][offset]

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._parts)

    def __reversed__(self) -> Iterator[T]:
        for part in reversed(self._parts):
            yield from reversed(part)

    def parts(self) -> list[list[T]]:
        """Return the parts, which are not to be changed."""
        return self._parts.copy()

    def between(self, start: int, stop: int) -> Iterator[T]:
        """Yield the items of [start, stop), which lies within the sequence."""
        if start >= stop:
            return iter(())
        number, offset = self._place(start)
        rest = islice(self._parts, number, None)
        return islice(chain.from_iterable(rest), offset, offset + stop - start)

    def between_reversed(self, start: int, stop: int) -> Iterator[T]:
        """Yield the items of [start, stop), the last one first."""
        wanted = stop - start
        if wanted <= 0:
            return
        number, offset = self._place(stop - 1)
        part = self._parts[number][: offset + 1]
        while wanted:
            taken = part[-wanted:]
            yield from reversed(taken)
            wanted -= len(taken)
            number -= 1
            part = self._parts[number]

    def set(self, index: int, item: T) -> T:
        """Put `item` in the place of another; return that."""
        number, offset = self._place(index)
        part = self._own(number)
        old, part[offset] = part[offset], item
        return old

    def append(self, item: T) -> None:
        """Add an item at the end."""
        if not self._parts or len(self._parts[-1]) >= PART_MEMBERS_MAX:
            self._open(len(self._parts))
        self._own(len(self._parts) - 1).append(item)
        self._grow(1)

    def prepend(self, item: T) -> None:
        """Add an item at the beginning."""
        if not self._parts or len(self._parts[0]) >= PART_MEMBERS_MAX:
            self._open(0)
        self._own(0).insert(0, item)
        self._grow(1)

    def insert(self, index: int, item: T) -> None:
        """Add an item before the one at `index`."""
        if index == self.count:
            self.append(item)
        elif index == 0:
            self.prepend(item)
        else:
            number, offset = self._place(index)
            self._insert_at(number, offset, item)

    def extend(self, items: Iterable[T]) -> None:
        """Add items at the end."""
        for item in items:
            self.append(item)

    def pop(self, index: int) -> T:
        """Remove and return an item."""
        number, offset = self._place(index)
        return self._pop_at(number, offset)

    def remove_between(self, start: int, stop: int) -> list[T]:
        """Remove and return the items of [start, stop), part by part."""
        removed: list[T] = []
        if start >= stop:
            return removed
        number, offset = self._place(start)
        while (left := stop - start - len(removed)) > 0:
            if offset == 0 and len(self._parts[number]) <= left:
                removed += self._parts.pop(number)
                if self._shared is not None:
                    del self._shared[number]
            else:
                part = self._own(number)
                removed += part[offset : offset + left]
                del part[offset : offset + left]
                number, offset = number + 1, 0
        self._grow(-len(removed))
        return removed

    # Parts.

    def _insert_at(self, number: int, offset: int, item: T) -> None:
        part = self._own(number)
        part.insert(offset, item)
        self._grow(1)
        if len(part) > PART_MEMBERS_MAX:
            half = len(part) // 2
            self._open(number + 1)
            self._parts[number + 1] = part[half:]
            del part[half:]

    def _pop_at(self, number: int, offset: int) -> T:
        part = self._own(number)
        item = part.pop(offset)
        self._grow(-1)
        if len(part) < _SMALL:
            self._join(number)
        return item

    def _join(self, number: int) -> None:
        """Join a small part with the one behind it, if that is small, too; drop it if it is empty."""
        part = self._parts[number]
        if part and (number + 1 == len(self._parts) or len(self._parts[number + 1]) >= _SMALL):
            return
        if part:
            self._parts[number + 1] = part + self._parts[number + 1]
            if self._shared is not None:
                self._shared[number + 1] = 0
        del self._parts[number]
        if self._shared is not None:
            del self._shared[number]

    def _grow(self, amount: int) -> None:
        self.count += amount
        self._ends = None

    def _open(self, number: int) -> None:
        """Put an empty part in."""
        self._parts.insert(number, [])
        if self._shared is not None:
            self._shared.insert(number, 0)

    def _own(self, number: int) -> list[T]:
        """Return a part that no clone holds."""
        shared = self._shared
        if shared is not None and shared[number]:
            self._parts[number] = self._parts[number].copy()
            shared[number] = 0
        return self._parts[number]

    def _place(self, index: int) -> tuple[int, int]:
        """Return the part's number of an index, and the place in it; the end of all counts as the first part's end."""
        parts = self._parts
        if len(parts) == 1 or index < len(parts[0]):
            return 0, index
        if index >= (last := self.count - len(parts[-1])):
            return len(parts) - 1, index - last
        if self._ends is None:
            self._ends = list(accumulate(map(len, parts)))
        number = bisect_right(self._ends, index)
        return number, index - self._ends[number - 1]

    def _before(self, number: int) -> int:
        """Return how many items stand before a part."""
        if number == 0:
            return 0
        if self._ends is None:
            self._ends = list(accumulate(map(len, self._parts)))
        return self._ends[number - 1]
