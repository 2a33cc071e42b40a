"""The values that are on their way to a group, put together as their pieces come: each entry costs what it brings.

Derived from `Arrival.pieces`, which is what a snapshot holds. What a chunk brings is put together before anything is
noted of it: one that cannot be read changes nothing.
"""

from collections.abc import Callable, Iterable

from raftline.core.ids import GroupId
from raftline.errors import ConfigError
from raftline.kv.pieces import Record
from raftline.kv.restore import ValueBuilder
from raftline.kv.sharded.chunks import Chunk
from raftline.kv.values.container import Container
from raftline.kv.values.value import Value

__all__ = ["Arriving"]


class _Open:
    """A value that is not complete."""

    __slots__ = ("builder", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.builder = ValueBuilder()


class Arriving:
    """One value at most for each group that gives; `discard` gets what is let go of, so that it goes little by little.

    Invariant: between two entries a value holds exactly the arrival's pieces, or is not there and is made of them anew.
    """

    def __init__(self, discard: Callable[[Container], object]) -> None:
        self._discard = discard
        self._open: dict[GroupId, _Open] = {}

    @property
    def container_bytes(self) -> int:
        """Return how much the containers take that are not complete, beside their pieces."""
        containers = (opened.builder.container for opened in self._open.values())
        return sum(container.size_bytes for container in containers if container is not None)

    def resume(self, source: GroupId, record: Record) -> None:
        """Take in the next piece of a value that was open in a snapshot."""
        self._add(source, record)

    def take(self, chunk: Chunk, pieces: Iterable[tuple[int, Record]]) -> list[tuple[Record, Value]]:
        """Return each value that is complete with a chunk, and its last record; `pieces` came before.

        Raises `ConfigError` for values of a newer raftline, and what decoding raises; then nothing has changed.
        """
        source = chunk.source
        for _, record in chunk.records:
            if not ValueBuilder.knows(record.kind):
                raise ConfigError(
                    f"group {source} gives a value of kind {record.kind}, unknown to this raftline: "
                    "upgrade every node, then its slots go on moving"
                )
        try:
            for _, record in () if source in self._open else pieces:
                self._add(source, record)
            values = [(record, self._add(source, record)) for _, record in chunk.records]
        except Exception:
            self.forget(source)  # a part of the chunk is in it
            raise
        if source in self._open and self._open[source].key != chunk.open_key:
            self.forget(source)
        return [(record, value) for record, value in values if value is not None]

    def forget(self, source: GroupId) -> None:
        """Let go of the value that is open."""
        opened = self._open.pop(source, None)
        if opened is not None and (container := opened.builder.container) is not None:
            self._discard(container)

    def clear(self) -> None:
        """Let go of everything."""
        for source in list(self._open):
            self.forget(source)

    def _add(self, source: GroupId, record: Record) -> Value | None:
        """Return the value that a record completes; the rest of another one that was open will not come."""
        opened = self._open.get(source)
        if opened is None or opened.key != record.key:
            self.forget(source)
            opened = self._open[source] = _Open(record.key)
        value = opened.builder.add(record)
        if value is not None:
            del self._open[source]
        return value
