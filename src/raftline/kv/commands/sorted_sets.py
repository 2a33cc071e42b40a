"""The commands about members of one sorted set; replies and refusals are those of Redis 7.0."""

import math

from raftline.kv.commands.arguments import (
    SYNTAX_ERROR,
    require_draws,
    require_positive,
)
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.drawing import draws_to_show
from raftline.kv.commands.floats import require_double
from raftline.kv.commands.many_keys import keys_to_pop
from raftline.kv.commands.scanning import scan_reply
from raftline.kv.commands.typed import editable, existing, keep, opened, viewed
from raftline.kv.resp.replies import (
    EMPTY_ARRAY,
    NULL,
    NULL_ARRAY,
    ZERO,
    array,
    bulk,
    bulk_array,
    double,
    error,
    integer,
    pairs,
)
from raftline.kv.store import Store
from raftline.kv.values.ordered import Pair
from raftline.kv.values.sorted_set import SortedSet

__all__ = [
    "SET_ENDS",
    "scored_reply",
    "zadd",
    "zcard",
    "zincrby",
    "zmpop",
    "zmscore",
    "zpopmax",
    "zpopmin",
    "zrandmember",
    "zrank",
    "zrem",
    "zrevrank",
    "zscan",
    "zscore",
]

_NAN = error("ERR resulting score is not a number (NaN)")
_NX_AND_XX = error("ERR XX and NX options at the same time are not compatible")
_GT_LT_NX = error("ERR GT, LT, and/or NX options at the same time are not compatible")
_ONE_INCREMENT = error("ERR INCR option supports a single increment-element pair")
_OPTIONS = frozenset({b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"})
SET_ENDS = {b"MIN": False, b"MAX": True}


def scored_reply(found: list[Pair], *, with_scores: bool) -> bytes:
    """Return members, or pairs of member and score."""
    if with_scores:
        return pairs([(bulk(member), double(score)) for score, member in found])
    return bulk_array([member for _, member in found])


def zadd(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]."""
    return _add(store, args, set())


def zincrby(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZINCRBY key increment member."""
    return _add(store, args, {b"INCR"})


def _add(store: Store, args: Arguments, options: set[bytes]) -> bytes:
    first = 2
    while first < len(args) and args[first].upper() in _OPTIONS:
        options.add(args[first].upper())
        first += 1
    _check_options(options, len(args) - first)
    scores = [require_double(text) for text in args[first::2]]
    members = args[first + 1 :: 2]
    old = existing(store, args[1], SortedSet)
    increases = b"INCR" in options
    if old is None and b"XX" in options:
        return NULL if increases else ZERO
    if increases:
        before = None if old is None else old.scores.get(members[0])
        if before is not None and b"NX" not in options:
            scores[0] += before
            if math.isnan(scores[0]):
                return _NAN
    set_ = opened(store, args[1], SortedSet)
    count = set_.count
    changed = processed = 0
    for score, member in zip(scores, members, strict=True):
        before = set_.scores.get(member)
        if _is_wanted(options, before, score):
            set_.put(member, score)
            processed += 1
            changed += before != score
    if changed:
        keep(store, args[1], set_)
    if increases:
        return double(scores[0]) if processed else NULL
    return integer(changed if b"CH" in options else set_.count - count)


def _check_options(options: set[bytes], rest: int) -> None:
    """Refuse options that contradict each other; `rest` arguments follow them."""
    if rest % 2 or not rest:
        raise Refused(SYNTAX_ERROR)
    if options >= {b"NX", b"XX"}:
        raise Refused(_NX_AND_XX)
    if len(options & {b"GT", b"LT", b"NX"}) > 1:
        raise Refused(_GT_LT_NX)
    if b"INCR" in options and rest > 2:
        raise Refused(_ONE_INCREMENT)


def _is_wanted(options: set[bytes], before: float | None, score: float) -> bool:
    """Say whether a member that has a score, or none, may be given this one."""
    if before is None:
        return b"XX" not in options
    if b"NX" in options:
        return False
    return not ((b"LT" in options and score >= before) or (b"GT" in options and score <= before))


def zrem(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZREM key member [member ...]."""
    set_ = editable(store, args[1], SortedSet)
    if set_ is None:
        return ZERO
    removed = sum([set_.remove(member) is not None for member in args[2:]])
    if removed:
        store.settle(args[1], set_)
    return integer(removed)


def zcard(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZCARD key."""
    set_ = viewed(store, args[1], now_ms, SortedSet)
    return ZERO if set_ is None else integer(set_.count)


def zscore(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZSCORE key member."""
    set_ = viewed(store, args[1], now_ms, SortedSet)
    score = None if set_ is None else set_.scores.get(args[2])
    return NULL if score is None else double(score)


def zmscore(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZMSCORE key member [member ...]."""
    set_ = viewed(store, args[1], now_ms, SortedSet)
    scores = [None if set_ is None else set_.scores.get(member) for member in args[2:]]
    return array([NULL if score is None else double(score) for score in scores])


def zrank(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZRANK key member."""
    return _rank(store, args, now_ms, is_reversed=False)


def zrevrank(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZREVRANK key member."""
    return _rank(store, args, now_ms, is_reversed=True)


def _rank(store: Store, args: Arguments, now_ms: int, *, is_reversed: bool) -> bytes:
    set_ = viewed(store, args[1], now_ms, SortedSet)
    score = None if set_ is None else set_.scores.get(args[2])
    if set_ is None or score is None:
        return NULL
    rank = set_.order.rank((score, args[2]))
    return integer(set_.count - 1 - rank if is_reversed else rank)


def zpopmin(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZPOPMIN key [count]."""
    return _pop(store, args, from_top=False)


def zpopmax(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZPOPMAX key [count]."""
    return _pop(store, args, from_top=True)


def _pop(store: Store, args: Arguments, *, from_top: bool) -> bytes:
    if len(args) > 3:
        return SYNTAX_ERROR
    count = require_positive(args[2]) if len(args) == 3 else None
    set_ = editable(store, args[1], SortedSet)
    if set_ is None:
        return EMPTY_ARRAY
    popped = _popped(set_, 1 if count is None else count, from_top=from_top)
    store.settle(args[1], set_)
    if count is None:
        score, member = popped[0]
        return array([bulk(member), double(score)])
    return scored_reply(popped, with_scores=True)


def _popped(set_: SortedSet, count: int, *, from_top: bool) -> list[Pair]:
    count = min(count, set_.count)
    if from_top:
        return set_.remove_between(set_.count - count, set_.count)[::-1]
    return set_.remove_between(0, count)


def zmpop(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]."""
    keys, from_top, count = keys_to_pop(args, SET_ENDS)
    for key in keys:
        set_ = editable(store, key, SortedSet)
        if set_ is not None:
            popped = _popped(set_, count, from_top=from_top)
            store.settle(key, set_)
            return array([bulk(key), array([array([bulk(member), double(score)]) for score, member in popped])])
    return NULL_ARRAY


def zrandmember(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZRANDMEMBER key [count [WITHSCORES]]."""
    if len(args) == 2:
        set_ = viewed(store, args[1], now_ms, SortedSet)
        return NULL if set_ is None else bulk(set_.draw(draws_to_show(store))[0])
    count, with_scores = require_draws(args, b"WITHSCORES")
    set_ = viewed(store, args[1], now_ms, SortedSet)
    if set_ is None or not count:
        return EMPTY_ARRAY
    found = set_.scores.draw_many(draws_to_show(store), count)
    return scored_reply([(score, member) for member, score in found], with_scores=with_scores)


def zscan(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZSCAN key cursor [MATCH pattern] [COUNT count]."""
    return scan_reply(
        args,
        lambda: None if (found := viewed(store, args[1], now_ms, SortedSet)) is None else found.scores,
        lambda member, score: (member, b"%.17g" % score),
    )
