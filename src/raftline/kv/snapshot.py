"""The store as of one moment, in chunks that are made between later commands; the format of those chunks.

Copy on write: a snapshot shares the slots' dictionaries with the store, and takes its own copy of a slot just before
it changes. Chunk 1 is `[format, time_ms, count, users, last_token, notify, index, cells]`; format 1 has neither index
nor cells. Then come maps of cell → index of its last change (docs/decisions/0010-transactions.md), `cells` pairs in
all. Every other chunk is an array of `[slot, records]`, in the order of slots; a record is
`[key, kind, deadline_ms or 0, value, more]`, in the order of insertion. The value of a record with `more` goes on in
the next one. MessagePack, at most 1 MiB and 1,024 records or members a chunk. Kinds: string 0, list 1, set 2, hash 3,
sorted set 4, lock 5. The value of a string's record is a piece of the string; that of any other `[items, open]` in
MessagePack: items, members, or fields and values, or members and scores in turns, in their order (of a lock its owner
and token); if `open` the last item is a piece, too, and goes on in the first item of the next record.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import compress

import msgspec

from raftline.kv.acl.user import User
from raftline.kv.pieces import Record, items_max, records_of
from raftline.kv.values.container import Container
from raftline.kv.values.value import Value

__all__ = [
    "FORMAT",
    "FORMAT_BEFORE_WATCH",
    "FrozenSlots",
    "Header",
    "Snapshot",
    "decode_changes",
    "decode_header",
    "decode_records",
    "parts_of",
]

FORMAT = 2
FORMAT_BEFORE_WATCH = 1
"""What is written as long as a member may not know `FORMAT`."""

_CHUNK_RECORDS_MAX = 1024
_CHUNK_BYTES_MAX = 1 << 20
_RECORD_BYTES = 32
"""Most that a record takes beside its key and value."""
_SLOT_BYTES = 16
_CHUNK_CELLS_MAX = 4096
_NO_CELLS = array("Q", bytes(8 * 256))
"""As many as are looked at together: in a small store most are 0."""


class Header(msgspec.Struct, frozen=True, array_like=True):
    """First chunk."""

    format: int
    time_ms: int
    count: int
    users: tuple[User, ...] = ()
    last_token: int = 0
    notify: bytes = b""
    index: int = 0
    """Up to which everything was applied."""
    cells: int = 0
    """How many cells are not 0."""


_encode = msgspec.msgpack.Encoder().encode
decode_header = msgspec.msgpack.Decoder(Header).decode
decode_changes = msgspec.msgpack.Decoder(dict[int, int]).decode
decode_records = msgspec.msgpack.Decoder(list[tuple[int, list[Record]]]).decode


class FrozenSlots:
    """What a snapshot stands for: the store's slots, and copies of those that changed since.

    Invariant: a slot at or after `next_slot` is either unchanged or kept.
    """

    __slots__ = ("_deadlines", "_kept", "_taken", "_values", "next_slot", "retired")

    def __init__(self, values: list[dict[bytes, Value]], deadlines: list[dict[bytes, int]]) -> None:
        self._values = values.copy()
        self._deadlines = deadlines.copy()
        self._taken = list(compress(range(len(values)), values))
        """Slots that are not empty: few, in a small store."""
        self._kept: dict[int, tuple[dict[bytes, Value], dict[bytes, int]]] = {}
        self.next_slot = 0
        self.retired: list[Container] = []
        """Containers that left the store since: their memory is given back when nobody reads them any more."""

    def keep(self, slot: int) -> None:
        """Copy `slot`, which is about to change, unless that is done or it is no longer needed."""
        if slot >= self.next_slot and slot not in self._kept:
            self._kept[slot] = (self._values[slot].copy(), self._deadlines[slot].copy())

    def release(self) -> list[dict[bytes, Value]]:
        """Let go of the slots and return them, so that their memory can be given back little by little."""
        values, self._values = self._values, []
        self._deadlines = []
        return values

    def slots(self) -> Iterator[tuple[int, list[tuple[bytes, Value]], dict[bytes, int]]]:
        """Yield the number, items and deadlines of each slot that is not empty."""
        for slot in self._taken:
            kept = self._kept.pop(slot, None)
            values, deadlines = (self._values[slot], self._deadlines[slot]) if kept is None else kept
            self.next_slot = slot + 1
            yield slot, list(values.items()), deadlines.copy()
        self.next_slot = len(self._values)


class Snapshot:
    """An iterator over chunks; `on_end` is called once, when it is through or given up."""

    __slots__ = ("_chunks", "_frozen", "_on_end")

    def __init__(
        self, frozen: FrozenSlots, header: Header, changes: "array[int]", on_end: Callable[[FrozenSlots], None]
    ) -> None:
        self._frozen = frozen
        self._on_end: Callable[[FrozenSlots], None] | None = on_end
        self._chunks = _chunks(frozen, header, changes)

    def __iter__(self) -> "Snapshot":
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is None:
            self.close()
            raise StopIteration
        return chunk

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let the store change its slots without copies from now on."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self._frozen)
            self._chunks = iter(())


def parts_of(changes: "array[int]", first: int = 0, count: int | None = None) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield `count` cells from `first` on in parts, each with its first cell's number, but for those that are all 0."""
    end = len(changes) if count is None else min(first + count, len(changes))
    for begin in range(first, end, len(_NO_CELLS)):
        part = changes[begin : min(begin + len(_NO_CELLS), end)]
        if part != _NO_CELLS:
            yield begin, part


def _chunks(frozen: FrozenSlots, header: Header, changes: "array[int]") -> Iterator[bytes]:
    """Encode the header, the cells and then the slots, a chunk at a time."""
    yield _encode(header)
    for first in range(0, len(changes), _CHUNK_CELLS_MAX):
        cells: dict[int, int] = {}
        for begin, part in parts_of(changes, first, _CHUNK_CELLS_MAX):
            cells.update(zip(compress(range(begin, begin + len(part)), part), compress(part, part), strict=True))
        if cells:
            yield _encode(cells)
    groups: list[tuple[int, list[Record]]] = []
    count = size = 0
    for slot, items, deadlines in frozen.slots():
        records: list[Record] = []
        groups.append((slot, records))
        size += _SLOT_BYTES
        for key, value in items:
            for record in records_of(key, value, deadlines.get(key, 0)):
                record_bytes = len(key) + len(record.value) + _RECORD_BYTES
                weight = items_max(record)
                if count + weight > _CHUNK_RECORDS_MAX or size + record_bytes > _CHUNK_BYTES_MAX:
                    yield _encode(groups)
                    records = []
                    groups = [(slot, records)]
                    count, size = 0, _SLOT_BYTES
                records.append(record)
                count += weight
                size += record_bytes
    if groups:
        yield _encode(groups)
