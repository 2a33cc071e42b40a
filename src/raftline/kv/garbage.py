"""Memory of what was flushed is given back little by little, so that nobody waits for it."""

from typing import Any, TypeGuard

from raftline.kv.deadlines import Deadlines
from raftline.kv.values.container import Container

__all__ = ["is_large", "release_some"]

_RELEASED_KEYS_MIN = 1000
_LOOKED_AT = 64
"""Slots that are looked at together: most are empty."""
_LARGE_MEMBERS = 1024
"""A container with more members goes little by little."""


def is_large(value: object) -> TypeGuard[Container]:
    """Say whether a value takes long to go."""
    return isinstance(value, Container) and value.count > _LARGE_MEMBERS


def release_some(garbage: list[list[Any] | Deadlines]) -> None:
    """Give back a slice."""
    released = 0
    while garbage and released < _RELEASED_KEYS_MIN:
        tables = garbage[-1]
        if isinstance(tables, Deadlines):
            if not (size := tables.release()):
                garbage.pop()
            released += size
        elif not tables:
            garbage.pop()
        else:
            last = tables[-min(_LOOKED_AT, _RELEASED_KEYS_MIN - released) :]
            if any(last):
                table = tables.pop()
                released += len(table) + 1
                if isinstance(table, dict):
                    garbage += [value.parts() for value in table.values() if is_large(value)]
            else:
                del tables[-len(last) :]
                released += len(last)
