"""The list commands; replies and refusals are those of Redis 7.0."""

from collections.abc import Iterator

import msgspec

from raftline.kv.commands.arguments import (
    INTEGER_MAX,
    INTEGER_MIN,
    SYNTAX_ERROR,
    require_at_least,
    require_integer,
    require_positive,
)
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.many_keys import keys_to_pop
from raftline.kv.commands.typed import editable, existing, keep, opened, viewed
from raftline.kv.resp.replies import (
    EMPTY_ARRAY,
    NULL,
    NULL_ARRAY,
    OK,
    ZERO,
    array,
    bulk,
    bulk_array,
    error,
    integer,
)
from raftline.kv.store import Store
from raftline.kv.values.list import List

__all__ = [
    "LIST_ENDS",
    "lindex",
    "linsert",
    "llen",
    "lmove",
    "lmpop",
    "lpop",
    "lpos",
    "lpush",
    "lpushx",
    "lrange",
    "lrem",
    "lset",
    "ltrim",
    "move_item",
    "rpop",
    "rpoplpush",
    "rpush",
    "rpushx",
    "span",
]

_NO_SUCH_KEY = error("ERR no such key")
_OUT_OF_RANGE = error("ERR index out of range")
_MINUS_ONE = integer(-1)
_ZERO_RANK = error(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    "or use negative to start from the end of the list"
)
LIST_ENDS = {b"LEFT": True, b"RIGHT": False}


def span(start: int, last: int, count: int) -> tuple[int, int]:
    """Return [start, stop) for a first and a last index of a sequence, which are negative from its end."""
    if start < 0:
        start = max(0, start + count)
    if last < 0:
        last += count
    stop = min(last + 1, count)
    return (start, stop) if start < stop else (0, 0)


def lpush(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LPUSH key item [item ...]."""
    return _push(store, args, left=True)


def rpush(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """RPUSH key item [item ...]."""
    return _push(store, args, left=False)


def lpushx(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LPUSHX key item [item ...]."""
    return ZERO if existing(store, args[1], List) is None else _push(store, args, left=True)


def rpushx(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """RPUSHX key item [item ...]."""
    return ZERO if existing(store, args[1], List) is None else _push(store, args, left=False)


def _push(store: Store, args: Arguments, *, left: bool) -> bytes:
    list_ = opened(store, args[1], List)
    for item in args[2:]:
        list_.push(item, left=left)
    keep(store, args[1], list_)
    return integer(list_.count)


def lpop(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LPOP key [count]."""
    return _pop(store, args, left=True)


def rpop(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """RPOP key [count]."""
    return _pop(store, args, left=False)


def _pop(store: Store, args: Arguments, *, left: bool) -> bytes:
    if len(args) > 3:
        return error(f"ERR wrong number of arguments for '{'lpop' if left else 'rpop'}' command")
    count = require_positive(args[2]) if len(args) == 3 else None
    list_ = editable(store, args[1], List)
    if list_ is None:
        return NULL if count is None else NULL_ARRAY
    items = _popped(list_, 1 if count is None else count, left=left)
    store.settle(args[1], list_)
    return bulk(items[0]) if count is None else bulk_array(items)


def _popped(list_: List, count: int, *, left: bool) -> list[bytes]:
    return [list_.pop(left=left) for _ in range(min(count, list_.count))]


def llen(store: Store, args: Arguments, now_ms: int) -> bytes:
    """LLEN key."""
    list_ = viewed(store, args[1], now_ms, List)
    return ZERO if list_ is None else integer(list_.count)


def lindex(store: Store, args: Arguments, now_ms: int) -> bytes:
    """LINDEX key index."""
    list_ = viewed(store, args[1], now_ms, List)
    if list_ is None:
        return NULL
    index = require_integer(args[2])
    index += list_.count if index < 0 else 0
    return bulk(list_.items[index]) if 0 <= index < list_.count else NULL


def lset(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LSET key index item."""
    old = existing(store, args[1], List)
    if old is None:
        return _NO_SUCH_KEY
    index = require_integer(args[2])
    index += old.count if index < 0 else 0
    if not 0 <= index < old.count:
        return _OUT_OF_RANGE
    list_ = store.own(args[1], old)
    list_.set(index, args[3])
    store.settle(args[1], list_)
    return OK


def lrange(store: Store, args: Arguments, now_ms: int) -> bytes:
    """LRANGE key start last."""
    start, last = require_integer(args[2]), require_integer(args[3])
    list_ = viewed(store, args[1], now_ms, List)
    return EMPTY_ARRAY if list_ is None else bulk_array(list(list_.items.between(*span(start, last, list_.count))))


def ltrim(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LTRIM key start last."""
    first, last = require_integer(args[2]), require_integer(args[3])
    list_ = editable(store, args[1], List)
    if list_ is not None:
        start, stop = span(first, last, list_.count)
        list_.remove_between(stop, list_.count)
        list_.remove_between(0, start)
        store.settle(args[1], list_)
    return OK


def linsert(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LINSERT key BEFORE | AFTER pivot item."""
    where = args[2].upper()
    if where not in {b"BEFORE", b"AFTER"}:
        return SYNTAX_ERROR
    old = existing(store, args[1], List)
    if old is None:
        return ZERO
    index = next((index for index, item in enumerate(old.items) if item == args[3]), None)
    if index is None:
        return _MINUS_ONE
    list_ = store.own(args[1], old)
    list_.insert(index + (where == b"AFTER"), args[4])
    store.settle(args[1], list_)
    return integer(list_.count)


def lrem(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LREM key count item; the last ones if `count` is negative, all if it is 0."""
    count = require_integer(args[2])
    list_ = editable(store, args[1], List)
    if list_ is None:
        return ZERO
    places = [index for index, item in enumerate(list_.items) if item == args[3]]
    if count > 0:
        places = places[:count]
    elif count < 0:
        places = places[count:]
    list_.remove_at(places)
    store.settle(args[1], list_)
    return integer(len(places))


class _Search(msgspec.Struct, frozen=True):
    """What LPOS was told; `count` is -1 for a single answer, 0 for all."""

    rank: int
    count: int
    length_max: int


def lpos(store: Store, args: Arguments, now_ms: int) -> bytes:
    """LPOS key item [RANK rank] [COUNT count] [MAXLEN length]."""
    search = _parse_search(args)
    list_ = viewed(store, args[1], now_ms, List)
    found = iter(()) if list_ is None else _places(list_, args[2], search)
    if search.count < 0:
        place = next(found, None)
        return NULL if place is None else integer(place)
    places = [place for place, _ in zip(found, range(search.count or INTEGER_MAX), strict=False)]
    return array([integer(place) for place in places])


def _places(list_: List, item: bytes, search: _Search) -> Iterator[int]:
    """Yield where an item stands, from the match of that rank on, from the end if it is negative."""
    skipped = abs(search.rank) - 1 if search.rank > INTEGER_MIN else 0  # whose negative C cannot tell from itself
    walk = reversed(list_.items) if search.rank < 0 else iter(list_.items)
    for index, each in zip(range(search.length_max or INTEGER_MAX), walk, strict=False):
        if each == item:
            if skipped:
                skipped -= 1
            else:
                yield list_.count - 1 - index if search.rank < 0 else index


def _parse_search(args: Arguments) -> _Search:
    rank, count, length_max = 1, -1, 0
    for position in range(3, len(args), 2):
        option = args[position].upper()
        if position + 1 == len(args):
            raise Refused(SYNTAX_ERROR)
        value = args[position + 1]
        if option == b"RANK":
            rank = require_integer(value)
            if not rank:
                raise Refused(_ZERO_RANK)
        elif option == b"COUNT":
            count = require_at_least(value, 0, "COUNT can't be negative")
        elif option == b"MAXLEN":
            length_max = require_at_least(value, 0, "MAXLEN can't be negative")
        else:
            raise Refused(SYNTAX_ERROR)
    return _Search(rank, count, length_max)


def rpoplpush(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """RPOPLPUSH source destination."""
    return move_item(store, args[1], args[2], from_left=False, to_left=True)


def lmove(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LMOVE source destination LEFT | RIGHT LEFT | RIGHT."""
    from_left, to_left = LIST_ENDS.get(args[3].upper()), LIST_ENDS.get(args[4].upper())
    if from_left is None or to_left is None:
        return SYNTAX_ERROR
    return move_item(store, args[1], args[2], from_left=from_left, to_left=to_left)


def move_item(store: Store, source_key: bytes, key: bytes, *, from_left: bool, to_left: bool) -> bytes:
    """Move an item from one end of a list to one end of a list, and return it, null if there is none."""
    if existing(store, source_key, List) is None:
        return NULL
    existing(store, key, List)
    source = opened(store, source_key, List)
    item = source.pop(left=from_left)
    if key == source_key:
        source.push(item, left=to_left)
    else:
        destination = opened(store, key, List)
        destination.push(item, left=to_left)
        keep(store, key, destination)
    store.settle(source_key, source)
    return bulk(item)


def lmpop(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """LMPOP numkeys key [key ...] LEFT | RIGHT [COUNT count]."""
    keys, left, count = keys_to_pop(args, LIST_ENDS)
    for key in keys:
        list_ = editable(store, key, List)
        if list_ is not None:
            reply = array([bulk(key), bulk_array(_popped(list_, count, left=left))])
            store.settle(key, list_)
            return reply
    return NULL_ARRAY
