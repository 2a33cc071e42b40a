"""Ranges of sorted sets: by rank, by score, by member; and what ZRANGE and its relatives do with them."""

from collections.abc import Callable
from typing import Any

import msgspec

from raftline.kv.commands.arguments import SYNTAX_ERROR, require_integer
from raftline.kv.commands.command import Arguments, ReadFunction, Refused
from raftline.kv.commands.floats import parse_bound
from raftline.kv.commands.lists import span
from raftline.kv.commands.sorted_sets import scored_reply
from raftline.kv.commands.typed import editable, existing, viewed
from raftline.kv.resp.replies import EMPTY_ARRAY, ZERO, error, integer
from raftline.kv.store import Store
from raftline.kv.values.ordered import Pair, member_of, score_of
from raftline.kv.values.sorted_set import SortedSet

__all__ = [
    "zcount",
    "zlexcount",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrangestore",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
    "zrevrange",
    "zrevrangebylex",
    "zrevrangebyscore",
]

_NO_FLOAT = error("ERR min or max is not a float")
_NO_MEMBER = error("ERR min or max not valid string range item")
_LIMIT_BY_RANK = error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
_SCORES_BY_LEX = error("ERR syntax error, WITHSCORES not supported in combination with BYLEX")

Range = Callable[[SortedSet], tuple[int, int]]
"""Sorted set → ranks [start, stop)."""


def by_rank(first: bytes, last: bytes) -> Range:
    """Return the range of two ranks, both included, negative ones from the end; raises `Refused`."""
    start, end = require_integer(first), require_integer(last)
    return lambda set_: span(start, end, set_.count)


def _by_reversed_rank(first: bytes, last: bytes) -> Range:
    start, end = require_integer(first), require_integer(last)

    def find(set_: SortedSet) -> tuple[int, int]:
        low, high = span(start, end, set_.count)
        return set_.count - high, set_.count - low

    return find


def by_score(low: bytes, high: bytes) -> Range:
    """Return the range of two scores, each of them with `(` before it if it is not included; raises `Refused`."""
    low_score, high_score = parse_bound(low.removeprefix(b"(")), parse_bound(high.removeprefix(b"("))
    if low_score is None or high_score is None:
        raise Refused(_NO_FLOAT)
    return _between(low_score, high_score, score_of, after_low=low.startswith(b"("), before_high=high.startswith(b"("))


def by_member(low: bytes, high: bytes) -> Range:
    """Return the range of two members, with `[` or `(` before them, `-` and `+` for the ends; raises `Refused`."""
    for text in (low, high):
        if text[:1] not in {b"[", b"("} and text not in {b"-", b"+"}:
            raise Refused(_NO_MEMBER)
    if low == b"+" or high == b"-":
        return lambda _set: (0, 0)
    inner = _between(low[1:], high[1:], member_of, after_low=low[:1] == b"(", before_high=high[:1] == b"(")
    if high == b"+":
        return lambda set_: (inner(set_)[0], set_.count)
    return inner  # every member stands behind "-", whose text is empty


def _between(low: Any, high: Any, key: Callable[[Pair], Any], *, after_low: bool, before_high: bool) -> Range:
    def find(set_: SortedSet) -> tuple[int, int]:
        start = set_.order.position(low, key, after=after_low)
        return start, max(start, set_.order.position(high, key, after=not before_high))

    return find


class _Walk(msgspec.Struct, frozen=True):
    """What a range command was told."""

    kind: bytes
    """`BYRANK`, `BYSCORE` or `BYLEX`."""
    reversed: bool
    with_scores: bool
    offset: int
    limit: int
    """Negative: all."""


def _parse(args: Arguments, start: int, kind: bytes, *, is_reversed: bool | None, stores: bool) -> _Walk:
    """Read the options behind the range; an empty `kind` and a `reversed` of None can be said by options."""
    with_scores, offset, limit = False, 0, -1
    position = start
    while position < len(args):
        option = args[position].upper()
        if option == b"WITHSCORES" and not stores:
            with_scores = True
        elif option == b"LIMIT" and position + 2 < len(args):
            offset, limit = require_integer(args[position + 1]), require_integer(args[position + 2])
            position += 2
        elif option == b"REV" and is_reversed is None:
            is_reversed = True
        elif option in {b"BYLEX", b"BYSCORE"} and not kind:
            kind = option
        else:
            raise Refused(SYNTAX_ERROR)
        position += 1
    kind = kind or b"BYRANK"
    if limit != -1 and kind == b"BYRANK":
        raise Refused(_LIMIT_BY_RANK)
    if with_scores and kind == b"BYLEX":
        raise Refused(_SCORES_BY_LEX)
    return _Walk(kind, bool(is_reversed), with_scores, offset, limit)


def _range_of(walk: _Walk, first: bytes, second: bytes) -> Range:
    if walk.kind == b"BYRANK":
        return _by_reversed_rank(first, second) if walk.reversed else by_rank(first, second)
    low, high = (second, first) if walk.reversed else (first, second)
    return by_score(low, high) if walk.kind == b"BYSCORE" else by_member(low, high)


def _found(set_: SortedSet, walk: _Walk, find: Range) -> list[Pair]:
    start, stop = find(set_)
    if walk.offset < 0:
        return []
    count = max(0, stop - start - walk.offset)
    if walk.limit >= 0:
        count = min(count, walk.limit)
    if walk.reversed:
        stop -= walk.offset
        return list(set_.order.between_reversed(stop - count, stop))
    start += walk.offset
    return list(set_.order.between(start, start + count))


def _function(kind: bytes, *, is_reversed: bool | None) -> ReadFunction:
    """Return the function of ZRANGE and its relatives, which say by their name what it says by options."""

    def function(store: Store, args: Arguments, now_ms: int) -> bytes:
        walk = _parse(args, 4, kind, is_reversed=is_reversed, stores=False)
        find = _range_of(walk, args[2], args[3])
        set_ = viewed(store, args[1], now_ms, SortedSet)
        if set_ is None:
            return EMPTY_ARRAY
        return scored_reply(_found(set_, walk, find), with_scores=walk.with_scores)

    return function


zrange = _function(b"", is_reversed=None)
zrevrange = _function(b"BYRANK", is_reversed=True)
zrangebyscore = _function(b"BYSCORE", is_reversed=False)
zrevrangebyscore = _function(b"BYSCORE", is_reversed=True)
zrangebylex = _function(b"BYLEX", is_reversed=False)
zrevrangebylex = _function(b"BYLEX", is_reversed=True)


def zrangestore(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZRANGESTORE destination source first last [BYSCORE | BYLEX] [REV] [LIMIT offset count]."""
    walk = _parse(args, 5, b"", is_reversed=None, stores=True)
    find = _range_of(walk, args[3], args[4])
    set_ = existing(store, args[2], SortedSet)
    pairs = [] if set_ is None else _found(set_, walk, find)
    store.put_new(args[1], SortedSet((member, score) for score, member in pairs))
    return integer(len(pairs))


def zcount(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZCOUNT key min max."""
    return _count(store, args, now_ms, by_score(args[2], args[3]))


def zlexcount(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZLEXCOUNT key min max."""
    return _count(store, args, now_ms, by_member(args[2], args[3]))


def _count(store: Store, args: Arguments, now_ms: int, find: Range) -> bytes:
    set_ = viewed(store, args[1], now_ms, SortedSet)
    if set_ is None:
        return ZERO
    start, stop = find(set_)
    return integer(stop - start)


def zremrangebyrank(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZREMRANGEBYRANK key first last."""
    return _remove(store, args[1], by_rank(args[2], args[3]))


def zremrangebyscore(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZREMRANGEBYSCORE key min max."""
    return _remove(store, args[1], by_score(args[2], args[3]))


def zremrangebylex(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZREMRANGEBYLEX key min max."""
    return _remove(store, args[1], by_member(args[2], args[3]))


def _remove(store: Store, key: bytes, find: Range) -> bytes:
    set_ = editable(store, key, SortedSet)
    if set_ is None:
        return ZERO
    removed = set_.remove_between(*find(set_))
    if removed:
        store.settle(key, set_)
    return integer(len(removed))
