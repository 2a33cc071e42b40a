"""Which keys are due for removal, found without a clock and without ever looking at keys that are not.

Keys stand in buckets of 256 ms and 1,024 slots. A bucket is taken apart only when all of it is due; from then on its
keys leave in the order of their bytes. So what is removed depends on the content alone, not on its history, and a
replica that was restored from a snapshot removes the same keys at the same command as the others.
"""

from heapq import heapify, heappop, heappush

__all__ = ["NEVER_MS", "Deadlines", "ExpiryPending"]

NEVER_MS = 1 << 63
"""Later than every deadline."""

_TIME_SHIFT = 8
_SLOT_SHIFT = 10
_GROUP_BITS = 4
_GROUPS = 1 << _GROUP_BITS
_GROUP_MASK = _GROUPS - 1
_SPARE_IDS = 64
_NO_BUCKETS: tuple[dict[int, dict[bytes, None]], ...] = tuple({} for _ in range(_GROUPS))
"""Stands for those of a store in which no key ever had a deadline; never changed."""


class ExpiryPending(Exception):
    """A key is past its deadline by the reader's clock, not yet by the log's, whose time has to advance first."""


class Deadlines:
    """Keys by deadline; the deadlines themselves are kept by the store.

    There is a dictionary of buckets for each group of slots: one for all would take long to grow. A bucket is a
    dictionary and no set, because the garbage collector need not look at those that hold bytes only.

    Invariants: no bucket is empty; every bucket's id is in the heap (ids of buckets that are gone may be, too);
    `next_due_ms` is not later than the moment the first bucket is due.
    """

    __slots__ = ("_bucket_count", "_buckets", "_ids", "_opened", "_opened_id", "count", "next_due_ms")

    def __init__(self) -> None:
        self._buckets: tuple[dict[int, dict[bytes, None]], ...] = _NO_BUCKETS
        self._bucket_count = 0
        self._ids: list[int] = []
        self._opened: list[bytes] = []
        self._opened_id = -1
        self.count = 0
        self.next_due_ms = NEVER_MS

    def add(self, key: bytes, slot: int, deadline_ms: int) -> None:
        """Note that `key` is due at `deadline_ms`, which lies ahead."""
        self.count += 1
        bucket_id = _bucket_id(slot, deadline_ms)
        buckets = self._buckets[bucket_id & _GROUP_MASK]
        bucket = buckets.get(bucket_id)
        if bucket is None:
            if self._buckets is _NO_BUCKETS:
                self._buckets = tuple({} for _ in range(_GROUPS))
                buckets = self._buckets[bucket_id & _GROUP_MASK]
            buckets[bucket_id] = {key: None}
            self._bucket_count += 1
            heappush(self._ids, bucket_id)
            self.next_due_ms = min(self.next_due_ms, _end_ms(bucket_id))
        else:
            bucket[key] = None

    def discard(self, key: bytes, slot: int, deadline_ms: int) -> None:
        """Forget `key`, which was added with this slot and deadline."""
        bucket_id = _bucket_id(slot, deadline_ms)
        bucket = self._buckets[bucket_id & _GROUP_MASK][bucket_id]
        del bucket[key]
        self.count -= 1
        if not bucket:
            self._close(bucket_id)

    def first_due_ms(self) -> int:
        """Return when the first bucket is due, `NEVER_MS` if there is none."""
        ids, buckets = self._ids, self._buckets
        while ids and ids[0] not in buckets[ids[0] & _GROUP_MASK]:
            heappop(ids)
        self.next_due_ms = _end_ms(ids[0]) if ids else NEVER_MS
        return self.next_due_ms

    def take_due(self, time_ms: int, count_max: int) -> list[bytes]:
        """Remove and return up to `count_max` keys whose buckets are due at `time_ms`."""
        due: list[bytes] = []
        while len(due) < count_max and self.first_due_ms() <= time_ms:
            bucket_id = self._ids[0]
            bucket = self._buckets[bucket_id & _GROUP_MASK][bucket_id]
            if self._opened_id != bucket_id:
                self._opened = list(bucket)
                heapify(self._opened)
                self._opened_id = bucket_id
            opened = self._opened
            while bucket and len(due) < count_max:
                key = heappop(opened)
                if key in bucket:
                    del bucket[key]
                    self.count -= 1
                    due.append(key)
            if not bucket:
                self._close(bucket_id)
        return due

    def release(self) -> int:
        """Let go of one bucket of a queue that is no longer used; return how much that was, 0 if nothing is left."""
        if self._ids:
            self._ids.pop()
        for buckets in self._buckets:
            if buckets:
                return len(buckets.popitem()[1])
        return 0

    def _close(self, bucket_id: int) -> None:
        """Drop an empty bucket; its id stays in the heap until it comes to the top or there are too many such."""
        del self._buckets[bucket_id & _GROUP_MASK][bucket_id]
        self._bucket_count -= 1
        if bucket_id == self._opened_id:
            self._opened = []
            self._opened_id = -1
        if len(self._ids) > 2 * self._bucket_count + _SPARE_IDS:
            self._ids = [bucket_id for buckets in self._buckets for bucket_id in buckets]
            heapify(self._ids)


def _bucket_id(slot: int, deadline_ms: int) -> int:
    return (deadline_ms >> _TIME_SHIFT << _GROUP_BITS) | (slot >> _SLOT_SHIFT)


def _end_ms(bucket_id: int) -> int:
    return ((bucket_id >> _GROUP_BITS) + 1) << _TIME_SHIFT
