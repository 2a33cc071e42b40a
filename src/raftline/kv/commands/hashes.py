"""The hash commands; replies and refusals are those of Redis 7.0, fields come in the order in which they were set."""

from raftline.kv.commands.arguments import (
    INTEGER_MAX,
    INTEGER_MIN,
    parse_integer,
    require_draws,
    require_integer,
)
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.drawing import draws_to_show
from raftline.kv.commands.floats import LongDouble, require_long_double
from raftline.kv.commands.scanning import scan_reply
from raftline.kv.commands.typed import editable, existing, keep, opened, viewed
from raftline.kv.resp.replies import (
    EMPTY_ARRAY,
    NULL,
    OK,
    ONE,
    ZERO,
    array,
    bulk,
    bulk_array,
    bulk_or_null,
    error,
    integer,
    mapping,
    pairs,
)
from raftline.kv.store import Store
from raftline.kv.values.hash import Hash

__all__ = [
    "hdel",
    "hexists",
    "hget",
    "hgetall",
    "hincrby",
    "hincrbyfloat",
    "hkeys",
    "hlen",
    "hmget",
    "hmset",
    "hrandfield",
    "hscan",
    "hset",
    "hsetnx",
    "hstrlen",
    "hvals",
]

_NOT_AN_INTEGER = error("ERR hash value is not an integer")
_NOT_A_FLOAT = error("ERR hash value is not a float")
_OVERFLOW = error("ERR increment or decrement would overflow")
_NOT_FINITE = error("ERR increment would produce NaN or Infinity")


def hset(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """HSET key field value [field value ...]."""
    return integer(_put_all(store, args, "hset"))


def hmset(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """HMSET key field value [field value ...]."""
    _put_all(store, args, "hmset")
    return OK


def _put_all(store: Store, args: Arguments, name: str) -> int:
    if len(args) % 2:
        raise Refused(error(f"ERR wrong number of arguments for '{name}' command"))
    hash_ = opened(store, args[1], Hash)
    before = hash_.count
    for position in range(2, len(args), 2):
        hash_.put(args[position], args[position + 1])
    keep(store, args[1], hash_)
    return hash_.count - before


def hsetnx(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """HSETNX key field value."""
    old = existing(store, args[1], Hash)
    if old is not None and old.fields.get(args[2]) is not None:
        return ZERO
    _put_all(store, args, "hsetnx")
    return ONE


def hget(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HGET key field."""
    hash_ = viewed(store, args[1], now_ms, Hash)
    return NULL if hash_ is None else bulk_or_null(hash_.fields.get(args[2]))


def hmget(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HMGET key field [field ...]."""
    hash_ = viewed(store, args[1], now_ms, Hash)
    if hash_ is None:
        return array([NULL] * (len(args) - 2))
    return array([bulk_or_null(hash_.fields.get(field)) for field in args[2:]])


def hdel(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """HDEL key field [field ...]."""
    hash_ = editable(store, args[1], Hash)
    if hash_ is None:
        return ZERO
    removed = sum([hash_.remove(field) for field in args[2:]])
    if removed:
        store.settle(args[1], hash_)
    return integer(removed)


def hlen(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HLEN key."""
    hash_ = viewed(store, args[1], now_ms, Hash)
    return ZERO if hash_ is None else integer(hash_.count)


def hstrlen(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HSTRLEN key field."""
    hash_ = viewed(store, args[1], now_ms, Hash)
    return ZERO if hash_ is None else integer(len(hash_.fields.get(args[2]) or b""))


def hexists(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HEXISTS key field."""
    hash_ = viewed(store, args[1], now_ms, Hash)
    return ZERO if hash_ is None or hash_.fields.get(args[2]) is None else ONE


def hkeys(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HKEYS key."""
    hash_ = viewed(store, args[1], now_ms, Hash)
    return EMPTY_ARRAY if hash_ is None else bulk_array(list(hash_.fields))


def hvals(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HVALS key."""
    hash_ = viewed(store, args[1], now_ms, Hash)
    return EMPTY_ARRAY if hash_ is None else bulk_array(list(hash_.fields.values()))


def hgetall(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HGETALL key."""
    hash_ = viewed(store, args[1], now_ms, Hash)
    return mapping([] if hash_ is None else [(bulk(field), bulk(value)) for field, value in hash_.fields.items()])


def hincrby(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """HINCRBY key field increment."""
    amount = require_integer(args[3])
    old = existing(store, args[1], Hash)
    text = None if old is None else old.fields.get(args[2])
    number = 0 if text is None else parse_integer(text)
    if number is None:
        return _NOT_AN_INTEGER
    total = number + amount
    if not INTEGER_MIN <= total <= INTEGER_MAX:
        return _OVERFLOW
    _put_all(store, [*args[:3], b"%d" % total], "hincrby")
    return integer(total)


def hincrbyfloat(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """HINCRBYFLOAT key field increment."""
    amount = require_long_double(args[3])
    if not amount.is_finite:
        return error("ERR value is NaN or Infinity")
    old = existing(store, args[1], Hash)
    text = None if old is None else old.fields.get(args[2])
    number = LongDouble.zero() if text is None else LongDouble.parse(text)
    if number is None:
        return _NOT_A_FLOAT
    total = number + amount
    if not total.is_finite:
        return _NOT_FINITE
    value = total.human()
    _put_all(store, [*args[:3], value], "hincrbyfloat")
    return bulk(value)


def hrandfield(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HRANDFIELD key [count [WITHVALUES]]."""
    if len(args) == 2:
        hash_ = viewed(store, args[1], now_ms, Hash)
        return NULL if hash_ is None else bulk(hash_.draw(draws_to_show(store))[0])
    count, with_values = require_draws(args, b"WITHVALUES")
    hash_ = viewed(store, args[1], now_ms, Hash)
    if hash_ is None or not count:
        return EMPTY_ARRAY
    found = hash_.fields.draw_many(draws_to_show(store), count)
    if with_values:
        return pairs([(bulk(field), bulk(value)) for field, value in found])
    return bulk_array([field for field, _ in found])


def hscan(store: Store, args: Arguments, now_ms: int) -> bytes:
    """HSCAN key cursor [MATCH pattern] [COUNT count]."""
    return scan_reply(
        args,
        lambda: None if (found := viewed(store, args[1], now_ms, Hash)) is None else found.fields,
        lambda field, value: (field, value),
    )
