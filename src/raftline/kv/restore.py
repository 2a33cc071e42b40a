"""Chunks of a snapshot become a store, one chunk at a time; the counterpart of `raftline.kv.snapshot`."""

import msgspec

from raftline.errors import ConfigError, StorageError
from raftline.kv.snapshot import FORMAT, KIND_STRING, Header, Record, decode_header, decode_records
from raftline.kv.store import Store

__all__ = ["Restorer"]


class Restorer:
    """Fills a store, which it empties first.

    Raises `StorageError` for chunks that `snapshot` cannot have given, `ConfigError` for those of a newer raftline.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._header: Header | None = None
        self._pieces: list[bytes] = []
        store.flush()

    def take(self, chunk: bytes) -> None:
        """Take the next chunk in."""
        try:
            if self._header is None:
                self._begin(decode_header(chunk))
                return
            for slot, records in decode_records(chunk):
                for record in records:
                    self._load(slot, record)
        except msgspec.MsgspecError as error:
            raise StorageError(f"a chunk of a snapshot cannot be read: {error}") from error

    def end(self) -> None:
        """Check that all of it came."""
        expected = self._header.count if self._header else 0
        if self._header is None or self._pieces or self._store.count != expected:
            raise StorageError(f"a snapshot of {expected} keys ended after {self._store.count}: it is not complete")

    def _begin(self, header: Header) -> None:
        if header.format != FORMAT:
            raise ConfigError(
                f"the keys' snapshot has format {header.format}, this raftline reads {FORMAT}: use a newer raftline"
            )
        self._header = header
        self._store.time_ms = header.time_ms

    def _load(self, slot: int, record: Record) -> None:
        if record.kind != KIND_STRING:
            raise ConfigError(
                f"the keys' snapshot holds values of kind {record.kind}, unknown to this raftline: use a newer raftline"
            )
        value = record.value
        if record.more:
            self._pieces.append(value)
            return
        if self._pieces:
            self._pieces.append(value)
            value = b"".join(self._pieces)
            self._pieces = []
        self._store.load(slot, record.key, value, record.deadline_ms)
