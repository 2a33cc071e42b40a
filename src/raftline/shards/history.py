"""All configurations there ever were, by number, and who had a slot before: what the controller forgets nothing of.

One differs little from the next, so equal parts are kept once, however a configuration came here. Who had a slot, and
how a snapshot is cut into chunks, is noted as they come: no question looks at all of them.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from raftline.core.ids import GroupId
from raftline.shards.configuration import EMPTY, Configuration
from raftline.shards.ranges import SLOT_COUNT, SlotRange

__all__ = ["History"]

_CHUNK_CONFIGURATIONS = 64
_CHUNK_BYTES = 64 << 10
"""About what can be taken in between two turns of the loop, with thousands of ranges: some milliseconds of work."""

_encode = msgspec.msgpack.Encoder().encode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_configuration = msgspec.msgpack.Decoder(Configuration).decode


class History:
    """Grows at its end only.

    Invariants: `configurations[n]` has number n, and follows from `configurations[n - 1]` by one change; entries of
    groups and ranges that are equal in both are the same objects. Equal histories give equal chunks.
    """

    def __init__(self) -> None:
        self.configurations: list[Configuration] = []
        self.newest = EMPTY
        """The configuration in force: asked for with every command."""
        self._ranges: dict[SlotRange, SlotRange] = {}
        """Those of the newest."""
        self._owners: list[tuple[GroupId, ...]] = [()] * SLOT_COUNT
        """By slot, each group that ever had it, the latest first."""
        self._cuts = [0]
        """Where the chunks end that will not grow any more."""
        self._open_bytes = 0
        """The size of what stands behind the last of them."""

    def at(self, number: int) -> Configuration:
        """Return configuration `number`, the newest if there is none of that number yet."""
        return self.configurations[number] if 0 <= number < len(self.configurations) else self.newest

    def formers(self, slot: int) -> tuple[GroupId, ...]:
        """Return who had a slot before its owner, each once, the latest first; nobody for one that has no owner."""
        return self._owners[slot][1:] if self.newest.ranges else ()

    def append(self, configuration: Configuration) -> None:
        """Add the next configuration."""
        self._append(configuration, len(_encode(configuration)))

    def _append(self, configuration: Configuration, size_bytes: int) -> None:
        before = self.newest
        groups = before.groups
        if configuration.groups != groups:
            entries = dict(zip(groups, groups, strict=True))
            groups = tuple(map(entries.get, configuration.groups, configuration.groups))
        ranges = before.ranges
        if configuration.ranges != ranges:
            known = self._ranges
            ranges = tuple(map(known.get, configuration.ranges, configuration.ranges))
            self._ranges = dict(zip(ranges, ranges, strict=True))
            self._note_owners(set(self._ranges).difference(known))
        self.newest = Configuration(configuration.number, groups, ranges)
        self.configurations.append(self.newest)
        self._open_bytes += size_bytes
        count = len(self.configurations)
        if count - self._cuts[-1] == _CHUNK_CONFIGURATIONS or self._open_bytes >= _CHUNK_BYTES:
            self._cuts.append(count)
            self._open_bytes = 0

    def _note_owners(self, ranges: Iterable[SlotRange]) -> None:
        """Note whose the slots of some ranges are from now on; slots with the same past share what is noted."""
        for piece in ranges:
            pasts = self._owners[piece.low : piece.high]
            owners = {past: (piece.group, *(group for group in past if group != piece.group)) for past in set(pasts)}
            self._owners[piece.low : piece.high] = [owners[past] for past in pasts]

    # Snapshots.

    def cuts(self) -> list[int]:
        """Return where the chunks of a snapshot begin and end; the last one may grow."""
        count = len(self.configurations)
        return [*self._cuts, count] if count > self._cuts[-1] else list(self._cuts)

    def chunks(self) -> Iterator[bytes]:
        """Return all configurations there are now, each chunk encoded when it is asked for."""
        return (_encode(self.configurations[low:high]) for low, high in pairwise(self.cuts()))

    def append_chunk(self, chunk: bytes) -> None:
        """Add what `chunks` gave; raises `msgspec.MsgspecError` for anything else."""
        for encoded in _split(chunk):
            self._append(_decode_configuration(encoded), len(encoded))
