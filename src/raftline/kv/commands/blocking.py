"""The commands that wait for something to pop, as they stand in the log: they take what is there, or nothing.

The waiting is done before, on the node of the client (`raftline.kv.waiting`); `FORMS` says what it has to know.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftline.kv.commands.arguments import INTEGER_MAX, SYNTAX_ERROR
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.floats import parse_double
from raftline.kv.commands.lists import LIST_ENDS, lmpop, move_item
from raftline.kv.commands.many_keys import keys_to_pop
from raftline.kv.commands.sorted_sets import SET_ENDS, zmpop
from raftline.kv.commands.typed import editable
from raftline.kv.resp.replies import NULL_ARRAY, array, bulk, double, error
from raftline.kv.store import Store
from raftline.kv.values.container import Container
from raftline.kv.values.list import List
from raftline.kv.values.sorted_set import SortedSet

__all__ = [
    "FORMS",
    "Form",
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "check_blmove",
    "check_blmpop",
    "check_bzmpop",
    "check_last",
    "require_timeout_s",
]

_NO_FLOAT: Final = error("ERR timeout is not a float or out of range")
_NEGATIVE: Final = error("ERR timeout is negative")


def require_timeout_s(text: bytes) -> float:
    """Return for how long to wait, 0 for ever; raises `Refused`."""
    seconds = parse_double(text)
    if seconds is None:
        raise Refused(_NO_FLOAT)
    if not -1 < seconds * 1000 < INTEGER_MAX:  # what is too large is negative in C
        raise Refused(_NEGATIVE)
    return math.ceil(seconds * 1000) / 1000


def check_last(args: Arguments) -> None:
    """Refuse what BLPOP and its like refuse whatever there is."""
    require_timeout_s(args[-1])


def check_blmove(args: Arguments) -> None:
    """Refuse what BLMOVE refuses whatever there is."""
    if args[3].upper() not in LIST_ENDS or args[4].upper() not in LIST_ENDS:
        raise Refused(SYNTAX_ERROR)
    require_timeout_s(args[5])


def check_blmpop(args: Arguments) -> None:
    """Refuse what BLMPOP refuses whatever there is."""
    keys_to_pop(args[1:], LIST_ENDS)
    require_timeout_s(args[1])


def check_bzmpop(args: Arguments) -> None:
    """Refuse what BZMPOP refuses whatever there is."""
    keys_to_pop(args[1:], SET_ENDS)
    require_timeout_s(args[1])


def blpop(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """BLPOP key [key ...] timeout."""
    return _pop_item(store, args, left=True)


def brpop(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """BRPOP key [key ...] timeout."""
    return _pop_item(store, args, left=False)


def _pop_item(store: Store, args: Arguments, *, left: bool) -> bytes:
    check_last(args)
    for key in args[1:-1]:
        list_ = editable(store, key, List)
        if list_ is not None:
            item = list_.pop(left=left)
            store.settle(key, list_)
            return array([bulk(key), bulk(item)])
    return NULL_ARRAY


def bzpopmin(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """BZPOPMIN key [key ...] timeout."""
    return _pop_member(store, args, from_top=False)


def bzpopmax(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """BZPOPMAX key [key ...] timeout."""
    return _pop_member(store, args, from_top=True)


def _pop_member(store: Store, args: Arguments, *, from_top: bool) -> bytes:
    check_last(args)
    for key in args[1:-1]:
        set_ = editable(store, key, SortedSet)
        if set_ is not None:
            place = set_.count - 1 if from_top else 0
            ((score, member),) = set_.remove_between(place, place + 1)
            store.settle(key, set_)
            return array([bulk(key), bulk(member), double(score)])
    return NULL_ARRAY


def blmove(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout."""
    check_blmove(args)
    from_left, to_left = LIST_ENDS[args[3].upper()], LIST_ENDS[args[4].upper()]
    return move_item(store, args[1], args[2], from_left=from_left, to_left=to_left)


def brpoplpush(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """BRPOPLPUSH source destination timeout."""
    check_last(args)
    return move_item(store, args[1], args[2], from_left=False, to_left=True)


def blmpop(store: Store, args: Arguments, time_ms: int) -> bytes:
    """BLMPOP timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]."""
    check_blmpop(args)
    return lmpop(store, args[1:], time_ms)


def bzmpop(store: Store, args: Arguments, time_ms: int) -> bytes:
    """BZMPOP timeout numkeys key [key ...] MIN | MAX [COUNT count]."""
    check_bzmpop(args)
    return zmpop(store, args[1:], time_ms)


# What waiting has to know of them.


class Form(msgspec.Struct, frozen=True):
    """How one of them is written, and what it waits for."""

    kind: type[Container]
    """The type of value that it pops from."""
    timeout: int
    """Where the timeout stands."""
    keys: Callable[[Arguments], Sequence[bytes]]
    """Return the keys that it waits for, of arguments that were checked."""
    narrowed: Callable[[Arguments, list[bytes]], Arguments]
    """Return the same command about fewer keys."""


def _keys_before_last(args: Arguments) -> list[bytes]:
    return args[1:-1]


def _narrowed_before_last(args: Arguments, keys: list[bytes]) -> Arguments:
    return [args[0], *keys, args[-1]]


def _source(args: Arguments) -> list[bytes]:
    return args[1:2]


def _as_it_is(args: Arguments, _keys: list[bytes]) -> Arguments:
    return list(args)


def _keys_of_number(args: Arguments) -> list[bytes]:
    return args[3 : 3 + int(args[2])]


def _narrowed_number(args: Arguments, keys: list[bytes]) -> Arguments:
    return [args[0], args[1], b"%d" % len(keys), *keys, *args[3 + int(args[2]) :]]


_LIST_POP: Final = Form(List, -1, _keys_before_last, _narrowed_before_last)
_SET_POP: Final = Form(SortedSet, -1, _keys_before_last, _narrowed_before_last)
_MOVE: Final = Form(List, -1, _source, _as_it_is)

FORMS: Final[dict[str, Form]] = {
    "blpop": _LIST_POP,
    "brpop": _LIST_POP,
    "bzpopmin": _SET_POP,
    "bzpopmax": _SET_POP,
    "blmove": _MOVE,
    "brpoplpush": _MOVE,
    "blmpop": Form(List, 1, _keys_of_number, _narrowed_number),
    "bzmpop": Form(SortedSet, 1, _keys_of_number, _narrowed_number),
}
"""Every command that waits, by its name in lower case."""
