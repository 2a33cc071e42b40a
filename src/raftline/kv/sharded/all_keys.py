"""Commands about all keys of one group: only what it serves is counted, named and drawn, whatever else it still holds.

While slots move, each key is told of by the group that gives it or by the one that gets it, never by both; by neither
between its release and its arrival.
"""

from collections.abc import Iterable

from raftline.errors import NotServed
from raftline.kv.commands import keys, locks
from raftline.kv.commands.command import Arguments
from raftline.kv.commands.drawing import draws_to_show
from raftline.kv.commands.scanning import parse_cursor
from raftline.kv.key_walks import alive_keys, draw_key
from raftline.kv.resp.items import items_of
from raftline.kv.resp.replies import array, bulk, bulk_or_null, integer
from raftline.kv.sharded.holdings import Holdings
from raftline.kv.slots import SLOT_COUNT, slot_of
from raftline.kv.store import Store

__all__ = ["ALL_KEYS_READS", "cursor_of", "read_all_keys", "scan_served"]

_DRAWS = 16
"""How often a key is drawn before the slots that are served are looked through one by one."""


def read_all_keys(holdings: Holdings, store: Store, args: Arguments, now_ms: int) -> bytes:
    """Answer DBSIZE, KEYS or RANDOMKEY; raises `ExpiryPending` like any read."""
    return ALL_KEYS_READS[args[0].upper()](holdings, store, args, now_ms)


def _dbsize(holdings: Holdings, store: Store, _args: Arguments, _now_ms: int) -> bytes:
    return integer(store.count - sum(len(store.table(slot)[0]) for slot in _unserved(holdings)))


def _keys(holdings: Holdings, store: Store, args: Arguments, now_ms: int) -> bytes:
    reply = keys.keys(store, args, now_ms)
    if holdings.is_settled:
        return reply
    return array([item for item in items_of(reply) if holdings.serves(slot_of(_text(item)))])


def _randomkey(holdings: Holdings, store: Store, _args: Arguments, now_ms: int) -> bytes:
    draws = draws_to_show(store)
    for _ in range(_DRAWS):
        key = draw_key(store, draws, now_ms)
        if key is None or holdings.serves(slot_of(key)):
            return bulk_or_null(key)
    return bulk_or_null(next((key for key in alive_keys(store, now_ms) if holdings.serves(slot_of(key))), None))


ALL_KEYS_READS = {b"DBSIZE": _dbsize, b"KEYS": _keys, b"RANDOMKEY": _randomkey}
"""Upper-case name → what answers for one group."""


def cursor_of(args: Arguments) -> int:
    """Return where SCAN or RAFTLINE.LOCK LIST goes on; raises `Refused`."""
    place = 1 if args[0].upper() == b"SCAN" else 2
    return parse_cursor(args[place]) if len(args) > place else 0


def scan_served(holdings: Holdings, store: Store, args: Arguments, now_ms: int) -> bytes:
    """Answer SCAN or RAFTLINE.LOCK LIST up to the first slot that is not served here.

    Raises `NotServed` if that is where it begins.
    """
    is_scan = args[0].upper() == b"SCAN"
    walk, key_of = (keys.scan, _text) if is_scan else (locks.list_, _lock_name)
    cursor, found = items_of(walk(store, args, now_ms))
    first, after = cursor_of(args) >> 32, int(_text(cursor))
    last = (after >> 32 if after & 0xFFFFFFFF else (after >> 32) - 1) if after else SLOT_COUNT - 1
    end = first
    while end <= last and holdings.serves(end):
        end += 1
    if end > last:
        return array([cursor, found])
    if end == first:
        raise NotServed(f"slot {first} is not served by group {holdings.group}")
    served = [item for item in items_of(found) if slot_of(key_of(item)) < end]
    return array([bulk(b"%d" % (end << 32)), array(served)])


def _unserved(holdings: Holdings) -> Iterable[int]:
    """Return the slots that may hold keys and are not served."""
    for departure in holdings.given.values():
        yield from departure.released
    for arrival in holdings.arrivals.values():
        yield from arrival.slots


def _text(item: bytes) -> bytes:
    """Return what is in a bulk string."""
    return item[item.index(b"\r\n") + 2 : -2]


def _lock_name(item: bytes) -> bytes:
    """Return the name in a lock's map, which it begins with."""
    return _text(items_of(b"*8" + item[2:])[1])
