"""The string commands: one value of bytes per key, some of them numbers.

Every write is a function of the store, its arguments and the log's time. Replies and refusals are those of Redis 7.0.
"""

import msgspec

from raftline.kv.commands.arguments import (
    INTEGER_MAX,
    INTEGER_MIN,
    NOT_AN_INTEGER,
    SYNTAX_ERROR,
    deadline_of,
    invalid_expire_time,
    parse_integer,
    require_integer,
)
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.floats import LongDouble, require_long_double
from raftline.kv.commands.typed import WRONG_TYPE, existing, viewed
from raftline.kv.resp.replies import NULL, OK, ONE, ZERO, bulk, bulk_or_null, error, integer
from raftline.kv.store import Store

__all__ = [
    "CONDITIONS",
    "MGET_REPLY_BYTES_MAX",
    "SET_PLAIN",
    "STRING_BYTES_MAX",
    "TOO_LARGE",
    "append",
    "check_decrby",
    "check_getex",
    "check_incrby",
    "check_mset",
    "check_msetnx",
    "check_psetex",
    "check_set",
    "check_setex",
    "decr",
    "decrby",
    "get",
    "getdel",
    "getex",
    "getset",
    "incr",
    "incrby",
    "incrbyfloat",
    "meets",
    "mget",
    "mset",
    "msetnx",
    "psetex",
    "set_",
    "setex",
    "setnx",
    "strlen",
]

STRING_BYTES_MAX = 512 << 20
"""No value grows beyond this; part of the replicated behaviour, so no setting."""
SET_PLAIN = 3
"""Arguments of a SET without options."""
MGET_REPLY_BYTES_MAX = 32 << 20

_OVERFLOW = error("ERR increment or decrement would overflow")
_DECREMENT_OVERFLOW = error("ERR decrement would overflow")
TOO_LARGE = error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
_MSET_ARITY = error("ERR wrong number of arguments for 'mset' command")
_MSETNX_ARITY = error("ERR wrong number of arguments for 'msetnx' command")
_NOT_FINITE = error("ERR increment would produce NaN or Infinity")
_MGET_TOO_LARGE = error(f"ERR the values together are larger than {MGET_REPLY_BYTES_MAX} bytes: ask for fewer keys")

CONDITIONS = frozenset({b"IFEQ", b"IFNE"})
"""Options of SET and DELEX in Redis 8.4: only if the value is, or is not, the one that follows."""
_UNITS = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}
"""Option → milliseconds per unit, and whether the amount counts from now."""
_SET_OPTIONS = frozenset({b"NX", b"XX", b"GET", b"KEEPTTL", *CONDITIONS})
_GETEX_OPTIONS = frozenset({b"PERSIST"})


class _Options(msgspec.Struct, frozen=True):
    """What SET and GETEX can be told; `unit` is empty or EX, PX, EXAT or PXAT, and `amount` its argument."""

    unit: bytes = b""
    amount: bytes = b""
    nx: bool = False
    xx: bool = False
    get: bool = False
    keep_ttl: bool = False
    persist: bool = False
    condition: bytes = b""
    """IFEQ or IFNE, or none."""
    expected: bytes = b""


def get(store: Store, args: Arguments, now_ms: int) -> bytes:
    """GET key."""
    value = store.read(args[1], now_ms)
    try:  # which costs nothing where it is a string
        return NULL if value is None else b"$%d\r\n%b\r\n" % (len(value), value)  # type: ignore[str-format]
    except TypeError:
        return WRONG_TYPE


def mget(store: Store, args: Arguments, now_ms: int) -> bytes:
    """MGET key [key ...]."""
    replies = [b"*%d\r\n" % (len(args) - 1)]
    size = 0
    for key in args[1:]:
        value = store.read(key, now_ms)
        if not isinstance(value, bytes):
            replies.append(NULL)
        else:
            size += len(value)
            if size > MGET_REPLY_BYTES_MAX:
                return _MGET_TOO_LARGE
            replies.append(bulk(value))
    return b"".join(replies)


def strlen(store: Store, args: Arguments, now_ms: int) -> bytes:
    """STRLEN key."""
    return integer(len(viewed(store, args[1], now_ms, bytes) or b""))


def set_(store: Store, args: Arguments, time_ms: int) -> bytes:
    """SET key value [NX | XX | IFEQ value | IFNE value] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]."""
    if len(args) == SET_PLAIN:
        store.put(args[1], args[2])
        return OK
    return _set_with_options(store, args, time_ms)


def check_set(args: Arguments) -> None:
    """Refuse options that contradict each other or cannot be read."""
    if len(args) > SET_PLAIN:
        options = _parse_options(args, 3, _SET_OPTIONS)
        if options.unit:
            _deadline_ms(options.unit, options.amount, 0, "set")


def _set_with_options(store: Store, args: Arguments, time_ms: int) -> bytes:
    options = _parse_options(args, 3, _SET_OPTIONS)
    key, value = args[1], args[2]
    deadline_ms = _deadline_ms(options.unit, options.amount, time_ms, "set") if options.unit else None
    old = store.get(key)
    before = existing(store, key, bytes) if options.get or options.condition else None
    missed = (options.nx and old is not None) or (options.xx and old is None)
    if options.condition:
        missed = not meets(before, options.condition, options.expected)
    if not missed:
        _put(store, key, value, deadline_ms, keep_ttl=options.keep_ttl)
    if options.get:
        return bulk_or_null(before)
    return NULL if missed else OK


def _put(store: Store, key: bytes, value: bytes, deadline_ms: int | None, *, keep_ttl: bool = False) -> None:
    if keep_ttl:
        store.replace(key, value)
    else:
        store.put(key, value)
        if deadline_ms is not None:
            store.expire_at(key, deadline_ms)


def meets(value: bytes | None, condition: bytes, expected: bytes) -> bool:
    """Say whether a value, None if there is none, is (IFEQ), or is not (IFNE), the one expected."""
    return (value == expected) is (condition == b"IFEQ")


def setnx(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SETNX key value."""
    if store.get(args[1]) is not None:
        return ZERO
    store.put(args[1], args[2])
    return ONE


def setex(store: Store, args: Arguments, time_ms: int) -> bytes:
    """SETEX key seconds value."""
    _put(store, args[1], args[3], _deadline_ms(b"EX", args[2], time_ms, "setex"))
    return OK


def psetex(store: Store, args: Arguments, time_ms: int) -> bytes:
    """PSETEX key milliseconds value."""
    _put(store, args[1], args[3], _deadline_ms(b"PX", args[2], time_ms, "psetex"))
    return OK


def check_setex(args: Arguments) -> None:
    """Refuse a time that is none."""
    _deadline_ms(b"EX", args[2], 0, "setex")


def check_psetex(args: Arguments) -> None:
    """Refuse a time that is none."""
    _deadline_ms(b"PX", args[2], 0, "psetex")


def getset(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """GETSET key value."""
    old = existing(store, args[1], bytes)
    store.put(args[1], args[2])
    return bulk_or_null(old)


def getdel(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """GETDEL key."""
    old = existing(store, args[1], bytes)
    store.delete(args[1])
    return bulk_or_null(old)


def getex(store: Store, args: Arguments, time_ms: int) -> bytes:
    """GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]."""
    options = _parse_options(args, 2, _GETEX_OPTIONS)
    key = args[1]
    old = existing(store, key, bytes)
    if old is None:
        return NULL
    if options.unit:
        store.expire_at(key, _deadline_ms(options.unit, options.amount, time_ms, "getex"))
    elif options.persist:
        store.persist(key)
    return bulk(old)


def check_getex(args: Arguments) -> None:
    """Refuse options that contradict each other; a time is looked at only if the key exists, as in Redis."""
    _parse_options(args, 2, _GETEX_OPTIONS)


def append(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """APPEND key value."""
    key = args[1]
    old = existing(store, key, bytes)
    if old is None:
        store.put(key, args[2])
        return integer(len(args[2]))
    if len(old) + len(args[2]) > STRING_BYTES_MAX:
        return TOO_LARGE
    value = old + args[2]
    store.replace(key, value)
    return integer(len(value))


def mset(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """MSET key value [key value ...]."""
    check_mset(args)
    for position in range(1, len(args), 2):
        store.put(args[position], args[position + 1])
    return OK


def check_mset(args: Arguments) -> None:
    """Refuse a key without a value."""
    if len(args) % 2 == 0:
        raise Refused(_MSET_ARITY)


def msetnx(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """MSETNX key value [key value ...]."""
    check_msetnx(args)
    if any(store.get(key) is not None for key in args[1::2]):
        return ZERO
    for position in range(1, len(args), 2):
        store.put(args[position], args[position + 1])
    return ONE


def check_msetnx(args: Arguments) -> None:
    """Refuse a key without a value."""
    if len(args) % 2 == 0:
        raise Refused(_MSETNX_ARITY)


def incr(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """INCR key."""
    return _add(store, args[1], 1)


def decr(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """DECR key."""
    return _add(store, args[1], -1)


def incrby(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """INCRBY key increment."""
    return _add(store, args[1], require_integer(args[2]))


def decrby(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """DECRBY key decrement."""
    return _add(store, args[1], -check_decrby(args))


def incrbyfloat(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """INCRBYFLOAT key increment."""
    old = existing(store, args[1], bytes)
    total = (LongDouble.zero() if old is None else require_long_double(old)) + require_long_double(args[2])
    if not total.is_finite:
        return _NOT_FINITE
    value = total.human()
    store.replace(args[1], value)
    return bulk(value)


def check_incrby(args: Arguments) -> int:
    """Refuse what is no integer."""
    return require_integer(args[2])


def check_decrby(args: Arguments) -> int:
    """Refuse what is no integer, and the one that has no negative."""
    decrement = require_integer(args[2])
    if decrement == INTEGER_MIN:
        raise Refused(_DECREMENT_OVERFLOW)
    return decrement


def _add(store: Store, key: bytes, amount: int) -> bytes:
    old = existing(store, key, bytes)
    number = 0 if old is None else parse_integer(old)
    if number is None:
        return NOT_AN_INTEGER
    total = number + amount
    if not INTEGER_MIN <= total <= INTEGER_MAX:
        return _OVERFLOW
    store.replace(key, b"%d" % total)
    return integer(total)


def _parse_options(args: Arguments, start: int, allowed: frozenset[bytes]) -> _Options:
    """Read the options of SET and GETEX; raises `Refused` for an unknown one or two that exclude each other."""
    given: set[bytes] = set()
    unit = amount = condition = expected = b""
    position = start
    while position < len(args):
        option = args[position].upper()
        if option in _UNITS and position + 1 < len(args):
            if unit not in {b"", option}:
                raise Refused(SYNTAX_ERROR)
            unit, amount = option, args[position + 1]
            position += 1
        elif option in CONDITIONS and option in allowed and not condition and position + 1 < len(args):
            condition, expected = option, args[position + 1]
            position += 1
        elif option in allowed and option not in CONDITIONS:
            given.add(option)
        else:
            raise Refused(SYNTAX_ERROR)
        position += 1
    if given >= {b"NX", b"XX"} or (condition and given & {b"NX", b"XX"}):
        raise Refused(SYNTAX_ERROR)
    if len(given & {b"KEEPTTL", b"PERSIST"}) + bool(unit) > 1:
        raise Refused(SYNTAX_ERROR)
    return _Options(
        unit,
        amount,
        b"NX" in given,
        b"XX" in given,
        b"GET" in given,
        b"KEEPTTL" in given,
        b"PERSIST" in given,
        condition,
        expected,
    )


def _deadline_ms(unit: bytes, text: bytes, time_ms: int, command: str) -> int:
    """Return when an expiry given as `unit` and `text` is due; raises `Refused`."""
    unit_ms, from_now = _UNITS[unit]
    amount = require_integer(text)
    if amount <= 0:
        raise invalid_expire_time(command)
    return deadline_of(amount, unit_ms, time_ms if from_now else 0, command)
