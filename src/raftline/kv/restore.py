"""Chunks of a snapshot become a store, one chunk at a time; the counterpart of `raftline.kv.snapshot`."""

import msgspec

from raftline.errors import ConfigError, StorageError
from raftline.kv.pieces import KIND_STRING, Record, decode_items
from raftline.kv.snapshot import (
    FORMAT,
    FORMAT_BEFORE_WATCH,
    Header,
    decode_changes,
    decode_header,
    decode_records,
)
from raftline.kv.store import WATCH_VERSION, Store
from raftline.kv.values.container import Container, Item
from raftline.kv.values.value import CONTAINERS, Value

__all__ = ["Restorer", "ValueBuilder"]


class Restorer:
    """Fills a new store, which takes the place of the old one in one step at the end; until then that stays as it is.

    Raises `StorageError` for chunks that `snapshot` cannot have given, `ConfigError` for those of a newer raftline.
    """

    def __init__(self, store: Store) -> None:
        self._replaced = store
        self._store = Store()
        self._header: Header | None = None
        self._cells_left = 0
        self._builder = ValueBuilder()

    def take(self, chunk: bytes) -> None:
        """Take the next chunk in."""
        try:
            if self._header is None:
                self._begin(decode_header(chunk))
                return
            if self._cells_left:
                self._load_changes(decode_changes(chunk))
                return
            for slot, records in decode_records(chunk):
                for record in records:
                    self._load(slot, record)
        except (msgspec.MsgspecError, AssertionError, IndexError) as error:
            raise StorageError(f"a chunk of a snapshot cannot be read: {error}") from error

    def end(self) -> None:
        """Check that all of it came, and let it take the old store's place."""
        expected = self._header.count if self._header else 0
        is_partial = self._builder.is_open or self._cells_left
        if self._header is None or is_partial or self._store.count != expected:
            raise StorageError(f"a snapshot of {expected} keys ended after {self._store.count}: it is not complete")
        self._replaced.become(self._store)

    def _begin(self, header: Header) -> None:
        if header.format not in {FORMAT, FORMAT_BEFORE_WATCH}:
            raise ConfigError(
                f"the keys' snapshot has format {header.format}, this raftline reads those up to {FORMAT}: "
                "use a newer raftline"
            )
        self._header = header
        self._cells_left = header.cells
        self._store.index = header.index
        self._store.version = WATCH_VERSION if header.format == FORMAT else 1
        self._store.time_ms = header.time_ms
        self._store.users.load(header.users)
        self._store.last_token = header.last_token
        self._store.notify = header.notify

    def _load_changes(self, changes: dict[int, int]) -> None:
        assert 0 < len(changes) <= self._cells_left, "as many cells as were announced"
        self._cells_left -= len(changes)
        for cell, index in changes.items():
            self._store.changes[cell] = index

    def _load(self, slot: int, record: Record) -> None:
        value = self._builder.add(record)
        if value is not None:
            self._store.load(slot, record.key, value, record.deadline_ms)


class ValueBuilder:
    """Puts values together from their records, which come one after the other."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        """Of a string, or of one item."""
        self.container: Container | None = None
        """What is being filled."""
        self._items: list[Item] = []
        """What is left of the last record: half a pair."""

    @staticmethod
    def knows(kind: int) -> bool:
        """Say whether values of a kind can be put together."""
        return kind == KIND_STRING or kind in CONTAINERS

    @property
    def is_open(self) -> bool:
        """Say whether a value is not complete."""
        return bool(self._pieces) or self.container is not None

    def add(self, record: Record) -> Value | None:
        """Take the next record; return the value that it completes, None if more is to come.

        Raises `ConfigError` for values of a newer raftline, and what decoding raises.
        """
        if record.kind != KIND_STRING:
            return self._add_items(record)
        value = record.value
        if record.more:
            self._pieces.append(value)
            return None
        if self._pieces:
            self._pieces.append(value)
            value = b"".join(self._pieces)
            self._pieces = []
        return value

    def _add_items(self, record: Record) -> Container | None:
        """Add the items of one record to the container that is being filled."""
        if self.container is None:
            if not self.knows(record.kind):
                raise ConfigError(
                    f"the keys' snapshot holds values of kind {record.kind}, unknown to this raftline: "
                    "use a newer raftline"
                )
            self.container = CONTAINERS[record.kind]()
        container = self.container
        items: list[Item]
        items, is_open = decode_items(record.value)
        if self._pieces and not (is_open and len(items) == 1):
            self._pieces.append(_text(items[0]))
            items[0] = b"".join(self._pieces)
            self._pieces = []
        if is_open:
            self._pieces.append(_text(items.pop()))
        items = self._items + items
        whole = len(items) - len(items) % container.item_count
        self._items = items[whole:]
        container.extend(items[:whole])
        if record.more:
            return None
        self.container = None
        return container


def _text(item: Item) -> bytes:
    assert isinstance(item, bytes), "only texts are cut"
    return item
