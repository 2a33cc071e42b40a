"""How a value becomes records: one, or several for a large value, each of which holds a piece that is bounded.

Snapshots and what moves between groups consist of them; see `raftline.kv.snapshot` for the format. Where a piece begins
follows from those before it. Who asks for one value's pieces again and again keeps the places at which they begin.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from raftline.kv.values.container import Container, Item
from raftline.kv.values.value import Value

__all__ = ["BEGIN", "KIND_STRING", "Place", "Record", "decode_items", "items_in", "items_max", "records_of"]

KIND_STRING = 0

_PIECE_BYTES_MAX = 256 << 10
_PIECE_ITEMS_MAX = 512
_ITEM_BYTES = 9
"""Most that an item takes beside its own bytes, and all of a score."""
_LONG_LIST = 0xDC
"""In MessagePack, above all lists of less than 16; the length is in the two bytes that follow."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One key, or a piece of one with a large value."""

    key: bytes
    kind: int
    deadline_ms: int
    value: bytes
    more: bool = False


class Place(NamedTuple):
    """Where a piece begins: in which of the container's parts, at which item of that, at which byte of the item.

    It means that as long as the container does not change, and to nobody else's copy of it.
    """

    part: int
    item: int
    offset: int


BEGIN = Place(0, 0, 0)

_encode = msgspec.msgpack.Encoder().encode
decode_items = msgspec.msgpack.Decoder(tuple[list[bytes | float], bool]).decode


def items_max(record: Record) -> int:
    """Return the most items that a record of its kind holds."""
    return 1 if record.kind == KIND_STRING else _PIECE_ITEMS_MAX


def items_in(record: Record) -> int:
    """Return how many items a record holds, as the head of the encoded list says."""
    if record.kind == KIND_STRING:
        return 1
    value = record.value
    return value[1] & 0x0F if value[1] < _LONG_LIST else int.from_bytes(value[2:4])


def records_of(
    key: bytes, value: Value, deadline_ms: int, first: int = 0, places: list[Place] | None = None
) -> Iterator[Record]:
    """Yield one record, or several for a large value, from number `first` on.

    `places` is where the pieces of a container begin as far as that is known, `BEGIN` at least, and grows; those before
    `first` that are not among them are looked at, and not encoded.
    """
    if isinstance(value, Container):
        places = [BEGIN] if places is None else places
        known = min(first, len(places) - 1)
        for number, (items, is_open, following) in enumerate(_pieces(value, places[known]), known):
            if following is not None and number + 1 == len(places):
                places.append(following)
            if number >= first:
                yield Record(key, value.kind, deadline_ms, _encode((items, is_open)), following is not None)
        return
    last = max(0, len(value) - 1) // _PIECE_BYTES_MAX
    for number in range(first, last + 1):
        piece = value[number * _PIECE_BYTES_MAX : (number + 1) * _PIECE_BYTES_MAX] if last else value
        yield Record(key, KIND_STRING, deadline_ms, piece, number < last)


def _pieces(container: Container, begin: Place) -> Iterator[tuple[list[Item], bool, Place | None]]:
    """Yield the items of each piece from a place on, whether the last of them is cut, and where the next one begins.

    A bounded number of items, and of their bytes, at a time; nothing begins behind the last piece.
    """
    batch: list[Item] = []
    size = 0
    first, offset = begin.item, begin.offset
    for part, items in enumerate(container.pieces(begin.part), begin.part):
        number, first = first, 0
        while number < len(items):
            run = items[number : number + max(1, _PIECE_ITEMS_MAX - len(batch))]
            run_bytes = _ITEM_BYTES * len(run) + sum([len(item) for item in run if isinstance(item, bytes)])
            if len(batch) < _PIECE_ITEMS_MAX and not offset and size + run_bytes <= _PIECE_BYTES_MAX:
                batch += run  # all at once, as mostly
                size += run_bytes
                number += len(run)
                continue
            for each in run:
                item = each
                item_bytes = _ITEM_BYTES + (len(item) - offset if isinstance(item, bytes) else 0)
                if batch and (size + item_bytes > _PIECE_BYTES_MAX or len(batch) == _PIECE_ITEMS_MAX):
                    yield batch, False, Place(part, number, 0)
                    batch, size = [], 0
                if isinstance(item, bytes):
                    while item_bytes > _PIECE_BYTES_MAX:
                        cut = offset + _PIECE_BYTES_MAX // 2
                        yield [item[offset:cut]], True, Place(part, number, cut)
                        offset, item_bytes = cut, item_bytes - _PIECE_BYTES_MAX // 2
                    item, offset = item[offset:], 0
                batch.append(item)
                size += item_bytes
                number += 1
    yield batch, False, None
