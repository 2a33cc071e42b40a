"""What an object owns: everything that can be reached from it, counted and weighed by where it hangs.

A table that nobody thought of grows as well as one that has a gauge, so nothing is named beforehand: from a root the
walk goes through attributes, containers, callbacks and coroutines, and stops at what `is_foreign` says belongs to
somebody else. Each object counts once, at the shortest path that leads to it.
"""

import gc
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import Any

import msgspec

__all__ = ["Holding", "weigh"]

_NEVER_OWNED = (
    type,
    types.ModuleType,
    types.CodeType,
    types.BuiltinFunctionType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.WrapperDescriptorType,
    Context,
)
_LEAVES = frozenset({int, float, bool, str, bytes, bytearray})
_NAMED_DEPTH_MAX = 8
"""Attributes deeper than this count where they hang."""


class Holding(msgspec.Struct):
    """What hangs at one path."""

    objects: int = 0
    size_bytes: int = 0
    """As `sys.getsizeof` has it: without what Python's allocator adds."""


def weigh(roots: Mapping[str, object], is_foreign: Callable[[object], bool]) -> dict[str, Holding]:
    """Return what can be reached from each root, by path: attribute names, and `[]` for what containers hold."""
    found: dict[str, Holding] = {}
    kept: dict[int, object] = {}  # whatever is made during the walk stays until its end: no id comes twice
    waiting: deque[tuple[str, int, object]] = deque()

    def meet(path: str, depth: int, item: object) -> None:
        """Count an object that is met for the first time, and look into it later."""
        if item is None or isinstance(item, _NEVER_OWNED) or is_foreign(item):
            return
        holding = found.get(path)
        if holding is None:
            holding = found[path] = Holding()
        holding.objects += 1
        holding.size_bytes += sys.getsizeof(item, 0)
        if type(item) not in _LEAVES:
            waiting.append((path, depth, item))

    def meet_all(parts: Iterable[tuple[str, int, object]]) -> None:
        for path, depth, part in parts:
            if id(part) not in kept:
                kept[id(part)] = part
                meet(path, depth, part)

    meet_all((name, 0, root) for name, root in roots.items())
    while waiting:
        path, depth, item = waiting.popleft()
        named = _attributes(item) if 0 <= depth < _NAMED_DEPTH_MAX else None
        if named is None:
            inside = path if depth < 0 else f"{path}{_inside(item)}"
            meet_all((inside, -1, part) for part in _parts(item))
        else:
            meet_all((f"{path}.{name}", depth + 1, part) for name, part in named)
    return found


def _inside(item: object) -> str:
    """Return what a container adds to the path of what it holds: whether it sets itself a bound is part of it."""
    return f"[max {item.maxlen}]" if isinstance(item, deque) and item.maxlen is not None else "[]"


def _attributes(item: Any) -> list[tuple[str, object]] | None:
    """Return an object's attributes; None for what has none, or holds anything else."""
    kind = type(item)
    if isinstance(item, dict | list | tuple | set | frozenset | deque) or kind.__module__ in {"builtins", "functools"}:
        return None
    if isinstance(item, msgspec.Struct):
        names: Iterable[str] = item.__struct_fields__
    else:
        names = [name for base in kind.__mro__ for name in _slots_of(base)]
    named = [(name, getattr(item, name)) for name in names if hasattr(item, name)]
    own = getattr(item, "__dict__", None)
    if isinstance(own, dict):
        named += own.items()
    return named or None


def _slots_of(base: type) -> Iterable[str]:
    slots = base.__dict__.get("__slots__", ())
    return [slots] if isinstance(slots, str) else [name for name in slots if name not in {"__dict__", "__weakref__"}]


def _parts(item: Any) -> Iterable[object]:
    """Return what an object refers to; of a function only what it closes over."""
    if isinstance(item, types.FunctionType):
        return [*(item.__closure__ or ()), *(item.__defaults__ or ())]
    if isinstance(item, msgspec.Struct):  # one that the garbage collector does not know shows nothing to it
        return [getattr(item, name) for name in item.__struct_fields__]
    if isinstance(item, dict):  # the garbage collector leaves keys out that are text
        return () if "__builtins__" in item else [*item.keys(), *item.values()]
    return gc.get_referents(item)
