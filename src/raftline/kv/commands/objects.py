"""OBJECT and MEMORY: what a value looks like from inside."""

from raftline.kv.commands.arguments import SYNTAX_ERROR, parse_integer, require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.resp.replies import NULL, ONE, bulk, error, integer
from raftline.kv.store import DEADLINE_BYTES, ENTRY_BYTES, Store
from raftline.kv.values.container import Container
from raftline.kv.values.list import List
from raftline.kv.values.lock import Lock
from raftline.kv.values.sorted_set import SortedSet

__all__ = ["memory_usage", "object_encoding", "object_freq", "object_idletime", "object_refcount"]

_EMBEDDED_BYTES_MAX = 44
_OF_CONTAINER: dict[type[Container], bytes] = {List: b"quicklist", SortedSet: b"skiplist", Lock: b"lock"}
_NOT_TRACKED = error("ERR access times are not kept")
_NO_FREQUENCY = error(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
    "between policies at runtime LRU and LFU data will take some time to adjust."
)


def object_encoding(store: Store, args: Arguments, now_ms: int) -> bytes:
    """OBJECT ENCODING key: of a string what Redis would choose, of others the nearest to what is here."""
    value = store.read(args[2], now_ms)
    if value is None:
        return NULL
    if not isinstance(value, bytes):
        return bulk(_OF_CONTAINER.get(type(value), b"hashtable"))
    if parse_integer(value) is not None:
        return bulk(b"int")
    return bulk(b"embstr" if len(value) <= _EMBEDDED_BYTES_MAX else b"raw")


def object_freq(store: Store, args: Arguments, now_ms: int) -> bytes:
    """OBJECT FREQ key: there is no such policy."""
    return NULL if store.read(args[2], now_ms) is None else _NO_FREQUENCY


def object_idletime(store: Store, args: Arguments, now_ms: int) -> bytes:
    """OBJECT IDLETIME key: nobody notes when a key was read."""
    return NULL if store.read(args[2], now_ms) is None else _NOT_TRACKED


def object_refcount(store: Store, args: Arguments, now_ms: int) -> bytes:
    """OBJECT REFCOUNT key: values are not shared between keys."""
    return NULL if store.read(args[2], now_ms) is None else ONE


def memory_usage(store: Store, args: Arguments, now_ms: int) -> bytes:
    """MEMORY USAGE key [SAMPLES count]: what INFO counts for it; nothing is sampled."""
    for position in range(3, len(args), 2):
        if args[position].upper() != b"SAMPLES" or position + 1 == len(args):
            raise Refused(SYNTAX_ERROR)
        if require_integer(args[position + 1]) < 0:
            raise Refused(SYNTAX_ERROR)
    value = store.read(args[2], now_ms)
    if value is None:
        return NULL
    size = len(args[2]) + len(value) + ENTRY_BYTES
    return integer(size if store.deadline_ms(args[2]) is None else size + DEADLINE_BYTES)
