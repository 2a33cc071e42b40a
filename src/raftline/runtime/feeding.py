"""The bound on the log in memory; entries beyond it are read back from the disk for a follower that needs them.

The log's thread says where they are, the snapshots' thread reads them: a follower that is far behind never makes a
write wait for its reads.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from raftline.core.entries import Entry
from raftline.core.events import EntriesRead, Event, Unloaded
from raftline.core.ids import GroupId
from raftline.core.ready import EntriesWanted
from raftline.core.state import RaftState
from raftline.runtime.ports import DiskThread
from raftline.wal.log_index import Span
from raftline.wal.wal import Wal

__all__ = ["Feeding"]

_UNLOADED_PER_TURN = 5000
"""Entries; to free a hundred thousand would hold the loop."""


class Feeding:
    """Answers each `EntriesWanted` with one `EntriesRead`, unless it is stopped; an error stops the node."""

    __slots__ = ("_fail", "_group", "_log_disk", "_post", "_reading_disk", "_stopped", "_wal", "entries_read")

    def __init__(
        self,
        group: GroupId,
        wal: Wal,
        log_disk: DiskThread,
        reading_disk: DiskThread,
        *,
        post: Callable[[Event], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._group = group
        self._wal = wal
        self._log_disk = log_disk
        self._reading_disk = reading_disk
        self._post = post
        self._fail = fail
        self._stopped = False
        self.entries_read = 0

    def bound_memory(self, state: RaftState, bytes_max: int) -> None:
        """Let some of the log leave memory if more than `bytes_max` of it is there and can; called once a turn.

        A little below the bound, so that this is not due again with the next entry.
        """
        log = state.log
        if log.size_bytes > bytes_max and log.memory_bytes > bytes_max and state.unloadable > log.disk_index:
            self._post(Unloaded(bytes_max - bytes_max // 8, _UNLOADED_PER_TURN))

    def read(self, everything_wanted: Iterable[EntriesWanted]) -> None:
        """Read what followers need."""
        for wanted in everything_wanted:
            locate = partial(self._wal.locate, self._group, wanted.low, wanted.bytes_max)
            self._log_disk.submit(locate, partial(self._on_located, wanted))

    def stop(self) -> None:
        """Drop whatever comes back from the threads from now on."""
        self._stopped = True

    def _on_located(self, wanted: EntriesWanted, result: Sequence[Span] | BaseException) -> None:
        if self._stopped:
            return
        if isinstance(result, BaseException):
            self._fail(result)
            return
        fetch = partial(self._wal.fetch, self._group, result, wanted.bytes_max)
        self._reading_disk.submit(fetch, partial(self._on_read, wanted))

    def _on_read(self, wanted: EntriesWanted, result: tuple[Entry, ...] | BaseException) -> None:
        if self._stopped:
            return
        if isinstance(result, BaseException):
            self._fail(result)
            return
        entries = result[: wanted.high - wanted.low]
        self.entries_read += len(entries)
        self._post(EntriesRead(wanted.to, wanted.low, entries))
