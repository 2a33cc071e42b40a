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

__all__ = ["EARLY_MAX", "Compaction"]

_COMPACTED_PER_TURN = 5000
"""Entries; a million at once would hold the loop."""

_SHARE = 16
"""So small a part of what is between two snapshots a group may always write, however much the others have written."""

EARLY_MAX = 4
"""So many groups take snapshots for others' sake at a time: each lets go of its log when its own is done."""

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
        wake: Callable[[], None],
        post: Callable[[Event], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """`wake` asks the driver for a turn."""
        self._group = group
        self._config = host.config
        self._replica = replica
        self._snapshotting = snapshotting
        self._wal = host.wal
        self._log_disk = host.log_disk
        self._on_room = on_released
        self._post = post
        self._fail = fail
        self._wake = wake
        self._growth = host.log_growth.join(self._give_way)
        """By how much the log has grown since the last snapshot, in bytes; by many entries as if they were large."""
        self._bytes_for_entry = max(1, host.config.snapshot_log_bytes // host.config.snapshot_log_entries)
        self._is_asked = False
        """The others need the room: a snapshot is due although the log has grown less than it might."""
        self._is_early = False
        """What is being taken is such a snapshot: until it is done this group has been asked."""
        self._least_bytes_apart = host.config.snapshot_log_bytes
        """What was due between the last two snapshots, if those are no larger."""
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
        self._is_asked = False

    def stop(self) -> None:
        """The group is gone: it keeps nothing."""
        self._growth.leave()

    def make_room(self) -> None:
        """Take a snapshot as soon as that can be, and keep nothing of the log that it covers."""
        if self._room_index is None:
            self._room_index = self._replica.applied

    def step(self) -> None:
        """Let some of the log go if a snapshot covers it, and take a snapshot if one is due or wanted."""
        state = self._replica.core.state
        self._compact_some(state)
        self._release(state)
        snapshotting, config = self._snapshotting, self._config
        grown_entries = self._replica.applied - self._index_at_snapshot
        grown_bytes = state.log.size_bytes - self._bytes_at_snapshot
        growth = max(grown_bytes, grown_entries * self._bytes_for_entry, 0)
        if snapshotting.last_size_bytes != self._growth.granted:
            self._growth.grant(snapshotting.last_size_bytes)
        is_due = grown_bytes >= self._bytes_due or grown_entries >= config.snapshot_log_entries
        is_wanted = snapshotting.is_wanted or (self._room_index is not None and self._room_index > state.snapshot.index)
        if self._is_asked and growth < self._bytes_early:
            self._is_asked = False  # what had grown was let go of since
        if (is_due or is_wanted or self._is_asked) and self._can_take(state):
            self._least_bytes_apart = growth if self._is_asked and not is_due else config.snapshot_log_bytes
            self._is_early, self._is_asked = self._is_asked, False
            self._index_at_snapshot = self._replica.applied
            self._bytes_at_snapshot = state.log.size_bytes
            snapshotting.take()
            growth = 0
        self._is_early = self._is_early and snapshotting.taking
        if not self._is_early and not self._growth.low <= growth < self._growth.high:
            self._growth.note(growth)

    def _give_way(self, _excess: int) -> int:
        """Take a snapshot early, if it can be taken now and is no larger than what it lets go of."""
        size = self._growth.size
        if size < self._bytes_early or not self._can_take(self._replica.core.state):
            return 0
        self._is_asked = True
        self._wake()
        return size

    def _can_take(self, state: RaftState) -> bool:
        """Say whether a snapshot could be taken now, and would cover something new.

        It carries the membership (§7): who was just added learns it from a later entry.
        """
        return (
            self._replica.applied > self._index_at_snapshot
            and not self._snapshotting.taking
            and self._replica.restoring is None
            and bool(state.configuration.at(self._replica.applied).voters)
        )

    @property
    def _bytes_due(self) -> int:
        """Return by how many bytes the log grows from one snapshot to the next, if others leave room for it."""
        return max(self._config.snapshot_log_bytes, self._snapshotting.last_size_bytes)

    @property
    def _bytes_early(self) -> int:
        """Return by how many bytes the log has to grow before a snapshot is taken for others' sake."""
        return max(self._config.snapshot_log_bytes // _SHARE, self._snapshotting.last_size_bytes)

    @property
    def _bytes_apart(self) -> int:
        """Return by how many bytes the log grows from one snapshot to the next, as the last ones were taken."""
        return max(self._least_bytes_apart, self._snapshotting.last_size_bytes)

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
        return log.start_before(self._snapshot_index, self._bytes_apart, self._config.keep_log_entries)

    def _is_too_long(self, state: RaftState) -> bool:
        """Say whether the log is so long that it waits for no follower: that one starts with a newer snapshot."""
        log = state.log
        return (
            len(log) > _SNAPSHOTS_APART_MAX * self._config.snapshot_log_entries
            or log.size_bytes > _SNAPSHOTS_APART_MAX * self._bytes_apart
        )

    def _release(self, state: RaftState) -> None:
        """Let the segments go that hold nothing any more."""
        base = state.log.base_index
        if base > self._released and base >= self._target:
            self._released = base
            self._log_disk.submit(partial(self._wal.release, self._group, base), self._on_released)
            if base >= self._covered and not self._snapshotting.taking:
                # More came while it was taken. Asked once for each snapshot: of what it covers little is left by now.
                self._bytes_at_snapshot = state.log.bytes_up_to(self._index_at_snapshot)

    def _on_released(self, result: int | BaseException) -> None:
        if isinstance(result, BaseException):
            self._fail(result)
        else:
            self._on_room(self._group)
