"""At which index of the log a key was last changed, one number for all keys with the same CRC16.

An array of half a megabyte, which a store that was never written to does without: a node may host a thousand of them.
"""

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from raftline.kv.store import Store

__all__ = ["CELL_COUNT", "WATCH_VERSION", "Cells", "NoCells"]

CELL_COUNT = 1 << 16
"""Places for the index of the last change. A key's hash tag plays no part."""

WATCH_VERSION = 2
"""The version of commands from which on every member notes changes."""


class NoCells:
    """All cells are 0; the first that is set makes the array that the store has from then on."""

    def __init__(self, store: "Store") -> None:
        self._store = store

    def __getitem__(self, _cell: int) -> int:
        return 0

    def __setitem__(self, cell: int, index: int) -> None:
        cells = array("Q", bytes(8 * CELL_COUNT))
        cells[cell] = index
        self._store.changes = cells

    def __iter__(self) -> Iterator[int]:
        return iter(bytes(CELL_COUNT))


Cells: TypeAlias = Union["array[int]", NoCells]
