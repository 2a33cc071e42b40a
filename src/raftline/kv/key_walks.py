"""Walks over the keys of a store: all that are alive, a part from a cursor on, some one."""

from collections.abc import Iterable, Iterator, Mapping

from raftline.kv.deadlines import NEVER_MS, ExpiryPending
from raftline.kv.slots import SLOT_COUNT
from raftline.kv.store import Store
from raftline.kv.values.draws import Draws

__all__ = ["alive_keys", "draw_key", "scan_keys"]


def alive_keys(store: Store, now_ms: int) -> Iterator[bytes]:
    """Yield every key that is alive, slot by slot; raises `ExpiryPending` like `Store.read`."""
    for slot in store.filled(range(SLOT_COUNT)):
        values, deadlines = store.table(slot)
        yield from _alive(store, values, deadlines, now_ms)


def scan_keys(store: Store, cursor: int, count: int, now_ms: int) -> tuple[int, list[bytes]]:
    """Return about `count` keys from `cursor` on, and the next cursor, 0 at the end.

    A key that is there during a whole scan is returned: slots are walked in order, and a slot with many keys in
    the order of their CRC32, from which a cursor marks a place that no change can move.
    """
    first, first_hash = cursor >> 32, cursor & 0xFFFFFFFF
    found: list[bytes] = []
    for slot in store.filled(range(first, SLOT_COUNT)):
        values, deadlines = store.table(slot)
        low = first_hash if slot == first else 0
        some, next_hash = store.walks.step(slot, values, low, count, count - len(found))
        found += _alive(store, some, deadlines, now_ms)
        if next_hash is not None:
            return slot << 32 | next_hash, found
        if len(found) >= count:
            return ((slot + 1) << 32 if slot + 1 < SLOT_COUNT else 0), found
    return 0, found


def draw_key(store: Store, draws: Draws, now_ms: int) -> bytes | None:
    """Return some key that is alive, None if there is none; raises `ExpiryPending` like `Store.read`."""
    first = draws.below(SLOT_COUNT)
    for slot in store.filled((*range(first, SLOT_COUNT), *range(first))):
        if alive := list(_alive(store, *store.table(slot), now_ms)):
            return alive[draws.below(len(alive))]
    return None


def _alive(store: Store, some: Iterable[bytes], deadlines: Mapping[bytes, int], now_ms: int) -> Iterable[bytes]:
    if not deadlines:
        return some
    return [key for key in some if _is_alive(store, deadlines.get(key, NEVER_MS), now_ms)]


def _is_alive(store: Store, deadline_ms: int, now_ms: int) -> bool:
    if deadline_ms <= store.time_ms:
        return False
    if deadline_ms <= now_ms:
        raise ExpiryPending
    return True
