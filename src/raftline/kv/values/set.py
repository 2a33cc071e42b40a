"""A set: members, each once."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import ClassVar, Self

from raftline.kv.values.container import Container, Item
from raftline.kv.values.draws import Draws
from raftline.kv.values.table import Table

__all__ = ["MEMBER_BYTES", "Set"]

MEMBER_BYTES = 88
"""Estimated cost of a member beside its own bytes."""


class Set(Container):
    """Members in the order in which they came, as long as there are at most 512."""

    __slots__ = ("members",)
    kind: ClassVar[int] = 2

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        super().__init__()
        self.members: Table[bool] = Table()
        for member in members:
            self.add(member)

    @property
    def count(self) -> int:
        """Return how many members there are."""
        return self.members.count

    def clone(self) -> Self:
        """Return an equal set that changes independently."""
        other = type(self)()
        other.members = self.members.clone()
        return self._copy_sizes(other)

    def __contains__(self, member: bytes) -> bool:
        return self.members.get(member) is not None

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.members)

    def add(self, member: bytes) -> bool:
        """Add a member; return whether it is new."""
        if self.members.get(member) is not None:
            return False
        self.members.put(member, True)  # noqa: FBT003  a member has no value of its own
        self.size_bytes += len(member) + MEMBER_BYTES
        return True

    def remove(self, member: bytes) -> bool:
        """Remove a member; return whether it was there."""
        if self.members.remove(member) is None:
            return False
        self.size_bytes -= len(member) + MEMBER_BYTES
        return True

    def draw(self, draws: Draws) -> bytes:
        """Return one member."""
        return self.members.draw(draws)[0]

    def pieces(self, first: int = 0) -> Iterator[list[Item]]:
        """Yield the members, part by part."""
        for part in islice(self.members.parts(), first, None):
            yield list(part)

    def extend(self, items: list[Item]) -> None:
        """Add members of a snapshot."""
        for member in items:
            assert isinstance(member, bytes)
            self.add(member)

    def parts(self) -> list[dict[bytes, bool]]:
        """Return the parts, for giving back memory little by little."""
        return self.members.parts()
