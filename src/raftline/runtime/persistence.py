"""Batches of one group on their way to disk, in order; all groups of a node share one write at a time (`LogWriter`).

Keeps `Ready`'s promise: what must wait for the disk leaves only after its own batch and every one before it.
"""

from collections.abc import Callable, Sequence

import msgspec

from raftline.core.entries import Entry
from raftline.core.ids import GroupId
from raftline.core.ready import Ready
from raftline.runtime.log_writer import LogWriter
from raftline.wal.wal import Write

__all__ = ["ENTRY_BYTES", "Persistence"]

_BATCH_BYTES = 1000
ENTRY_BYTES = 150
"""What a batch, and an entry, takes in memory beside its commands, about."""
_SAID_MAX = 1000
"""Longer than for so many batches nothing waits that is only to be said: it would be minutes old."""


class Persistence:
    """Feeds the log's writer.

    Invariants: what is in `_writing` came before what is in `_waiting`; the writer knows of it whenever something in
    `_waiting` has to be written and nothing is in `_writing`; the writer's `behind_bytes` count both, but nothing
    that is written once more.
    """

    __slots__ = (
        "_anew",
        "_anew_bytes",
        "_anew_under_way",
        "_group",
        "_is_wanted",
        "_kept",
        "_on_failure",
        "_waiting",
        "_waiting_bytes",
        "_writer",
        "_writing",
        "anew_write",
        "batches",
        "on_durable",
        "writing_bytes",
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
        self.writing_bytes = self._waiting_bytes = 0
        self._is_wanted = False
        self._anew: list[Callable[[int], None]] = []
        """Who wants to hear how much was written anew; in the write that begins next."""
        self._anew_under_way: list[Callable[[int], None]] = []
        self._anew_bytes = 0
        """How much of `writing_bytes` is what is being written once more."""
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

    def is_overdue(self, now: float, seconds: float) -> bool:
        """Say whether something of this group waits for a write that has been under way for so long."""
        return bool(self._writing or self._waiting) and now - self._writer.began_at >= seconds

    def persist(self, ready: Ready) -> bool:
        """Take a `Ready`; return True if nothing of it has to wait, so that the caller goes on at once."""
        if not self._writing and not self._waiting:
            if not ready.must_persist:
                return True
            self._wait(ready)
            self._want()
        elif ready.must_persist or (ready.messages_after_persist and len(self._waiting) < _SAID_MAX):
            self._wait(ready)
        return False

    def _wait(self, ready: Ready) -> None:
        self._waiting.append(ready)
        size_bytes = _BATCH_BYTES + _bytes_of(ready.entries)
        self._waiting_bytes += size_bytes
        self._writer.behind_bytes += size_bytes

    def write_anew(self, done: Callable[[int], None]) -> None:
        """Write all of the log once more, at its head: older places of it are needed no more.

        `done` is called with how many bytes that took, about; 0: it was more than that write has room for, and is not
        written.
        """
        self._anew.append(done)
        if not self._writing and not self._anew_under_way:
            self._want()

    def _want(self) -> None:
        if not self._is_wanted:
            self._is_wanted = True
            self._writer.want(self)

    def take(self, bytes_max: int) -> list[Write]:
        """Hand over what waits, for the write that begins now: of more than so much a part, but not nothing."""
        self._is_wanted = False
        if self._waiting_bytes <= bytes_max:
            self._writing, self._waiting = self._waiting, []
            self.writing_bytes, self._waiting_bytes = self._waiting_bytes, 0
        else:
            self._take_part(bytes_max)
        self.batches += 1
        writes = [
            Write(group=self._group, entries=ready.entries, hard_state=ready.hard_state, reset=ready.reset)
            for ready in self._writing
            if ready.must_persist
        ]
        if self._anew and not self._waiting:
            self._anew_under_way, self._anew = self._anew, []
            kept = self._kept()
            size_bytes = _bytes_of(kept)
            if kept and self.writing_bytes + size_bytes <= bytes_max:
                self.anew_write = Write(group=self._group, entries=kept)
                writes.append(self.anew_write)
                self._anew_bytes = size_bytes
                self.writing_bytes += size_bytes
        return writes

    def _take_part(self, bytes_max: int) -> None:
        """Begin with the batches that fit, and the first part of the next one: with something that is written."""
        left = bytes_max
        count = 0
        rest: Ready | None = None
        is_written = False
        while rest is None and (left > 0 or not is_written) and count < len(self._waiting):
            first, rest = _divided(self._waiting[count], left)
            self._writing.append(first)
            left -= _BATCH_BYTES + _bytes_of(first.entries)
            is_written |= first.must_persist
            count += 1
        self._waiting[:count] = [] if rest is None else [rest]
        self.writing_bytes = bytes_max - left
        self._waiting_bytes -= self.writing_bytes
        if rest is not None:
            self._waiting_bytes += _BATCH_BYTES
            self._writer.behind_bytes += _BATCH_BYTES

    def settle(self) -> list[Ready]:
        """The write is on disk: return what is durable by that, and ask for the next one if something waits.

        What is durable is chosen first: the next write may begin at once, whoever asks for it, and take of what waits.
        """
        durable, self._writing = self._writing, []
        self._writer.behind_bytes -= self.writing_bytes - self._anew_bytes
        self.writing_bytes = 0
        if not any(ready.must_persist for ready in self._waiting):
            durable += self._waiting
            self._drop_waiting()
        if self._anew_under_way:
            self._tell_written_anew()
        if (self._waiting or self._anew) and not self._writing and not self._anew_under_way:
            self._want()
        return durable

    def _drop_waiting(self) -> None:
        self._waiting = []
        self._writer.behind_bytes -= self._waiting_bytes
        self._waiting_bytes = 0

    def _tell_written_anew(self) -> None:
        self.anew_write = None
        size_bytes, self._anew_bytes = self._anew_bytes, 0
        told, self._anew_under_way = self._anew_under_way, []
        for done in told:
            done(size_bytes)

    def stop(self) -> None:
        """Write nothing more: what waits is dropped, what is being written stays."""
        self._drop_waiting()
        self._writer.drop(self)
        told, self._anew = self._anew, []
        for done in told:
            done(0)

    def fail(self, error: BaseException) -> None:
        """What is on disk is not known any more."""
        self._on_failure(error)


def _bytes_of(entries: Sequence[Entry]) -> int:
    """Return what entries take in memory, about."""
    return ENTRY_BYTES * len(entries) + sum([len(entry.data) for entry in entries])


def _divided(ready: Ready, bytes_max: int) -> tuple[Ready, Ready | None]:
    """Return what of a batch is written first, with one entry at least, and the rest; None: there is no rest.

    Only with the rest is the batch on disk, so until then the one before it is the last that is (C2).
    """
    left = bytes_max - _BATCH_BYTES
    for count, entry in enumerate(ready.entries):
        left -= ENTRY_BYTES + len(entry.data)
        if left < 0 < count:
            first = Ready(ready.number - 1, ready.reset, ready.hard_state, ready.entries[:count])
            return first, msgspec.structs.replace(ready, reset=None, hard_state=None, entries=ready.entries[count:])
    return ready, None
