"""One simulated file: what programs read, what the platter holds, and the changes in between.

A change has an instant at which it was made and one at which it is durable, which no sync leaves at infinity. A crash
at some instant knows from these two what is certain, what never happened, and what chance decides.
"""

import math
from collections import Counter
from collections.abc import Callable

from raftline.sim.faults import DiskFaults

__all__ = ["SECTOR_BYTES", "Change", "Inode"]

SECTOR_BYTES = 512
"""What a disk writes whole or not at all, if it keeps to sectors."""

_ZEROS = bytes(SECTOR_BYTES)


class Change:
    """A write (`data` at `offset`) or, with `data` None, a change of size to `offset`."""

    __slots__ = ("abandoned", "data", "durable_s", "made_s", "offset")

    def __init__(self, offset: int, data: bytes | None, made_s: float) -> None:
        self.offset = offset
        self.data = data
        self.made_s = made_s
        self.durable_s = math.inf
        self.abandoned = False
        """A sync failed on it: no later sync makes it durable, though it succeeds."""


class _Content:
    """Bytes of a file; holds nothing for what was never written."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytearray | None = None, size: int = 0) -> None:
        self.data = bytearray() if data is None else data
        self.size = size

    def copy(self) -> "_Content":
        return _Content(bytearray(self.data), self.size)

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset:end] = data
        self.size = max(self.size, end)

    def resize(self, size: int) -> None:
        del self.data[size:]
        self.size = size

    def apply(self, change: Change) -> None:
        if change.data is None:
            self.resize(change.offset)
        else:
            self.write(change.offset, change.data)

    def read(self, offset: int, size: int) -> bytes:
        wanted = max(0, min(size, self.size - offset))
        piece = bytes(self.data[offset : offset + wanted])
        return piece + bytes(wanted - len(piece)) if len(piece) < wanted else piece


class Inode:
    """A file under whatever names it has.

    Invariant: `live` is `durable` with every change of `changes` applied in order.
    """

    __slots__ = ("changes", "durable", "kind", "live")

    def __init__(self, kind: str = "other") -> None:
        self.kind = kind
        """What kind of file it is, by its present name."""
        self.live = _Content()
        self.durable = _Content()
        self.changes: list[Change] = []

    @property
    def size(self) -> int:
        """Size in bytes, as programs see it."""
        return self.live.size

    def read(self, offset: int, size: int) -> bytes:
        """Return what programs see."""
        return self.live.read(offset, size)

    def change(self, offset: int, data: bytes | None, now_s: float) -> None:
        """Write `data` at `offset`, or with None set the size to `offset`; not durable yet."""
        change = Change(offset, data, now_s)
        self.live.apply(change)
        self.changes.append(change)

    def sync(self, made_s: float, durable_s: float) -> None:
        """Let what was made by `made_s` be durable from `durable_s` on."""
        for change in self.changes:
            if change.durable_s == math.inf and not change.abandoned and change.made_s <= made_s:
                change.durable_s = durable_s

    def sync_partly(self, now_s: float, draw: Callable[[], float]) -> None:
        """Let each change be durable or not by chance: a sync that was interrupted."""
        for change in self.changes:
            if change.durable_s == math.inf and draw() < 0.5:
                change.durable_s = now_s

    def abandon(self) -> None:
        """Handle a failed sync: pages count as clean afterwards, and only chance wrote them."""
        for change in self.changes:
            if change.durable_s == math.inf:
                change.abandoned = True

    def settle(self, now_s: float) -> None:
        """Forget what cannot be lost any more."""
        changes = self.changes
        count = 0
        for change in changes:
            if change.durable_s > now_s:
                break
            self.durable.apply(change)
            count += 1
        if count:
            del changes[:count]

    def kill(self, now_s: float) -> None:
        """Let the program die at `now_s`: what it wrote by then stays in the page cache, synced or not."""
        made = [change for change in self.changes if change.made_s <= now_s]
        if len(made) < len(self.changes):
            self.changes = made
            self.live = self.durable.copy()
            for change in made:
                self.live.apply(change)

    def lose_power(self, now_s: float, faults: DiskFaults, draw: Callable[[], float], stats: Counter[str]) -> None:
        """Let the machine die at `now_s`: each change that is not durable is kept, torn or lost for itself."""
        for change in self.changes:
            if change.made_s > now_s:
                continue
            if change.durable_s <= now_s:
                self.durable.apply(change)
                continue
            fate = draw()
            if fate < faults.keep_unsynced:
                stats["changes kept"] += 1
                self.durable.apply(change)
            elif fate < faults.keep_unsynced + faults.tear_unsynced and change.data:
                stats["writes torn"] += 1
                self._tear(change.offset, change.data, draw)
            else:
                stats["changes lost"] += 1
        self.changes = []
        self.live = self.durable.copy()

    def _tear(self, offset: int, data: bytes, draw: Callable[[], float]) -> None:
        """Keep the first bytes of a write, cut anywhere, or any of the sectors it touches."""
        if draw() < 0.5:
            self.durable.write(offset, data[: int(draw() * len(data))])
            return
        start, end = offset, offset + len(data)
        while start < end:
            stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
            if draw() < 0.5:
                self.durable.write(start, data[start - offset : stop - offset])
            start = stop
