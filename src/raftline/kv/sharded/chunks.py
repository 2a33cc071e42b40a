"""What travels from a group that gave slots to the one that takes them: sessions first, then keys, in bounded chunks.

A cursor names the next thing to send, not a place in memory, so any replica of the giving group can go on where another
stopped: sessions by their id, keys by slot, CRC32 and name, a large value by its pieces. Keys that expire meanwhile are
left out; what is sent twice is recognized by its cursor.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from zlib import crc32

import msgspec

from raftline.core.ids import GroupId
from raftline.kv.snapshot import Record, records_of
from raftline.kv.store import Store
from raftline.kv.values.value import Value
from raftline.replica.sessions import Session

__all__ = ["START", "Chunk", "Cursor", "next_chunk", "slot_items"]

_CHUNK_BYTES = 256 << 10
_CHUNK_RECORDS = 512
_CHUNK_SESSIONS = 256
_SESSION_BYTES = 48


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """What comes next: sessions from `session` on, or if that is None keys from (`slot`, `digest`, `key`) on.

    `piece` says how many records of exactly that key were sent.
    """

    session: int | None = 0
    slot: int = 0
    digest: int = 0
    key: bytes = b""
    piece: int = 0


START = Cursor()


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A piece of what `source` gave in configuration `number`: everything from `cursor` up to `next`."""

    number: int
    source: GroupId
    cursor: Cursor
    next: Cursor
    time_ms: int
    """The giving group's time: what expired there stays expired."""
    sessions: list[tuple[int, Session]] = []
    records: list[tuple[int, Record]] = []
    finished: list[int] = []
    """Slots that are complete with this chunk."""
    last_token: int = 0
    """The fencing token that the giving group gave last: tokens of what arrives go on from there."""


def slot_items(store: Store, slot: int) -> list[tuple[bytes, Value, int]]:
    """Return key, value and deadline (0: none) of every key in a slot that is alive by the log's time."""
    values, deadlines = store.table(slot)
    items = [(key, value, deadlines.get(key, 0)) for key, value in values.items()]
    return [item for item in items if not 0 < item[2] <= store.time_ms]


def next_chunk(
    number: int,
    source: GroupId,
    cursor: Cursor,
    slots: Sequence[int],
    store: Store,
    sessions: Iterable[tuple[int, Session]],
) -> Chunk:
    """Return the chunk at `cursor` of the given `slots`, which are sorted."""
    if cursor.session is not None:
        return _sessions_chunk(number, source, cursor, store, sessions)
    records: list[tuple[int, Record]] = []
    finished: list[int] = []
    size = 0
    for slot in slots:
        if slot < cursor.slot:
            continue
        for place, record in _records(store, slot, cursor):
            if records and (size + len(record.value) > _CHUNK_BYTES or len(records) == _CHUNK_RECORDS):
                return Chunk(number, source, cursor, place, store.time_ms, [], records, finished, store.last_token)
            records.append((slot, record))
            size += len(record.key) + len(record.value)
        finished.append(slot)
    end = Cursor(session=None, slot=slots[-1] + 1 if slots else 0)
    return Chunk(number, source, cursor, end, store.time_ms, [], records, finished, store.last_token)


def _sessions_chunk(
    number: int, source: GroupId, cursor: Cursor, store: Store, sessions: Iterable[tuple[int, Session]]
) -> Chunk:
    """Return sessions in the order of their ids; those that were opened after the slots were given do not matter."""
    assert cursor.session is not None, "sessions come first"
    first = cursor.session
    ordered = sorted((item for item in sessions if item[0] >= first), key=lambda item: item[0])
    taken: list[tuple[int, Session]] = []
    size = 0
    for item in islice(ordered, _CHUNK_SESSIONS):
        size += _SESSION_BYTES + len(item[1].reply)
        if taken and size > _CHUNK_BYTES:
            break
        taken.append(item)
    after = Cursor(session=taken[-1][0] + 1) if len(taken) < len(ordered) else Cursor(session=None)
    return Chunk(number, source, cursor, after, store.time_ms, taken)


def _records(store: Store, slot: int, cursor: Cursor) -> Iterator[tuple[Cursor, Record]]:
    """Yield each record of a slot from the cursor on, with the cursor that names it."""
    begin = (cursor.digest, cursor.key) if slot == cursor.slot else (0, b"")
    items = sorted((crc32(key), key, value, deadline_ms) for key, value, deadline_ms in slot_items(store, slot))
    for digest, key, value, deadline_ms in items:
        if (digest, key) < begin:
            continue
        sent = cursor.piece if (slot, digest, key) == (cursor.slot, cursor.digest, cursor.key) else 0
        for piece, record in enumerate(records_of(key, value, deadline_ms)):
            if piece >= sent:
                yield Cursor(session=None, slot=slot, digest=digest, key=key, piece=piece), record
