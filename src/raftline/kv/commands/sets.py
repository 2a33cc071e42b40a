"""The set commands; replies and refusals are those of Redis 7.0, members come in the order in which they were added."""

from collections.abc import Iterable, Sequence
from itertools import islice

from raftline.kv.commands.arguments import SYNTAX_ERROR, require_draws, require_positive
from raftline.kv.commands.command import Arguments
from raftline.kv.commands.drawing import draws, draws_to_show
from raftline.kv.commands.many_keys import keys_of_card
from raftline.kv.commands.scanning import scan_reply
from raftline.kv.commands.typed import editable, existing, keep, opened, viewed
from raftline.kv.resp.replies import EMPTY_ARRAY, NULL, ONE, ZERO, array, bulk, bulk_array, integer, set_of
from raftline.kv.store import Store
from raftline.kv.values.set import Set

__all__ = [
    "sadd",
    "scard",
    "sdiff",
    "sdiffstore",
    "sinter",
    "sintercard",
    "sinterstore",
    "sismember",
    "smembers",
    "smismember",
    "smove",
    "spop",
    "srandmember",
    "srem",
    "sscan",
    "sunion",
    "sunionstore",
]

_EMPTY_SET = set_of([])


def sadd(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SADD key member [member ...]."""
    set_ = opened(store, args[1], Set)
    added = sum([set_.add(member) for member in args[2:]])
    if added:
        keep(store, args[1], set_)
    return integer(added)


def srem(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SREM key member [member ...]."""
    set_ = editable(store, args[1], Set)
    if set_ is None:
        return ZERO
    removed = sum([set_.remove(member) for member in args[2:]])
    if removed:
        store.settle(args[1], set_)
    return integer(removed)


def smove(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SMOVE source destination member."""
    source_key, key, member = args[1:]
    if store.get(source_key) is None:
        return ZERO
    source = existing(store, source_key, Set)
    existing(store, key, Set)
    if source is None or member not in source:
        return ZERO
    if source_key == key:
        return ONE
    source = store.own(source_key, source)
    source.remove(member)
    destination = opened(store, key, Set)
    destination.add(member)
    keep(store, key, destination)
    store.settle(source_key, source)
    return ONE


def sismember(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SISMEMBER key member."""
    set_ = viewed(store, args[1], now_ms, Set)
    return ONE if set_ is not None and args[2] in set_ else ZERO


def smismember(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SMISMEMBER key member [member ...]."""
    set_ = viewed(store, args[1], now_ms, Set)
    return array([ONE if set_ is not None and member in set_ else ZERO for member in args[2:]])


def scard(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SCARD key."""
    set_ = viewed(store, args[1], now_ms, Set)
    return ZERO if set_ is None else integer(set_.count)


def smembers(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SMEMBERS key."""
    set_ = viewed(store, args[1], now_ms, Set)
    return _EMPTY_SET if set_ is None else _reply(set_)


def _reply(set_: Set) -> bytes:
    return set_of([bulk(member) for member in set_])


def spop(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SPOP key [count]; what is drawn follows from the entry's index and time."""
    if len(args) > 3:
        return SYNTAX_ERROR
    count = require_positive(args[2]) if len(args) == 3 else None
    set_ = editable(store, args[1], Set)
    if set_ is None:
        return NULL if count is None else _EMPTY_SET
    numbers = draws(store)
    if count is not None and count >= set_.count:
        reply = _reply(set_)
        store.delete(args[1])
        return reply
    popped = [member for member, _ in set_.members.draw_many(numbers, 1 if count is None else count)]
    for member in popped:
        set_.remove(member)
    store.settle(args[1], set_)
    return bulk(popped[0]) if count is None else set_of([bulk(member) for member in popped])


def srandmember(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SRANDMEMBER key [count]."""
    if len(args) > 3:
        return SYNTAX_ERROR
    if len(args) == 2:
        set_ = viewed(store, args[1], now_ms, Set)
        return NULL if set_ is None else bulk(set_.draw(draws_to_show(store)))
    count, _ = require_draws(args, b"")
    set_ = viewed(store, args[1], now_ms, Set)
    if set_ is None or not count:
        return EMPTY_ARRAY
    return bulk_array([member for member, _ in set_.members.draw_many(draws_to_show(store), count)])


def sscan(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SSCAN key cursor [MATCH pattern] [COUNT count]."""
    return scan_reply(
        args,
        lambda: None if (found := viewed(store, args[1], now_ms, Set)) is None else found.members,
        lambda member, _: (member,),
    )


# Several sets.


def sinter(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SINTER key [key ...]."""
    return _reply(_intersection([viewed(store, key, now_ms, Set) for key in _once(args[1:])]))


def sunion(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SUNION key [key ...]."""
    return _reply(_union([viewed(store, key, now_ms, Set) for key in _once(args[1:])]))


def sdiff(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SDIFF key [key ...]."""
    return _reply(_difference([viewed(store, key, now_ms, Set) for key in (args[1], *_once(args[2:]))]))


def sinterstore(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SINTERSTORE destination key [key ...]."""
    return _store(store, args[1], _intersection([existing(store, key, Set) for key in _once(args[2:])]))


def sunionstore(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SUNIONSTORE destination key [key ...]."""
    return _store(store, args[1], _union([existing(store, key, Set) for key in _once(args[2:])]))


def sdiffstore(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SDIFFSTORE destination key [key ...]."""
    sets = [existing(store, key, Set) for key in (args[2], *_once(args[3:]))]
    return _store(store, args[1], _difference(sets))


def sintercard(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SINTERCARD numkeys key [key ...] [LIMIT limit]."""
    keys, limit = keys_of_card(args)
    sets = [viewed(store, key, now_ms, Set) for key in _once(keys)]
    if any(set_ is None for set_ in sets):
        return ZERO
    smallest, others = _by_size(sets)
    common = (member for member in smallest if all(member in other for other in others))
    return integer(sum(1 for _ in islice(common, limit or None)))


def _once(keys: Sequence[bytes]) -> Iterable[bytes]:
    """Return each key once: naming a set again changes nothing, but would cost its size again."""
    return dict.fromkeys(keys)


def _by_size(sets: list[Set | None]) -> tuple[Set, list[Set]]:
    """Return the smallest of sets that are all there, and the others."""
    smallest, *others = sorted([set_ for set_ in sets if set_ is not None], key=lambda set_: set_.count)
    return smallest, others


def _intersection(sets: list[Set | None]) -> Set:
    if any(set_ is None for set_ in sets):
        return Set()
    smallest, others = _by_size(sets)
    return Set(member for member in smallest if all(member in other for other in others))


def _union(sets: list[Set | None]) -> Set:
    return Set(member for set_ in sets if set_ is not None for member in set_)


def _difference(sets: list[Set | None]) -> Set:
    first, *others = sets
    if first is None:
        return Set()
    there = [other for other in others if other is not None]
    if len(there) * first.count > sum(other.count for other in there):
        gone = {member for other in there for member in other}
        return Set(member for member in first if member not in gone)
    return Set(member for member in first if not any(member in other for other in there))


def _store(store: Store, key: bytes, set_: Set) -> bytes:
    store.put_new(key, set_)
    return integer(set_.count)
