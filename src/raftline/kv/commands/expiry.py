"""Deadlines of keys: setting, reading and taking them away.

Relative times count from the log's time, which is the same on every replica. See
docs/decisions/0003-expiry-through-the-log.md.
"""

from raftline.kv.commands.arguments import deadline_of, require_integer
from raftline.kv.commands.command import Arguments, Refused, WriteFunction
from raftline.kv.commands.typed import refuse_lock
from raftline.kv.resp.replies import ONE, ZERO, error, integer, shown
from raftline.kv.store import Store

__all__ = [
    "check_expire",
    "expire",
    "expireat",
    "expiretime",
    "persist",
    "pexpire",
    "pexpireat",
    "pexpiretime",
    "pttl",
    "ttl",
]

_NO_KEY = integer(-2)
_NO_DEADLINE = integer(-1)
_NX_WITH_OTHERS = error("ERR NX and XX, GT or LT options at the same time are not compatible")
_GT_WITH_LT = error("ERR GT and LT options at the same time are not compatible")
_CONDITIONS = frozenset({b"NX", b"XX", b"GT", b"LT"})


def check_expire(args: Arguments) -> None:
    """Refuse unknown and contradicting conditions and what is no integer."""
    _conditions(args)
    require_integer(args[2])


def _expire_function(command: str, unit_ms: int, *, from_now: bool) -> WriteFunction:
    """Return the function of EXPIRE and its three sisters: key, time, then NX, XX, GT, LT."""

    def function(store: Store, args: Arguments, time_ms: int) -> bytes:
        conditions = _conditions(args)
        deadline_ms = deadline_of(require_integer(args[2]), unit_ms, time_ms if from_now else 0, command)
        key = args[1]
        value = store.get(key)
        if value is None or not _met(conditions, store.deadline_ms(key), deadline_ms):
            return ZERO
        refuse_lock(value)
        store.expire_at(key, deadline_ms)
        return ONE

    return function


expire = _expire_function("expire", 1000, from_now=True)
pexpire = _expire_function("pexpire", 1, from_now=True)
expireat = _expire_function("expireat", 1000, from_now=False)
pexpireat = _expire_function("pexpireat", 1, from_now=False)


def persist(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """PERSIST key."""
    key = args[1]
    value = store.get(key)
    refuse_lock(value)
    return ONE if value is not None and store.persist(key) else ZERO


def ttl(store: Store, args: Arguments, now_ms: int) -> bytes:
    """TTL key, in seconds, rounded to the nearest."""
    return _remaining(store, args[1], now_ms, unit_ms=1000)


def pttl(store: Store, args: Arguments, now_ms: int) -> bytes:
    """PTTL key, in milliseconds."""
    return _remaining(store, args[1], now_ms, unit_ms=1)


def expiretime(store: Store, args: Arguments, now_ms: int) -> bytes:
    """EXPIRETIME key, in seconds since 1970, rounded to the nearest."""
    return _deadline(store, args[1], now_ms, unit_ms=1000)


def pexpiretime(store: Store, args: Arguments, now_ms: int) -> bytes:
    """PEXPIRETIME key, in milliseconds since 1970."""
    return _deadline(store, args[1], now_ms, unit_ms=1)


def _remaining(store: Store, key: bytes, now_ms: int, *, unit_ms: int) -> bytes:
    if store.read(key, now_ms) is None:
        return _NO_KEY
    deadline_ms = store.deadline_ms(key)
    if deadline_ms is None:
        return _NO_DEADLINE
    return integer((max(0, deadline_ms - max(now_ms, store.time_ms)) + unit_ms // 2) // unit_ms)


def _deadline(store: Store, key: bytes, now_ms: int, *, unit_ms: int) -> bytes:
    if store.read(key, now_ms) is None:
        return _NO_KEY
    deadline_ms = store.deadline_ms(key)
    return _NO_DEADLINE if deadline_ms is None else integer((deadline_ms + unit_ms // 2) // unit_ms)


def _conditions(args: Arguments) -> frozenset[bytes]:
    """Return the conditions given; raises `Refused`."""
    if len(args) == 3:
        return frozenset()
    conditions = set()
    for argument in args[3:]:
        condition = argument.upper()
        if condition not in _CONDITIONS:
            raise Refused(error(f"ERR Unsupported option {shown(argument)}"))
        conditions.add(condition)
    if b"NX" in conditions and len(conditions) > 1:
        raise Refused(_NX_WITH_OTHERS)
    if conditions >= {b"GT", b"LT"}:
        raise Refused(_GT_WITH_LT)
    return frozenset(conditions)


def _met(conditions: frozenset[bytes], old_ms: int | None, new_ms: int) -> bool:
    """Say whether a new deadline may replace the old one; no deadline counts as an infinite one."""
    if b"NX" in conditions and old_ms is not None:
        return False
    if b"XX" in conditions and old_ms is None:
        return False
    if b"GT" in conditions and (old_ms is None or new_ms <= old_ms):
        return False
    return not (b"LT" in conditions and old_ms is not None and new_ms >= old_ms)
