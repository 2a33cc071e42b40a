"""What travels from a group that gave slots to the one that takes them: sessions first, then keys, in bounded chunks.

Each batch of released slots goes like that; the sessions are those that were used since the batch before. A cursor
names the next thing to send, not a place in memory, so any replica of the giving group can go on where another stopped:
sessions by their id, keys by slot, CRC32 and name, a large value by its pieces. Keys that expire meanwhile are left
out; what is sent twice is recognized by its cursor. With the sessions goes how far the group has forgotten others.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from raftline.core.ids import GroupId
from raftline.kv.pieces import BEGIN, Place, Record, items_in, records_of
from raftline.kv.store import Store
from raftline.replica.sessions import Session

__all__ = ["START", "Chunk", "Cursor", "Giving", "Marks", "next_chunk"]

_CHUNK_BYTES = 256 << 10
_CHUNK_RECORDS = 512
_CHUNK_ITEMS = 4096
"""Members take longer to put in their places than their bytes to travel."""
_CHUNK_SESSIONS = 256
_SESSION_BYTES = 48


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """What comes next: sessions from `session` on, or if that is None keys from (`slot`, `digest`, `key`) on.

    Sessions go before the batch that begins with `slot`, or behind it. `piece` says how many records of exactly that
    key were sent.
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
    time_ms: int = 0
    """What the taking group's time is raised to. Only older versions gave their own, and with it a clock that is ahead.

    It is not needed for what expired to stay so: who was told so was told by the giving group's log, so at the latest
    at the entry that released the slot, and from there on no chunk has the key.
    """
    sessions: list[tuple[int, Session]] = []
    records: list[tuple[int, Record]] = []
    finished: list[int] = []
    """Slots that are complete with this chunk."""
    last_token: int = 0
    """The fencing token that the giving group gave last: tokens of what arrives go on from there."""
    forgotten: int = -1
    """Up to which session, by `Session.born`, the giving group forgot some; no more than was told before if -1."""
    is_whole: bool = False
    """Of the sessions that this is about, `sessions` are all that the giving group remembers."""

    @property
    def open_key(self) -> bytes | None:
        """Return the key whose value goes on in the next chunk, unless it expires; of any other no more will come."""
        return self.next.key if self.next.piece else None


class Marks:
    """Where the pieces begin of the large value that was sent last, so that no other chunk has to look for its place.

    Derived, and this replica's own: a chunk is the same without them. They hold as long as a slot is released, because
    nothing in it changes then but that keys expire.
    """

    __slots__ = ("_of", "_places")

    def __init__(self) -> None:
        self._of: tuple[int, bytes] | None = None
        self._places: list[Place] = []

    def places(self, slot: int, key: bytes) -> list[Place]:
        """Return what is known of a key's value, to be added to; what was known of another one is forgotten."""
        if self._of != (slot, key):
            self._of = (slot, key)
            self._places = [BEGIN]
        return self._places


class Giving(NamedTuple):
    """What a chunk is cut from."""

    number: int
    source: GroupId
    slots: Sequence[int]
    """Released, in order."""
    store: Store
    marks: Marks
    """Of the target."""
    sessions: Iterable[tuple[int, Session]]
    """Those that have to be there before the slots are served."""
    forgotten: int = -1
    is_whole: bool = False
    """`sessions` are all that the group remembers; `forgotten` says of which there may have been others."""


def next_chunk(giving: Giving, cursor: Cursor) -> Chunk | None:
    """Return the chunk at `cursor`; None if nothing was released there yet."""
    slots = giving.slots[bisect_left(giving.slots, cursor.slot) :]
    if not slots:
        return None
    if cursor.session is not None:
        return _sessions_chunk(giving, cursor)
    number, source, store = giving.number, giving.source, giving.store
    records: list[tuple[int, Record]] = []
    finished: list[int] = []
    size = items = 0
    for slot in slots:
        if not store.table(slot)[0]:
            finished.append(slot)
            continue
        for place, record in _records(giving, slot, cursor):
            items += items_in(record)
            is_full = size + len(record.value) > _CHUNK_BYTES or items > _CHUNK_ITEMS or len(records) == _CHUNK_RECORDS
            if records and is_full:
                return Chunk(number, source, cursor, place, 0, [], records, finished, store.last_token)
            records.append((slot, record))
            size += len(record.key) + len(record.value)
        finished.append(slot)
    end = Cursor(session=0, slot=slots[-1] + 1)
    return Chunk(number, source, cursor, end, 0, [], records, finished, store.last_token)


def _sessions_chunk(giving: Giving, cursor: Cursor) -> Chunk:
    """Return sessions in the order of their ids; those that were used after the slots were released do not matter."""
    assert cursor.session is not None, "sessions come first"
    first = cursor.session
    ordered = sorted((item for item in giving.sessions if item[0] >= first), key=lambda item: item[0])
    taken: list[tuple[int, Session]] = []
    size = 0
    for item in islice(ordered, _CHUNK_SESSIONS):
        size += _SESSION_BYTES + len(item[1].reply)
        if taken and size > _CHUNK_BYTES:
            break
        taken.append(item)
    following = taken[-1][0] + 1 if len(taken) < len(ordered) else None
    after = Cursor(session=following, slot=cursor.slot)
    return Chunk(
        giving.number,
        giving.source,
        cursor,
        after,
        sessions=taken,
        forgotten=giving.forgotten,
        is_whole=giving.is_whole,
    )


def _records(giving: Giving, slot: int, cursor: Cursor) -> Iterator[tuple[Cursor, Record]]:
    """Yield each record of a slot from the cursor on, with the cursor that names it."""
    store = giving.store
    values, deadlines = store.table(slot)
    begin = (cursor.digest, cursor.key) if slot == cursor.slot else (0, b"")
    for digest, key in store.walks.ordered(slot, values, begin[0]):
        deadline_ms = deadlines.get(key, 0)
        if (digest, key) < begin or 0 < deadline_ms <= store.time_ms:
            continue
        sent = cursor.piece if (slot, digest, key) == (cursor.slot, cursor.digest, cursor.key) else 0
        places = giving.marks.places(slot, key)
        for piece, record in enumerate(records_of(key, values[key], deadline_ms, sent, places), sent):
            yield Cursor(session=None, slot=slot, digest=digest, key=key, piece=piece), record
