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
from raftline.runtime.sharing import Shared
from raftline.wal.log_index import Span
from raftline.wal.wal import Wal

__all__ = ["Feeding"]

_UNLOADED_PER_TURN = 5000
"""Entries; to free a hundred thousand would hold the loop."""
_SLACK = 8
"""What leaves memory is so small a part of the bound more than has to: it is not due again with the next entry."""


class Feeding:
    """Answers each `EntriesWanted` with one `EntriesRead`, unless it is stopped; an error stops the node."""

    __slots__ = (
        "_fail",
        "_group",
        "_log_disk",
        "_memory",
        "_part",
        "_post",
        "_reading_disk",
        "_state",
        "_stopped",
        "_wal",
        "entries_read",
    )

    def __init__(
        self,
        group: GroupId,
        state: RaftState,
        memory: Shared,
        wal: Wal,
        log_disk: DiskThread,
        reading_disk: DiskThread,
        *,
        post: Callable[[Event], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """`memory` is what the logs of all groups of the node hold there."""
        self._group = group
        self._state = state
        self._memory = memory
        self._part = memory.join(self._give_way)
        self._wal = wal
        self._log_disk = log_disk
        self._reading_disk = reading_disk
        self._post = post
        self._fail = fail
        self._stopped = False
        self.entries_read = 0

    def bound_memory(self) -> None:
        """Say how much of the log is in memory: if all groups hold too much, some has to leave. Called once a turn."""
        part, log = self._part, self._state.log
        if not part.low <= log.size_bytes - log.bytes_on_disk < part.high:
            part.note(log.memory_bytes)

    def read(self, everything_wanted: Iterable[EntriesWanted]) -> None:
        """Read what followers need."""
        for wanted in everything_wanted:
            locate = partial(self._wal.locate, self._group, wanted.low, wanted.bytes_max)
            self._log_disk.submit(locate, partial(self._on_located, wanted))

    def stop(self) -> None:
        """Drop whatever comes back from the threads from now on."""
        self._stopped = True
        self._part.leave()

    def _give_way(self, excess_bytes: int) -> int:
        """Let some of the log leave memory, if it can: down to an equal share or, where that is less, to half of it.

        A group alone has all of the bound to itself. Who holds very little keeps that: it would take a turn for it.
        """
        state, held, limit = self._state, self._part.size, self._memory.limit
        share = (limit - limit // _SLACK) // self._memory.parts
        if state.unloadable <= state.log.disk_index or held <= share // _SLACK:
            return 0
        kept = max(held - excess_bytes - limit // _SLACK, min(share, held // 2))
        self._post(Unloaded(kept, _UNLOADED_PER_TURN))
        return held - kept

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
