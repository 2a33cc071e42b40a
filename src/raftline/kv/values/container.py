"""What hashes, lists, sets and sorted sets have in common: a size that is kept at all times, and lazy copies.

A container consists of parts of at most 512 members. A clone shares the parts with the original, and whichever of the
two changes a part copies it first: so a snapshot, and COPY, cost no more than a list of the parts.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Self

__all__ = ["CONTAINER_BYTES", "PART_MEMBERS_MAX", "Container", "Item"]

Item = bytes | float
"""What a snapshot's pieces consist of; floats are scores."""

PART_MEMBERS_MAX = 512
"""Members of one part; part of the replicated behaviour, because the order of large hashes and sets follows from it."""

CONTAINER_BYTES = 320
"""Estimated cost of an empty container."""


class Container(ABC):
    """A value with members.

    `size_bytes` is the estimate of its memory; `counted_bytes` what the store counted of it, which is also its `len`,
    so that the store asks strings and containers alike. `epoch` tells the store whether a snapshot may share it.
    """

    __slots__ = ("counted_bytes", "epoch", "size_bytes")

    kind: ClassVar[int]
    """Its number in snapshots."""
    item_count: ClassVar[int] = 1
    """Items of a member in a snapshot."""

    def __init__(self) -> None:
        self.size_bytes = CONTAINER_BYTES
        self.counted_bytes = 0
        self.epoch = -1

    def __len__(self) -> int:
        return self.counted_bytes

    @property
    def is_new(self) -> bool:
        """Say whether no store ever held it."""
        return self.epoch < 0

    @property
    @abstractmethod
    def count(self) -> int:
        """Return how many members there are; no key holds a container without any."""

    @abstractmethod
    def clone(self) -> Self:
        """Return an equal container that changes independently."""

    @abstractmethod
    def pieces(self, first: int = 0) -> Iterable[list[Item]]:
        """Yield the members part by part, as `extend` takes them back, from part `first` on.

        Each list is made when it is asked for.
        """

    @abstractmethod
    def extend(self, items: list[Item]) -> None:
        """Add members from a snapshot behind those that are there."""

    @abstractmethod
    def parts(self) -> list[Any]:
        """Return a list of the parts, for giving back memory little by little."""

    def _copy_sizes(self, clone: Self) -> Self:
        clone.size_bytes = self.size_bytes
        clone.counted_bytes = self.counted_bytes
        return clone
