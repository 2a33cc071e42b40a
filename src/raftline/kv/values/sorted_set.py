"""A sorted set: members with a score each, found by member, by score and by rank."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, ClassVar, Self

from raftline.kv.values.container import Container, Item
from raftline.kv.values.draws import Draws
from raftline.kv.values.ordered import Ordered, Pair
from raftline.kv.values.table import Table

__all__ = ["SCORED_BYTES", "SortedSet"]

SCORED_BYTES = 208
"""Estimated cost of a member beside its own bytes."""


class SortedSet(Container):
    """Members by score, those of one score by their bytes; invariant: `scores` and `order` say the same."""

    __slots__ = ("order", "scores")
    kind: ClassVar[int] = 4
    item_count: ClassVar[int] = 2

    def __init__(self, pairs: Iterable[tuple[bytes, float]] = ()) -> None:
        super().__init__()
        self.scores: Table[float] = Table()
        self.order = Ordered()
        for member, score in pairs:
            self.put(member, score)

    @property
    def count(self) -> int:
        """Return how many members there are."""
        return self.scores.count

    def clone(self) -> Self:
        """Return an equal set that changes independently."""
        other = type(self)()
        other.scores = self.scores.clone()
        other.order = self.order.clone()
        return self._copy_sizes(other)

    def put(self, member: bytes, score: float) -> float | None:
        """Set the score of a member, -0 as 0; return the one before."""
        score += 0.0
        old = self.scores.get(member)
        if old == score:
            return old
        self.scores.put(member, score)
        if old is None:
            self.size_bytes += len(member) + SCORED_BYTES
        else:
            self.order.remove((old, member))
        self.order.add((score, member))
        return old

    def remove(self, member: bytes) -> float | None:
        """Remove a member; return its score, None if it was not there."""
        score = self.scores.remove(member)
        if score is not None:
            self.order.remove((score, member))
            self.size_bytes -= len(member) + SCORED_BYTES
        return score

    def remove_between(self, start: int, stop: int) -> list[Pair]:
        """Remove and return those with a rank in [start, stop)."""
        removed = self.order.remove_between(start, stop)
        for _, member in removed:
            self.scores.remove(member)
            self.size_bytes -= len(member) + SCORED_BYTES
        return removed

    def draw(self, draws: Draws) -> tuple[bytes, float]:
        """Return one member and its score."""
        return self.scores.draw(draws)

    def pieces(self, first: int = 0) -> Iterator[list[Item]]:
        """Yield members and scores in turns, part by part, in the order in which `scores` has them."""
        for part in islice(self.scores.parts(), first, None):
            yield [item for pair in part.items() for item in pair]

    def extend(self, items: list[Item]) -> None:
        """Add members of a snapshot."""
        for member, score in zip(items[::2], items[1::2], strict=True):
            assert isinstance(member, bytes)
            assert isinstance(score, float)
            self.put(member, score)

    def parts(self) -> list[Any]:
        """Return the parts, for giving back memory little by little."""
        return [*self.scores.parts(), *self.order.parts()]
