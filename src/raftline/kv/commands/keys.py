"""Commands about keys whatever they hold: existence, removal, type, and the walk over all of them."""

from raftline.kv.commands.arguments import SYNTAX_ERROR, require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.drawing import draws_to_show
from raftline.kv.commands.glob import compile_glob
from raftline.kv.commands.scanning import parse_cursor, parse_scan_options
from raftline.kv.commands.typed import refuse_lock
from raftline.kv.key_walks import alive_keys, draw_key, scan_keys
from raftline.kv.resp.replies import OK, ONE, ZERO, array, bulk, bulk_array, bulk_or_null, error, integer, simple
from raftline.kv.store import Store
from raftline.kv.values.value import TYPE_NAMES

__all__ = [
    "TICK_KEYS_MAX",
    "check_flush",
    "copy",
    "dbsize",
    "delete",
    "exists",
    "flush",
    "keys",
    "randomkey",
    "rename",
    "renamenx",
    "scan",
    "tick",
    "type_",
]

TICK_KEYS_MAX = 1000
"""Expired keys that one RAFTLINE.TICK removes at most."""


_NO_SUCH_KEY = error("ERR no such key")
_NO_SUCH_DATABASE = error("ERR DB index is out of range")
_SAME_KEY = error("ERR source and destination objects are the same")


def delete(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """DEL key [key ...], and UNLINK."""
    return integer(sum([store.delete(key) for key in args[1:]]))


def exists(store: Store, args: Arguments, now_ms: int) -> bytes:
    """EXISTS key [key ...], and TOUCH; a key that is named twice counts twice."""
    return integer(sum([store.read(key, now_ms) is not None for key in args[1:]]))


def type_(store: Store, args: Arguments, now_ms: int) -> bytes:
    """TYPE key."""
    value = store.read(args[1], now_ms)
    return simple("none" if value is None else TYPE_NAMES[type(value)])


def rename(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """RENAME key new."""
    value = store.get(args[1])
    if value is None:
        return _NO_SUCH_KEY
    refuse_lock(value)
    _move(store, args[1], args[2])
    return OK


def renamenx(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """RENAMENX key new."""
    value = store.get(args[1])
    if value is None:
        return _NO_SUCH_KEY
    refuse_lock(value)
    if store.get(args[2]) is not None:
        return ZERO
    _move(store, args[1], args[2])
    return ONE


def _move(store: Store, old_key: bytes, key: bytes) -> None:
    """Let a key that is alive have another name, with its deadline."""
    if old_key == key:
        return
    deadline_ms = store.deadline_ms(old_key)
    value = store.take(old_key)
    assert value is not None, "the key was looked up"
    store.put_moved(key, value)
    if deadline_ms is not None:
        store.expire_at(key, deadline_ms)


def copy(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """COPY source destination [DB 0] [REPLACE]."""
    replaces = False
    position = 3
    while position < len(args):
        option = args[position].upper()
        if option == b"REPLACE":
            replaces = True
        elif option == b"DB" and position + 1 < len(args):
            position += 1
            if require_integer(args[position]) != 0:
                return _NO_SUCH_DATABASE
        else:
            return SYNTAX_ERROR
        position += 1
    source, key = args[1], args[2]
    if source == key:
        return _SAME_KEY
    value = store.get(source)
    if value is None or (not replaces and store.get(key) is not None):
        return ZERO
    refuse_lock(value)
    deadline_ms = store.deadline_ms(source)
    if isinstance(value, bytes):
        store.put(key, value)
    else:
        store.put_new(key, value.clone())
    if deadline_ms is not None:
        store.expire_at(key, deadline_ms)
    return ONE


def randomkey(store: Store, _args: Arguments, now_ms: int) -> bytes:
    """RANDOMKEY."""
    return bulk_or_null(draw_key(store, draws_to_show(store), now_ms))


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
    return bulk_array([key for key in alive_keys(store, now_ms) if matches(key)])


def scan(store: Store, args: Arguments, now_ms: int) -> bytes:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]."""
    cursor = parse_cursor(args[1])
    options = parse_scan_options(args, 2, has_type=True)
    next_cursor, found = scan_keys(store, cursor, options.count, now_ms)
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
