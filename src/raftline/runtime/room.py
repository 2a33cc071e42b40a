"""Room in the log: a small or idle group must not hold segments that a busy one has long let go of.

Whenever a group lets go of its log it is looked who still needs the oldest segment. Who keeps little writes that anew,
at the head of the log; who keeps much takes a snapshot, once the log has grown long over it.
"""

from collections.abc import Callable, Sequence

from raftline.core.ids import GroupId
from raftline.core.state import RaftState
from raftline.runtime.compaction import Compaction
from raftline.runtime.persistence import ENTRY_BYTES, Persistence
from raftline.runtime.ports import DiskThread
from raftline.wal.wal import Holders, Wal

__all__ = ["Room", "Tenant"]

_ANEW_BYTES_MAX = 4 << 20
"""Written anew at a time, over all groups."""
_SHARE = 16
"""A group keeps little if it is so small a part of a segment."""
_SEGMENTS_MAX = 8
"""Longer than this the log does not grow because of a group that keeps much and is about to take no snapshot."""


class Tenant:
    """A group, as far as it holds segments."""

    __slots__ = ("_compaction", "_persistence", "_state", "_wake")

    def __init__(
        self, state: RaftState, persistence: Persistence, compaction: Compaction, wake: Callable[[], None]
    ) -> None:
        self._state = state
        self._persistence = persistence
        self._compaction = compaction
        self._wake = wake

    @property
    def kept_bytes(self) -> int | None:
        """Return how many bytes of its log it keeps, as a write counts them; None if not all of it is in memory."""
        log = self._state.log
        return log.size_bytes + ENTRY_BYTES * len(log) if log.disk_index == log.base_index else None

    def write_anew(self, done: Callable[[int], None]) -> None:
        """Write what it keeps at the head of the log, then call `done` with how many bytes that took."""
        self._persistence.write_anew(done)

    def make_room(self) -> None:
        """Take a snapshot as soon as that can be, and let go of all that it covers."""
        self._compaction.make_room()
        self._wake()


class Room:
    """Looks after the oldest segment; at most one look or write is under way."""

    def __init__(
        self,
        wal: Wal,
        disk: DiskThread,
        tenant_of: Callable[[GroupId], Tenant | None],
        segment_bytes: int,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._wal = wal
        self._disk = disk
        self._tenant_of = tenant_of
        self._little_bytes = segment_bytes // _SHARE
        self._fail = fail
        self._is_busy = False
        self._pending = 0
        self._is_freed = False
        """Some of what is being written anew was: it may be that nobody needs the oldest segment any more."""
        self._released: GroupId = 0
        """Who let go of some of its log: it lets go of more when it can."""
        self._stopped = False

    def look(self, group: GroupId) -> None:
        """Look who else needs the oldest segment; called when `group` let go of some of its log."""
        if not self._is_busy and not self._stopped:
            self._is_busy = True
            self._released = group
            self._disk.submit(self._wal.remove_unneeded, self._on_holders)

    def stop(self) -> None:
        """Look no more: the node stops."""
        self._stopped = True

    def _on_holders(self, holders: Holders | BaseException) -> None:
        self._is_busy = False
        if isinstance(holders, BaseException):
            self._fail(holders)
            return
        if self._stopped:
            return
        little, left = [], _ANEW_BYTES_MAX
        for group in holders.groups:
            tenant = self._tenant_of(group) if group != self._released else None
            if tenant is None:
                continue  # nobody has added it yet: it stays as it is
            kept_bytes = tenant.kept_bytes
            if kept_bytes is not None and kept_bytes <= self._little_bytes:
                if kept_bytes <= left:
                    little.append(tenant)
                    left -= kept_bytes
            elif holders.segments > _SEGMENTS_MAX:
                tenant.make_room()
        self._write_anew(little)

    def _write_anew(self, tenants: Sequence[Tenant]) -> None:
        self._pending = len(tenants)
        self._is_busy = bool(tenants)
        self._is_freed = False
        for tenant in tenants:
            tenant.write_anew(self._on_written)

    def _on_written(self, size_bytes: int) -> None:
        self._pending -= 1
        self._is_freed |= size_bytes > 0
        if not self._pending:
            self._is_busy = False
            if self._is_freed:
                self.look(self._released)
