"""A list: items in an order, any of them more than once."""

from collections.abc import Iterator
from itertools import islice
from typing import ClassVar, Self

from raftline.kv.values.container import Container, Item
from raftline.kv.values.sequence import Sequence

__all__ = ["ITEM_BYTES", "List"]

ITEM_BYTES = 48
"""Estimated cost of an item beside its own bytes."""

_FEW = 16
"""Items that are removed one after the other; of more the list is made anew."""


class List(Container):
    """Items; `items` is for reading, changes go through the methods here, which keep the size."""

    __slots__ = ("items",)
    kind: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self.items: Sequence[bytes] = Sequence()

    @property
    def count(self) -> int:
        """Return how many items there are."""
        return self.items.count

    def clone(self) -> Self:
        """Return an equal list that changes independently."""
        other = type(self)()
        other.items = self.items.clone()
        return self._copy_sizes(other)

    def push(self, item: bytes, *, left: bool) -> None:
        """Add an item at one end."""
        if left:
            self.items.prepend(item)
        else:
            self.items.append(item)
        self.size_bytes += len(item) + ITEM_BYTES

    def pop(self, *, left: bool) -> bytes:
        """Remove and return the item at one end."""
        return self.pop_at(0 if left else self.count - 1)

    def pop_at(self, index: int) -> bytes:
        """Remove and return the item at `index`."""
        item = self.items.pop(index)
        self.size_bytes -= len(item) + ITEM_BYTES
        return item

    def remove_at(self, places: list[int]) -> None:
        """Remove the items at some places, which are ascending."""
        if len(places) <= _FEW:
            for index in reversed(places):
                self.pop_at(index)
            return
        gone = set(places)
        kept: Sequence[bytes] = Sequence()
        for index, item in enumerate(self.items):
            if index in gone:
                self.size_bytes -= len(item) + ITEM_BYTES
            else:
                kept.append(item)
        self.items = kept

    def insert(self, index: int, item: bytes) -> None:
        """Add an item before the one at `index`."""
        self.items.insert(index, item)
        self.size_bytes += len(item) + ITEM_BYTES

    def set(self, index: int, item: bytes) -> None:
        """Put an item in the place of another."""
        self.size_bytes += len(item) - len(self.items.set(index, item))

    def remove_between(self, start: int, stop: int) -> None:
        """Remove the items of [start, stop)."""
        removed = self.items.remove_between(start, stop)
        self.size_bytes -= sum(map(len, removed)) + ITEM_BYTES * len(removed)

    def pieces(self, first: int = 0) -> Iterator[list[Item]]:
        """Yield the items, part by part."""
        for part in islice(self.items.parts(), first, None):
            yield list(part)

    def extend(self, items: list[Item]) -> None:
        """Add items of a snapshot."""
        for item in items:
            assert isinstance(item, bytes)
            self.push(item, left=False)

    def parts(self) -> list[list[bytes]]:
        """Return the parts, for giving back memory little by little."""
        return self.items.parts()
