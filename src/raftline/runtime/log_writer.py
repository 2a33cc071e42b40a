"""The way of all groups to the log: one write and one fsync serve every group that waits (group commit).

At most one write is under way; while it is, whatever comes waits, of all groups together, for the next one. However
much that is, a write takes no more than a disk that works finishes soon: so all go on who waited for a disk that hung.
"""

from collections.abc import Callable
from typing import Protocol

from raftline.core.ready import Ready
from raftline.runtime.ports import DiskThread
from raftline.wal.wal import Wal, Write

__all__ = ["LogWriter", "Source"]

_WRITE_BYTES_MAX = 16 << 20


class Source(Protocol):
    """A group's part: what waits, and whom to tell."""

    @property
    def on_durable(self) -> Callable[[list[Ready]], None]:
        """Return what lets those go on who waited for the disk."""

    @property
    def writing_bytes(self) -> int:
        """Return how much memory that takes which was handed over last, about."""

    def take(self, bytes_max: int) -> list[Write]:
        """Hand over what waits, for the write that begins now: of more than so much a part, but not nothing."""

    def settle(self) -> list[Ready]:
        """The write is on disk: return what is durable by that, and ask for the next one if something waits."""

    def fail(self, error: BaseException) -> None:
        """What is on disk is not known any more."""


class LogWriter:
    """Feeds the disk thread.

    Invariant: nobody is in `_wanting` while no write is under way, unless the writes are held.
    """

    def __init__(self, wal: Wal, disk: DiskThread, flush: Callable[[], None], now: Callable[[], float]) -> None:
        """`flush` lets leave what was said; `now` tells the loop's time in seconds."""
        self._wal = wal
        self._now = now
        self._disk = disk
        self._flush = flush
        self._wanting: list[Source] = []
        self._under_way: list[Source] = []
        self.is_held = False
        """Several groups take their turns together."""
        self.writes = 0
        self.began_at = 0.0
        """When the latest write began."""
        self.behind_bytes = 0
        """How much memory is taken by what is not on disk yet, of all groups, about; each group counts its own."""

    def want(self, source: Source) -> None:
        """Note that a group has something to write and nothing under way; asked once until it is taken."""
        self._wanting.append(source)
        if not self._under_way and not self.is_held:
            self._write()

    def drop(self, source: Source) -> None:
        """Let a group's wish be forgotten; what is under way ends as it would."""
        if source in self._wanting:
            self._wanting.remove(source)

    def hold(self) -> None:
        """Begin no write until `let_go`: other groups are about to have something, too."""
        self.is_held = True

    def let_go(self) -> None:
        """Begin what was held up."""
        self.is_held = False
        if self._wanting and not self._under_way:
            self._write()

    def _write(self) -> None:
        self.began_at = self._now()
        wanting, left = self._wanting, _WRITE_BYTES_MAX
        writes: list[Write] = []
        count = 0
        for source in wanting:
            writes += source.take(left)
            left -= source.writing_bytes
            count += 1
            if left <= 0:
                break
        self._under_way, self._wanting = wanting[:count], wanting[count:]
        self.writes += 1
        wal = self._wal
        self._disk.submit(lambda: wal.append(writes), self._on_written)

    def _on_written(self, result: BaseException | None) -> None:
        written, self._under_way = self._under_way, []
        if isinstance(result, BaseException):
            for source in written:
                source.fail(result)
            return
        if len(written) == 1:
            durable = self._settled(written[0])
            if self._wanting and not self._under_way:  # the disk goes on before anybody is told
                self._write()
            self._tell(written[0], durable)
        else:
            self._settle_together(written)
        self._flush()

    def _settle_together(self, written: list[Source]) -> None:
        """Begin the next write with what waits in any group, tell all groups, and let them write together."""
        self.is_held = True
        durable = [self._settled(source) for source in written]
        self.let_go()
        self.is_held = True
        for source, batch in zip(written, durable, strict=True):
            self._tell(source, batch)
        self.let_go()

    def _settled(self, source: Source) -> list[Ready] | None:
        """Return what is durable of a group; None of one that fails at that, as by a turn that raises.

        The others hear of the write that was theirs, too, and the disk goes on.
        """
        try:
            return source.settle()
        except Exception as error:  # noqa: BLE001  a broken promise must not be carried on, by this group
            source.fail(error)
            return None

    def _tell(self, source: Source, durable: list[Ready] | None) -> None:
        """Let a group go on; if that raises, it fails."""
        if durable is None:
            return
        try:
            source.on_durable(durable)
        except Exception as error:  # noqa: BLE001  as above
            source.fail(error)
