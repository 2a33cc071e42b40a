"""The keys, their values and their deadlines: 16,384 small dictionaries, so that none ever takes long to grow or copy.

Time is the log's: a key is expired iff its deadline is not after `time_ms`, the highest leader's time that was
applied. Nothing here reads a clock, and everything, order of iteration and memory count included, follows from the
applied commands alone. See docs/decisions/0003-expiry-through-the-log.md.
"""

from array import array
from binascii import crc_hqx
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, TypeVar

from raftline.kv.acl.users import Users
from raftline.kv.cells import CELL_COUNT, WATCH_VERSION, Cells, NoCells
from raftline.kv.deadlines import NEVER_MS, Deadlines, ExpiryPending
from raftline.kv.garbage import Garbage
from raftline.kv.hooks import Listener, Waited
from raftline.kv.slots import BRACE, SLOT_COUNT, slot_of
from raftline.kv.snapshot import FORMAT, FORMAT_BEFORE_WATCH, FrozenSlots, Header, Snapshot, parts_of
from raftline.kv.values.container import Container
from raftline.kv.values.lock import LOST_TOKENS_MAX
from raftline.kv.values.value import Value
from raftline.kv.walking import KEPT_MIN, Walks

__all__ = ["CELL_COUNT", "DEADLINE_BYTES", "ENTRY_BYTES", "WATCH_VERSION", "ExpiryPending", "Store"]

C = TypeVar("C", bound=Container)

ENTRY_BYTES = 128
"""Estimated cost of one key beside its own and its value's bytes: two object headers and a place in a dictionary."""
DEADLINE_BYTES = 160
"""Estimated cost of one deadline."""

_DUE_KEYS_MAX = 20  # that any command removes in passing because they expired
_EMPTY: dict[bytes, Any] = {}
"""Stands for each slot that holds nothing; nothing is ever put into it."""
_NO_SLOTS: list[dict[bytes, Any]] = [_EMPTY] * SLOT_COUNT
"""Stands for the slots of a store that holds nothing; never changed."""


class Store:
    """One database.

    Invariants: every key with a deadline has a value and stands in the deadline queue; `count` and `used_bytes`
    include keys that are expired and not yet removed; snapshots under way keep what they stand for; a key that is
    alive was not changed after the index in its cell, so one that lives all the time is the same at any two indexes
    that are not below that. See docs/decisions/0010-transactions.md.
    """

    __slots__ = (
        "_deadlines",
        "_epoch",
        "_frozen",
        "_garbage",
        "_queue",
        "_values",
        "changes",
        "count",
        "expired_count",
        "index",
        "last_token",
        "listener",
        "notify",
        "step",
        "time_ms",
        "used_bytes",
        "users",
        "version",
        "waited",
        "walks",
    )

    def __init__(self) -> None:
        self._values: list[dict[bytes, Value]] = _NO_SLOTS
        self._deadlines: list[dict[bytes, int]] = _NO_SLOTS
        self._queue = Deadlines()
        self.walks = Walks()
        self.changes: Cells = NoCells(self)
        """Cell → index at which one of its keys was last given a value or a deadline, or lost one."""
        self._frozen: list[FrozenSlots] = []
        self._garbage = Garbage()
        self._epoch = 0
        """Snapshots that were begun."""
        self.index = 0
        """The entry that is being applied, from which draws are made."""
        self.last_token = 0
        """The fencing token that was given last, to any lock; nothing takes it back, FLUSHALL neither."""
        self.step = 0
        """The command of a transaction that is being carried out, 1 the first; 0 outside."""
        self.count = 0
        self.used_bytes = 0
        self.time_ms = 0
        self.users = Users()
        """Who may log in, and what each may do; FLUSHALL leaves them alone."""
        self.waited: Waited | None = None
        """This node's own, no part of the state: set while somebody waits for a key to be filled."""
        self.notify = b""
        """Which events are told to those who listen: letters of `notify-keyspace-events`; part of the state."""
        self.listener: Listener | None = None
        """Likewise, while somebody listens to a channel."""
        self.expired_count = 0
        """Keys that this process removed because they expired."""
        self.version = 1
        """The version of commands that every member knows; below `WATCH_VERSION` what was noted counts for nothing."""

    # Looking up.

    def get(self, key: bytes) -> Value | None:
        """Return the value of `key` as of the log's time, for commands that are being applied."""
        slot = slot_of(key) if BRACE in key else crc_hqx(key, 0) & 0x3FFF
        value = self._values[slot].get(key)
        if value is not None:
            deadlines = self._deadlines[slot]
            if deadlines and deadlines.get(key, NEVER_MS) <= self.time_ms:
                return None
        return value

    def read(self, key: bytes, now_ms: int) -> Value | None:
        """Return the value of `key` for a reader whose clock says `now_ms`.

        Raises `ExpiryPending` if the clock says that the key is gone and the log does not say so yet.
        """
        slot = slot_of(key) if BRACE in key else crc_hqx(key, 0) & 0x3FFF
        value = self._values[slot].get(key)
        if value is not None:
            deadlines = self._deadlines[slot]
            if deadlines:
                deadline_ms = deadlines.get(key, NEVER_MS)
                if deadline_ms <= self.time_ms:
                    return None
                if deadline_ms <= now_ms:
                    raise ExpiryPending
        elif self.listener is not None:
            self.listener.on_missed(key)
        return value

    def is_overdue(self, key: bytes) -> bool:
        """Say whether `key` is expired and was not removed yet."""
        return self._deadlines[slot_of(key)].get(key, NEVER_MS) <= self.time_ms

    def deadline_ms(self, key: bytes) -> int | None:
        """Return when `key` expires, None if never; the key need not be alive."""
        return self._deadlines[slot_of(key)].get(key)

    def table(self, slot: int) -> tuple[Mapping[bytes, Value], Mapping[bytes, int]]:
        """Return keys with values, and with deadlines, of a slot, to look at; expired keys may be among them."""
        return self._values[slot], self._deadlines[slot]

    def filled(self, slots: Sequence[int]) -> Iterator[int]:
        """Yield those of `slots` that hold keys, expired ones included: few, where most are empty."""
        return compress(slots, map(self._values.__getitem__, slots))

    # Changing.

    def put(self, key: bytes, value: Value) -> None:
        """Set `key` to `value`, without a deadline."""
        cell = crc_hqx(key, 0)
        self.changes[cell] = self.index
        slot = slot_of(key) if BRACE in key else cell & 0x3FFF
        if self._frozen:
            self._keep(slot)
        values = self._values[slot]
        old = values.get(key)
        if old is None:
            if values is _EMPTY:
                values = self._begin_slot(slot)
            elif len(values) >= KEPT_MIN:
                self.walks.add(slot, key, values)
            self.count += 1
            self.used_bytes += len(key) + len(value) + ENTRY_BYTES
        else:
            self.used_bytes += len(value) - len(old)
            if type(old) is not bytes and old is not value:
                self.discard(old)
            if self._deadlines[slot]:
                self._forget_deadline(slot, key)
        values[key] = value

    def put_all(self, requests: Iterable[Sequence[bytes]]) -> None:
        """Set the key of each `[name, key, value]`, as `put` does: quicker where a string takes a string's place."""
        tables, deadlines, changes, index = self._values, self._deadlines, self.changes, self.index
        is_plain = not self._frozen and type(changes) is array
        grown_bytes = 0
        for _, key, value in requests:
            cell = crc_hqx(key, 0)
            slot = slot_of(key) if BRACE in key else cell & 0x3FFF
            values = tables[slot]
            old = values.get(key)
            if is_plain and type(old) is bytes and not deadlines[slot]:
                changes[cell] = index
                values[key] = value
                grown_bytes += len(value) - len(old)
            else:
                self.put(key, value)
        self.used_bytes += grown_bytes

    def replace(self, key: bytes, value: Value) -> None:
        """Set `key` to `value`; if it is alive it keeps its deadline."""
        deadline_ms = self.deadline_ms(key)
        self.put(key, value)
        if deadline_ms is not None and deadline_ms > self.time_ms:
            self.expire_at(key, deadline_ms)

    def put_new(self, key: bytes, value: Container) -> None:
        """Set `key` to a container that was made just now, without a deadline; an empty one removes the key."""
        if not value.count:
            self.delete(key)
            return
        value.counted_bytes = value.size_bytes
        value.epoch = self._epoch
        self._garbage.on_made(value.count)
        self.put(key, value)
        if self.waited is not None:
            self.waited.on_filled(key)

    def put_moved(self, key: bytes, value: Value) -> None:
        """Set `key` to what another key held, without a deadline."""
        self.put(key, value)
        if self.waited is not None:
            self.waited.on_filled(key)

    def own(self, key: bytes, value: C) -> C:
        """Return the container that `key` holds, `value` or a copy of it, so that no snapshot sees it change.

        Whoever changes it calls `settle` afterwards.
        """
        if self._frozen and value.epoch != self._epoch:
            slot = slot_of(key)
            self._keep(slot)
            for frozen in self._frozen:
                frozen.retired.append(value)
            value = value.clone()
            value.epoch = self._epoch
            self._values[slot][key] = value
        return value

    def settle(self, key: bytes, value: Container) -> None:
        """Count the size of a container that was changed; remove the key if nothing is left in it."""
        self.changes[crc_hqx(key, 0)] = self.index
        self.used_bytes += value.size_bytes - value.counted_bytes
        value.counted_bytes = value.size_bytes
        if not value.count:
            self.delete(key)

    def take(self, key: bytes) -> Value | None:
        """Remove a key that is alive and return its value, which is whole and may be put elsewhere."""
        value = self.get(key)
        if value is not None:
            slot = slot_of(key)
            if self._frozen:
                self._keep(slot)
            self._forget_deadline(slot, key)
            self._pop(slot, key)
        return value

    def delete(self, key: bytes) -> bool:
        """Remove `key`; return whether it was alive."""
        slot = slot_of(key)
        if key not in self._values[slot]:
            return False
        alive = self._deadlines[slot].get(key, NEVER_MS) > self.time_ms
        if self._frozen:
            self._keep(slot)
        self._forget_deadline(slot, key)
        self._remove(slot, key)
        return alive

    def expire_at(self, key: bytes, deadline_ms: int) -> None:
        """Let a key that is alive expire at `deadline_ms`; if that is not ahead it is removed at once."""
        if deadline_ms <= self.time_ms:
            self.delete(key)
            return
        slot = slot_of(key)
        assert key in self._values[slot], "only a key that exists has a deadline"
        self.changes[crc_hqx(key, 0)] = self.index
        if self._frozen:
            self._keep(slot)
        self._forget_deadline(slot, key)
        self._set_deadline(slot, key, deadline_ms)

    def persist(self, key: bytes) -> bool:
        """Take the deadline of a key that is alive away; return whether it had one."""
        slot = slot_of(key)
        if key not in self._deadlines[slot]:
            return False
        self.changes[crc_hqx(key, 0)] = self.index
        if self._frozen:
            self._keep(slot)
        self._forget_deadline(slot, key)
        return True

    def flush(self) -> None:
        """Remove everything; snapshots under way keep it, and its memory is given back little by little."""
        self._garbage += [self._queue, self.walks.parts()]
        self._garbage += [each for each in (self._deadlines, self._values) if each is not _NO_SLOTS]
        self._values = self._deadlines = _NO_SLOTS
        self._queue, self.walks = Deadlines(), Walks()
        self._frozen = []
        self.count = 0
        self.used_bytes = 0

    def become(self, loaded: "Store") -> None:
        """Hold what `loaded` holds, which is given up, and let go of everything else as `flush` does."""
        self.flush()
        self._values = loaded._values  # noqa: SLF001  another store's
        self._deadlines, self._queue, self.walks = loaded._deadlines, loaded._queue, loaded.walks  # noqa: SLF001
        self.users.load(loaded.users.dump())
        self.last_token, self.notify = loaded.last_token, loaded.notify
        self.count, self.used_bytes, self.time_ms = loaded.count, loaded.used_bytes, loaded.time_ms
        self.changes = loaded.changes if isinstance(loaded.changes, array) else NoCells(self)
        self.index, self.version = loaded.index, loaded.version
        if self.waited is not None:
            self.waited.on_replaced()

    def next_token(self) -> int:
        """Return a fencing token above all that were given before, by whatever lock."""
        self.last_token += 1
        return self.last_token

    def skip_tokens(self) -> None:
        """Leave out as many tokens as any history can have given that is lost from here on."""
        self.last_token += LOST_TOKENS_MAX

    def use_version(self, version: int) -> None:
        """Note that every member understands commands up to `version`; from `WATCH_VERSION` on all note changes."""
        if self.version < WATCH_VERSION <= version:
            self.changes = NoCells(self)
        self.version = version

    # Time.

    @property
    def deadline_count(self) -> int:
        """Return how many keys have a deadline."""
        return self._queue.count

    def begin(self, index: int, time_ms: int) -> None:
        """Begin to carry out the command at `index`: let the log's time advance, and clear away a little."""
        if time_ms > self.time_ms:  # noqa: PLR1730  max() takes three times as long, on every command
            self.time_ms = time_ms
        self.index = index
        if self._queue.next_due_ms <= self.time_ms:
            self.remove_due(_DUE_KEYS_MAX)
        if self._garbage:
            self.release_garbage()

    def first_due_ms(self) -> int:
        """Return when the next key is due for removal, `NEVER_MS` if none has a deadline."""
        return self._queue.first_due_ms()

    def remove_due(self, count_max: int) -> int:
        """Remove up to `count_max` expired keys; return how many were."""
        due = self._queue.take_due(self.time_ms, count_max)
        for key in due:
            slot = slot_of(key)
            if self._frozen:
                self._keep(slot)
            deadlines = self._deadlines[slot]
            del deadlines[key]
            self._on_deadline_gone(slot, deadlines)
            self._remove(slot, key)
        self.expired_count += len(due)
        if due and self.listener is not None:
            self.listener.on_expired(due)
        return len(due)

    @property
    def has_garbage(self) -> bool:
        """Say whether memory of what was flushed is still held."""
        return bool(self._garbage)

    def release_garbage(self, members: int = 0) -> None:
        """Give back a slice of the memory of what was removed, or of so many members, if that is more."""
        self._garbage.release_some(members)

    # Snapshots.

    def snapshot(self) -> Snapshot:
        """Return an iterator over the state as of this call; see `raftline.kv.snapshot`."""
        self._epoch += 1
        frozen = FrozenSlots(self._values, self._deadlines)
        self._frozen.append(frozen)
        form = FORMAT if self.version >= WATCH_VERSION else FORMAT_BEFORE_WATCH
        changes = self.changes[:] if form == FORMAT and isinstance(self.changes, array) else array("Q")
        cells = sum(len(part) - part.count(0) for _, part in parts_of(changes))
        about = (self.users.dump(), self.last_token, self.notify, self.index, cells)
        return Snapshot(frozen, Header(form, self.time_ms, self.count, *about), changes, self._on_snapshot_end)

    def load(self, slot: int, key: bytes, value: Value, deadline_ms: int) -> None:
        """Add a key of a snapshot, which this store does not hold; `deadline_ms` 0 means none."""
        values = self._values[slot]
        if values is _EMPTY:
            values = self._begin_slot(slot)
        elif len(values) >= KEPT_MIN:
            self.walks.add(slot, key, values)
        if isinstance(value, Container):
            value.counted_bytes = value.size_bytes
            value.epoch = self._epoch
        values[key] = value
        self.count += 1
        self.used_bytes += len(key) + len(value) + ENTRY_BYTES
        if deadline_ms:
            self._set_deadline(slot, key, deadline_ms)

    def _on_snapshot_end(self, frozen: FrozenSlots) -> None:
        if frozen in self._frozen:
            self._frozen.remove(frozen)
        else:  # a flush came in between: nobody else holds the slots
            self._garbage.append(frozen.release())
        self._garbage.append(frozen.retired)
        frozen.retired = []

    def _keep(self, slot: int) -> None:
        """Let snapshots under way take their copy of a slot before it changes."""
        for frozen in self._frozen:
            frozen.keep(slot)

    # Parts of the above.

    def _set_deadline(self, slot: int, key: bytes, deadline_ms: int) -> None:
        deadlines = self._deadlines[slot]
        if deadlines is _EMPTY:
            self._deadlines = _NO_SLOTS.copy() if self._deadlines is _NO_SLOTS else self._deadlines
            deadlines = self._deadlines[slot] = {}
        deadlines[key] = deadline_ms
        self._queue.add(key, slot, deadline_ms)
        self.used_bytes += DEADLINE_BYTES

    def _begin_slot(self, slot: int) -> dict[bytes, Value]:
        """Give a slot that holds nothing a dictionary; a store that was never used has no slots either."""
        self._values = _NO_SLOTS.copy() if self._values is _NO_SLOTS else self._values
        values = self._values[slot] = {}
        return values

    def _forget_deadline(self, slot: int, key: bytes) -> None:
        deadlines = self._deadlines[slot]
        if (deadline_ms := deadlines.pop(key, None)) is not None:
            self._queue.discard(key, slot, deadline_ms)
            self._on_deadline_gone(slot, deadlines)

    def _on_deadline_gone(self, slot: int, left: dict[bytes, int]) -> None:
        """Count a deadline less; a slot without any needs no dictionary, which would keep its size."""
        if not left:
            self._deadlines[slot] = _EMPTY
        self.used_bytes -= DEADLINE_BYTES

    def _remove(self, slot: int, key: bytes) -> None:
        value = self._pop(slot, key)
        if type(value) is not bytes:
            self.discard(value)

    def _pop(self, slot: int, key: bytes) -> Value:
        value = (values := self._values[slot]).pop(key)
        self.walks.remove(slot, key)
        if not values:
            self._values[slot] = _EMPTY
        self.count -= 1
        self.used_bytes -= len(key) + len(value) + ENTRY_BYTES
        return value

    def discard(self, value: Value) -> None:
        """Let go of a container: what is much little by little, and no part of it before its last snapshot."""
        if isinstance(value, Container) and self._garbage.must_wait(value, self.index):
            if value.epoch == self._epoch or not self._frozen:  # no snapshot under way has it
                self._garbage.append(value.parts())
                return
            for frozen in self._frozen:
                frozen.retired.append(value)
