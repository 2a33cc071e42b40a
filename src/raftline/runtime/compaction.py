"""When a snapshot is due, and how far the log goes behind it (§7, D1, D18).

Looked at once a turn. The log goes in pieces, in memory first, then as whole segments on disk. A leader keeps what a
follower that answers still needs, as long as the log does not grow too long over it.
"""

from collections.abc import Callable
from functools import partial

from raftline.core.events import Compacted, Event
from raftline.core.ids import GroupId, Index
from raftline.core.log import Log
from raftline.core.snapshots import index_needed
from raftline.core.state import RaftState
from raftline.replica.replica import Replica
from raftline.runtime.host import Host
from raftline.runtime.snapshotting import Snapshotting

__all__ = ["Compaction"]

_COMPACTED_PER_TURN = 5000
"""Entries; a million at once would hold the loop."""

_SNAPSHOTS_APART_MAX = 4
"""The log waits for followers until it holds what is written between so many snapshots."""


class Compaction:
    """Takes snapshots, and lets the log go behind them.

    Invariants: the target never goes back, nor beyond the snapshot; the disk's log is released only behind what
    memory let go; an error stops the node.
    """

    def __init__(
        self,
        group: GroupId,
        host: Host,
        replica: Replica,
        snapshotting: Snapshotting,
        *,
        on_released: Callable[[GroupId], None] = lambda _: None,
        post: Callable[[Event], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._group = group
        self._config = host.config
        self._replica = replica
        self._snapshotting = snapshotting
        self._wal = host.wal
        self._log_disk = host.log_disk
        self._on_room = on_released
        self._post = post
        self._fail = fail
        self._bytes_at_snapshot = 0
        self._index_at_snapshot: Index = replica.core.state.snapshot.index
        self._snapshot_index: Index = 0
        self._covered: Index = 0
        """Of the log before that snapshot nothing is kept up to here; it does not move while the log grows, because
        what is released counts as growth no more."""
        self._released: Index = 0
        self._target: Index = 0
        self._room_index: Index | None = None
        """Up to here a snapshot is needed that the log goes behind at once: others wait for the segments."""

    def on_installed(self, index: Index) -> None:
        """Note that a snapshot up to `index` came from the leader."""
        self._index_at_snapshot = index

    def make_room(self) -> None:
        """Take a snapshot as soon as that can be, and keep nothing of the log that it covers."""
        if self._room_index is None:
            self._room_index = self._replica.applied

    def step(self) -> None:
        """Let some of the log go if a snapshot covers it, and take a snapshot if one is due or wanted."""
        state = self._replica.core.state
        self._compact_some(state)
        self._release(state)
        snapshotting = self._snapshotting
        grown_entries = self._replica.applied - self._index_at_snapshot
        if grown_entries <= 0 or snapshotting.taking or self._replica.restoring is not None:
            return
        grown_bytes = state.log.size_bytes - self._bytes_at_snapshot
        is_due = grown_bytes >= self._bytes_due or grown_entries >= self._config.snapshot_log_entries
        is_wanted = snapshotting.is_wanted or (self._room_index is not None and self._room_index > state.snapshot.index)
        if (is_due or is_wanted) and self._knows_members(state):
            self._index_at_snapshot = self._replica.applied
            self._bytes_at_snapshot = state.log.size_bytes
            snapshotting.take()

    def _knows_members(self, state: RaftState) -> bool:
        """Say whether a snapshot could carry its membership (§7): who was just added learns it from a later entry."""
        return bool(state.configuration.at(self._replica.applied).voters)

    @property
    def _bytes_due(self) -> int:
        """Return by how many bytes the log grows from one snapshot to the next."""
        return max(self._config.snapshot_log_bytes, self._snapshotting.last_size_bytes)

    def _compact_some(self, state: RaftState) -> None:
        """Let a piece of the log go that a snapshot covers and no follower needs."""
        if state.snapshot.index > self._snapshot_index:
            self._snapshot_index = state.snapshot.index
            self._covered = self._start_of_kept(state.log)
        if self._room_index is not None and state.snapshot.index >= self._room_index:
            self._room_index = None
            self._target = max(self._target, state.snapshot.index)
        if self._target < self._covered and not self._snapshotting.taking:
            needed = self._covered if self._is_too_long(state) else index_needed(state)
            self._target = max(self._target, min(self._covered, needed))
        base = state.log.base_index
        if base < self._target:
            self._post(Compacted(min(self._target, base + _COMPACTED_PER_TURN)))

    def _start_of_kept(self, log: Log) -> Index:
        """Return the index behind which the log stays before a snapshot: no more bytes than between two snapshots."""
        return log.start_before(self._snapshot_index, self._bytes_due, self._config.keep_log_entries)

    def _is_too_long(self, state: RaftState) -> bool:
        """Say whether the log is so long that it waits for no follower: that one starts with a newer snapshot."""
        log = state.log
        return (
            len(log) > _SNAPSHOTS_APART_MAX * self._config.snapshot_log_entries
            or log.size_bytes > _SNAPSHOTS_APART_MAX * self._bytes_due
        )

    def _release(self, state: RaftState) -> None:
        """Let the segments go that hold nothing any more."""
        base = state.log.base_index
        if base > self._released and base >= self._target:
            self._released = base
            self._log_disk.submit(partial(self._wal.release, self._group, base), self._on_released)
            self._bytes_at_snapshot = state.log.size_bytes

    def _on_released(self, result: int | BaseException) -> None:
        if isinstance(result, BaseException):
            self._fail(result)
        else:
            self._on_room(self._group)
