"""A hash: fields with a value each."""

from collections.abc import Iterator
from itertools import islice
from typing import ClassVar, Self

from raftline.kv.values.container import Container, Item
from raftline.kv.values.draws import Draws
from raftline.kv.values.table import Table

__all__ = ["FIELD_BYTES", "Hash"]

FIELD_BYTES = 128
"""Estimated cost of a field beside its own and its value's bytes."""


class Hash(Container):
    """Fields in the order in which they came, as long as there are at most 512."""

    __slots__ = ("fields",)
    kind: ClassVar[int] = 3
    item_count: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self.fields: Table[bytes] = Table()

    @property
    def count(self) -> int:
        """Return how many fields there are."""
        return self.fields.count

    def clone(self) -> Self:
        """Return an equal hash that changes independently."""
        other = type(self)()
        other.fields = self.fields.clone()
        return self._copy_sizes(other)

    def put(self, field: bytes, value: bytes) -> bytes | None:
        """Set a field; return the value before."""
        old = self.fields.put(field, value)
        self.size_bytes += len(value) - len(old) if old is not None else len(field) + len(value) + FIELD_BYTES
        return old

    def remove(self, field: bytes) -> bool:
        """Remove a field; return whether it was there."""
        old = self.fields.remove(field)
        if old is None:
            return False
        self.size_bytes -= len(field) + len(old) + FIELD_BYTES
        return True

    def draw(self, draws: Draws) -> tuple[bytes, bytes]:
        """Return one field and its value."""
        return self.fields.draw(draws)

    def pieces(self, first: int = 0) -> Iterator[list[Item]]:
        """Yield fields and values in turns, part by part."""
        for part in islice(self.fields.parts(), first, None):
            yield [item for pair in part.items() for item in pair]

    def extend(self, items: list[Item]) -> None:
        """Add fields of a snapshot."""
        for field, value in zip(items[::2], items[1::2], strict=True):
            assert isinstance(field, bytes)
            assert isinstance(value, bytes)
            self.put(field, value)

    def parts(self) -> list[dict[bytes, bytes]]:
        """Return the parts, for giving back memory little by little."""
        return self.fields.parts()
