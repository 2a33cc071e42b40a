"""Commands about keys whatever they hold: existence, removal, type, and the walk over all of them."""

from raftline.kv.commands.arguments import SYNTAX_ERROR
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.glob import compile_glob
from raftline.kv.commands.scanning import parse_cursor, parse_scan_options
from raftline.kv.resp.replies import OK, array, bulk, bulk_array, integer, simple
from raftline.kv.store import Store
from raftline.kv.values.value import TYPE_NAMES

__all__ = ["TICK_KEYS_MAX", "check_flush", "dbsize", "delete", "exists", "flush", "keys", "scan", "tick", "type_"]

TICK_KEYS_MAX = 1000
"""Expired keys that one RAFTLINE.TICK removes at most."""


def delete(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """DEL key [key ...], and UNLINK."""
    return integer(sum([store.delete(key) for key in args[1:]]))


def exists(store: Store, args: Arguments, now_ms: int) -> bytes:
    """EXISTS key [key ...]; a key that is named twice counts twice."""
    return integer(sum([store.read(key, now_ms) is not None for key in args[1:]]))


def type_(store: Store, args: Arguments, now_ms: int) -> bytes:
    """TYPE key."""
    value = store.read(args[1], now_ms)
    return simple("none" if value is None else TYPE_NAMES[type(value)])


def flush(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """FLUSHALL [ASYNC | SYNC], and FLUSHDB."""
    check_flush(args)
    store.flush()
    return OK


def check_flush(args: Arguments) -> None:
    """Refuse anything but ASYNC or SYNC, which come to the same."""
    if len(args) > 2 or (len(args) == 2 and args[1].upper() not in {b"ASYNC", b"SYNC"}):
        raise Refused(SYNTAX_ERROR)


def dbsize(store: Store, _args: Arguments, _now_ms: int) -> bytes:
    """DBSIZE; counts expired keys until they are removed, as Redis does."""
    return integer(store.count)


def keys(store: Store, args: Arguments, now_ms: int) -> bytes:
    """KEYS pattern."""
    matches = compile_glob(args[1])
    return bulk_array([key for key in store.keys(now_ms) if matches(key)])


def scan(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]."""
    cursor = parse_cursor(args[1])
    options = parse_scan_options(args, 2, has_type=True)
    next_cursor, found = store.scan(cursor, options.count, now_ms)
    if options.pattern is not None:
        matches = compile_glob(options.pattern)
        found = [key for key in found if matches(key)]
    if options.type_name is not None:
        found = [key for key in found if _has_type(store, key, now_ms, options.type_name)]
    return array([bulk(b"%d" % next_cursor), bulk_array(found)])


def tick(store: Store, _args: Arguments, _time_ms: int) -> bytes:
    """RAFTLINE.TICK: let the log's time advance, and remove many expired keys at once."""
    return integer(store.remove_due(TICK_KEYS_MAX))


def _has_type(store: Store, key: bytes, now_ms: int, type_name: bytes) -> bool:
    value = store.read(key, now_ms)
    return value is not None and TYPE_NAMES[type(value)].encode() == type_name
