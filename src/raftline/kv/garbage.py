"""Memory of what was removed is given back little by little, so that nobody waits for it."""

from typing import Any

from raftline.kv.deadlines import Deadlines
from raftline.kv.values.container import Container

__all__ = ["Garbage"]

_RELEASED_KEYS_MIN = 1000
_LOOKED_AT = 64
"""Slots that are looked at together: most are empty."""
_LARGE_MEMBERS = 1024
"""A container with more members goes little by little."""
_AT_ONCE_MEMBERS = 16 << 10
"""Further containers than those that have so many members together do not go with the entry that removes them all.

It is more than a batch of slots has that were given, so that memory is given back as fast as slots leave.
"""


class Garbage(list[list[Any] | Deadlines]):
    """What waits: lists of slots, of containers and of their parts, and queues of deadlines."""

    __slots__ = ("_index", "_members")

    def __init__(self) -> None:
        super().__init__()
        self._index = 0
        self._members = 0
        """That the entry at `_index` has let go of at once."""

    def must_wait(self, value: Container, index: int) -> bool:
        """Say whether a container that the entry at `index` removes would take too long to go with it."""
        if index != self._index:
            self._index, self._members = index, 0
        count = value.count
        if count > _LARGE_MEMBERS or self._members + count > _AT_ONCE_MEMBERS:
            return True
        self._members += count
        return False

    def on_made(self, members: int) -> None:
        """Give back what a command made that made much, or large values that are replaced would pile up.

        A sorted set holds each of its members twice.
        """
        if members > _RELEASED_KEYS_MIN and self:
            self.release_some(2 * members)

    def release_some(self, members: int = 0) -> None:
        """Give back a slice, or so many members, if that is more."""
        released, enough = 0, max(members, _RELEASED_KEYS_MIN)
        while self and released < enough:
            tables = self[-1]
            if isinstance(tables, Deadlines):
                if not (size := tables.release()):
                    self.pop()
                released += size
            elif not tables:
                self.pop()
            else:
                last = tables[-min(_LOOKED_AT, enough - released) :]
                if any(last) or isinstance(last[-1], Container):
                    released += self._release_last(tables)
                else:
                    del tables[-len(last) :]
                    released += len(last)

    def _release_last(self, tables: list[Any]) -> int:
        """Give back one table, but for the containers in it, or the shell of one container; return how much it was."""
        table = tables.pop()
        if isinstance(table, Container):
            self.append(table.parts())
            return 1
        if isinstance(table, dict) and (containers := [each for each in table.values() if isinstance(each, Container)]):
            self.append(containers)
        return len(table) + 1
