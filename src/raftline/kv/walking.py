"""The order in which SCAN walks a slot with many keys: that of their CRC32, a place that no change can move.

A slot with very many keys has them here a second time, in parts by CRC32, so a step looks at few of them. Nothing
depends on whether it has: what a step returns follows from the keys alone, so a cursor means the same on every node.
"""

from collections.abc import Collection, Iterable, Iterator
from zlib import crc32

from raftline.kv.values.table import Table

__all__ = ["KEPT_MIN", "Walks"]

_PARTED_MIN = 1024
"""A slot with more keys has parts; fewer are sorted at each step."""
KEPT_MIN = _PARTED_MIN // 2
"""A slot that has parts keeps them as long as it has so many keys."""
_DIVIDED_MIN = 512
"""A slot with no more keys is walked in one step."""


class Walks:
    """The slots that have parts.

    Invariant: a slot with more than `_PARTED_MIN` keys has them in a table, as may have one with `KEPT_MIN` or more,
    and no other; a table holds exactly the keys of its slot.
    """

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[int, Table[bool]] = {}

    def add(self, slot: int, key: bytes, others: Collection[bytes]) -> None:
        """Note a key that comes to `others`; needed only if those are at least `KEPT_MIN`."""
        table = self._tables.get(slot)
        if table is None:
            if len(others) < _PARTED_MIN:
                return
            table = self._tables[slot] = Table()
            for other in others:
                table.put(other, True)  # noqa: FBT003  members count, values do not
        table.put(key, True)  # noqa: FBT003  likewise

    def remove(self, slot: int, key: bytes) -> None:
        """Note that a slot has a key less."""
        table = self._tables.get(slot)
        if table is not None:
            table.remove(key)
            if table.count < KEPT_MIN:
                del self._tables[slot]

    def parts(self) -> list[dict[bytes, bool]]:
        """Return everything, to be let go of little by little."""
        return [part for table in self._tables.values() for part in table.parts()]

    def step(
        self, slot: int, keys: Collection[bytes], first_hash: int, count: int, room: int
    ) -> tuple[Iterable[bytes], int | None]:
        """Return about `room` keys from a CRC32 on, all that share one or none, and the next one's, None at the end.

        `keys` are those of the slot, all of which are returned if they are not above `count`, or few.
        """
        if not first_hash and len(keys) <= max(count, _DIVIDED_MIN):
            return keys, None
        found: list[bytes] = []
        last = -1
        for digest, key in self.ordered(slot, keys, first_hash):
            if len(found) >= room and digest != last:
                return found, digest
            found.append(key)
            last = digest
        return found, None

    def ordered(self, slot: int, keys: Collection[bytes], first_hash: int) -> Iterator[tuple[int, bytes]]:
        """Yield each key of a slot with its CRC32, by that and by name, from a CRC32 on; `keys` must not change."""
        table = self._tables.get(slot)
        for part in [keys] if table is None else table.parts_from(first_hash):
            yield from sorted((digest, key) for key in part if (digest := crc32(key)) >= first_hash)
