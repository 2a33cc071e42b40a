"""Batches of one group on their way to disk, in order; all groups of a node share one write at a time (`LogWriter`).

Keeps `Ready`'s promise: what must wait for the disk leaves only after its own batch and every one before it.
"""

from collections.abc import Callable

from raftline.core.entries import Entry
from raftline.core.ids import GroupId
from raftline.core.ready import Ready
from raftline.runtime.log_writer import LogWriter
from raftline.wal.wal import Write

__all__ = ["Persistence"]


class Persistence:
    """Feeds the log's writer.

    Invariants: what is in `_writing` came before what is in `_waiting`; the writer knows of it whenever something in
    `_waiting` has to be written and nothing is in `_writing`.
    """

    __slots__ = (
        "_anew",
        "_anew_under_way",
        "_group",
        "_is_wanted",
        "_kept",
        "_on_failure",
        "_waiting",
        "_writer",
        "_writing",
        "anew_write",
        "batches",
        "on_durable",
    )

    def __init__(
        self,
        group: GroupId,
        writer: LogWriter,
        on_durable: Callable[[list[Ready]], None],
        on_failure: Callable[[BaseException], None],
        kept: Callable[[], tuple[Entry, ...]] = tuple,
    ) -> None:
        """`kept` returns the whole log that was handed out to be written, for `write_anew`."""
        self._group = group
        self._writer = writer
        self.on_durable = on_durable
        self._on_failure = on_failure
        self._kept = kept
        self._writing: list[Ready] = []
        self._waiting: list[Ready] = []
        self._is_wanted = False
        self._anew: list[Callable[[], None]] = []
        """Who wants to hear that everything was written anew; in the write that begins next."""
        self._anew_under_way: list[Callable[[], None]] = []
        self.anew_write: Write | None = None
        """What is being written once more."""
        self.batches = 0

    @property
    def waiting_count(self) -> int:
        """Return how many batches wait for the write under way."""
        return len(self._waiting)

    @property
    def is_writing(self) -> bool:
        """Say whether batches of this group are being written."""
        return bool(self._writing)

    @property
    def write_began_at(self) -> float:
        """Return since when, in the loop's seconds, the write is under way that `is_writing` is about."""
        return self._writer.began_at

    def persist(self, ready: Ready) -> bool:
        """Take a `Ready`; return True if nothing of it has to wait, so that the caller goes on at once."""
        if not self._writing and not self._waiting:
            if not ready.must_persist:
                return True
            self._waiting.append(ready)
            self._want()
        else:
            self._waiting.append(ready)
        return False

    def write_anew(self, done: Callable[[], None]) -> None:
        """Write all of the log once more, at its head, and call `done`: older places of it are needed no more."""
        self._anew.append(done)
        if not self._writing and not self._anew_under_way:
            self._want()

    def _want(self) -> None:
        if not self._is_wanted:
            self._is_wanted = True
            self._writer.want(self)

    def take(self) -> list[Write]:
        """Hand over everything that waits, for the write that begins now."""
        self._is_wanted = False
        self._writing, self._waiting = self._waiting, []
        self.batches += 1
        writes = [
            Write(group=self._group, entries=ready.entries, hard_state=ready.hard_state, reset=ready.reset)
            for ready in self._writing
            if ready.must_persist
        ]
        if self._anew:
            self._anew_under_way, self._anew = self._anew, []
            if kept := self._kept():
                self.anew_write = Write(group=self._group, entries=kept)
                writes.append(self.anew_write)
        return writes

    def settle(self) -> list[Ready]:
        """The write is on disk: return what is durable by that, and ask for the next one if something waits."""
        durable, self._writing = self._writing, []
        if self._anew_under_way:
            self._tell_written_anew()
        if self._anew:
            self._want()
        if not self._waiting:
            return durable
        if any(ready.must_persist for ready in self._waiting):
            self._want()
        else:
            durable += self._waiting
            self._waiting = []
        return durable

    def _tell_written_anew(self) -> None:
        self.anew_write = None
        told, self._anew_under_way = self._anew_under_way, []
        for done in told:
            done()

    def stop(self) -> None:
        """Write nothing more: what waits is dropped, what is being written stays."""
        self._waiting = []
        self._writer.drop(self)
        told, self._anew = self._anew, []
        for done in told:
            done()

    def fail(self, error: BaseException) -> None:
        """What is on disk is not known any more."""
        self._on_failure(error)
