"""SORT and SORT_RO: the members of a list, a set or a sorted set, in the order of themselves or of other keys."""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from raftline.kv.commands.arguments import SYNTAX_ERROR, require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.floats import parse_double
from raftline.kv.commands.typed import WRONG_TYPE
from raftline.kv.resp.replies import NULL, array, bulk, error, integer
from raftline.kv.store import Store
from raftline.kv.values.container import Container
from raftline.kv.values.hash import Hash
from raftline.kv.values.list import List
from raftline.kv.values.set import Set
from raftline.kv.values.sorted_set import SortedSet

__all__ = ["sort", "sort_ro"]

_NO_NUMBERS = error("ERR One or more scores can't be converted into double")

Find = Callable[[bytes], Container | bytes | None]
"""Key → value."""


class _Wish(msgspec.Struct):
    """What SORT was told; `pattern` is that of BY."""

    pattern: bytes | None = None
    offset: int = 0
    limit: int = -1
    shown: list[bytes] = msgspec.field(default_factory=list)
    descending: bool = False
    alpha: bool = False
    destination: bytes | None = None


def sort(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE destination]."""
    wish = _parse(args, stores=True)
    found = _sorted(args[1], wish, store.get)
    if wish.destination is None:
        return array([NULL if text is None else bulk(text) for text in found])
    list_ = List()
    for text in found:
        list_.push(text or b"", left=False)
    store.put_new(wish.destination, list_)
    return integer(list_.count)


def sort_ro(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]."""
    found = _sorted(args[1], _parse(args, stores=False), lambda key: store.read(key, now_ms))
    return array([NULL if text is None else bulk(text) for text in found])


def _parse(args: Arguments, *, stores: bool) -> _Wish:
    wish = _Wish()
    position = 2
    while position < len(args):
        option, left = args[position].upper(), len(args) - position - 1
        if option in {b"ASC", b"DESC"}:
            wish.descending = option == b"DESC"
        elif option == b"ALPHA":
            wish.alpha = True
        elif option == b"LIMIT" and left >= 2:
            wish.offset, wish.limit = require_integer(args[position + 1]), require_integer(args[position + 2])
            position += 2
        elif option in {b"BY", b"GET", b"STORE"} and left and (stores or option != b"STORE"):
            position += 1
            if option == b"BY":
                wish.pattern = args[position]
            elif option == b"GET":
                wish.shown.append(args[position])
            else:
                wish.destination = args[position]
        else:
            raise Refused(SYNTAX_ERROR)
        position += 1
    return wish


def _sorted(key: bytes, wish: _Wish, find: Find) -> list[bytes | None]:
    """Return what is asked for, in order; None stands for what is not there."""
    value = find(key)
    members = _members(value, wish)
    unsorted = wish.pattern is not None and b"*" not in wish.pattern.partition(b"\0")[0]
    if not unsorted:
        _sort(members, wish, find)
    elif isinstance(value, Set) and wish.destination is not None:
        members.sort(reverse=wish.descending)
    elif wish.descending and isinstance(value, List | SortedSet):
        members.reverse()
    start = max(0, wish.offset)
    members = members[start:] if wish.limit < 0 else members[start : start + wish.limit]
    if not wish.shown:
        return list(members)
    return [_looked_up(pattern, member, find) for member in members for pattern in wish.shown]


def _members(value: Container | bytes | None, wish: _Wish) -> list[bytes]:
    """Return the members in their own order."""
    if value is None:
        return []
    if isinstance(value, List):
        return list(value.items)
    if isinstance(value, Set):
        return list(value)
    if isinstance(value, SortedSet):
        return [member for _, member in value.order] if wish.pattern is not None else list(value.scores)
    raise Refused(WRONG_TYPE)


def _sort(members: list[bytes], wish: _Wish, find: Find) -> None:
    """Bring members into order: by number and then by their bytes, or by text alone."""
    weights: dict[bytes, Any] = {}
    for member in members:
        text = member if wish.pattern is None else _looked_up(wish.pattern, member, find)
        if wish.alpha:
            weights[member] = (text is not None, text or b"")
        else:
            weights[member] = (_number(text), member)
    members.sort(key=weights.__getitem__, reverse=wish.descending)


def _number(text: bytes | None) -> float:
    """Return the number that a weight is, 0 if there is none; raises `Refused`."""
    digits = (text or b"").partition(b"\0")[0]
    if not digits:
        return 0.0
    number = parse_double(digits.lstrip(b" \t\n\v\f\r"))
    if number is None or math.isnan(number):
        raise Refused(_NO_NUMBERS)
    return number


def _looked_up(pattern: bytes, member: bytes, find: Find) -> bytes | None:
    """Return what the key, or the field of a hash, holds that `pattern` names with `member` in place of `*`."""
    if pattern.partition(b"\0")[0] == b"#":
        return member
    star = pattern.partition(b"\0")[0].find(b"*")
    if star < 0:
        return None
    field: bytes | None = None
    arrow = pattern.find(b"->", star + 1)
    key = pattern
    if arrow >= 0 and arrow + 2 < len(pattern):
        key, field = pattern[:arrow], pattern[arrow + 2 :]
    value = find(key[:star] + member + key[star + 1 :])
    if field is None:
        return value if isinstance(value, bytes) else None
    return value.fields.get(field) if isinstance(value, Hash) else None
