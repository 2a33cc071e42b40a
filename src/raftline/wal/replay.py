"""What the records of a log add up to: per group its term and vote, its last reset, and the entries behind it.

Pure bookkeeping: records go in, in order, and the state that a node starts from comes out. Whatever cannot be true of
records that were all written and kept is a `CorruptLog`.
"""

from collections.abc import Mapping, Sequence

import msgspec

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.ids import GroupId, Index
from raftline.errors import CorruptLog
from raftline.wal.record import SegmentHeader, Write
from raftline.wal.storage_errors import REMEDY

__all__ = ["Recovered", "Replay", "log_ends_after"]


class Recovered(msgspec.Struct, frozen=True):
    """What the directory held for one group.

    `hard_state` is None if none was ever written. Entries are contiguous and lie behind the snapshot.
    """

    hard_state: HardState | None
    snapshot: SnapshotMeta | None
    entries: list[Entry]


class _Group:
    """A group while segments are replayed.

    Invariants: `entries` are contiguous; `end` is the last index of the log, None while nothing is known of it.
    """

    def __init__(self) -> None:
        self.hard_state: HardState | None = None
        self.reset: SnapshotMeta | None = None
        self.entries: list[Entry] = []
        self.end: Index | None = None


def log_ends_after(writes: Sequence[Write], ends: Mapping[GroupId, Index]) -> dict[GroupId, Index] | str:
    """Return where the logs of the groups in `writes` end after them, or what is wrong with the entries."""
    after: dict[GroupId, Index] = {}
    for write in writes:
        if write.is_forgotten:
            after.pop(write.group, None)
            ends = {group: end for group, end in ends.items() if group != write.group}
            continue
        end = write.reset.index if write.reset is not None else after.get(write.group, ends.get(write.group))
        if write.entries:
            first, last = write.entries[0].index, write.entries[-1].index
            if last - first + 1 != len(write.entries):
                return f"{len(write.entries)} entries from {first} to {last} in group {write.group}"
            if end is not None and first > end + 1:
                return f"entry {first} follows entry {end} in group {write.group}"
            end = last
        if end is not None:
            after[write.group] = end
    return after


class Replay:
    """The records of one directory, so far.

    Invariant: of entries that are covered no data is held: none of them is recovered.
    """

    def __init__(self, directory: str, covered: Mapping[GroupId, Index] | None = None) -> None:
        """`covered` says how far the newest snapshots reach; what they cover may be much, and is only compared."""
        self._directory = directory
        self._covered = covered or {}
        self._groups: dict[GroupId, _Group] = {}
        self.forgotten: set[GroupId] = set()
        """Groups of which the last word is that they are hosted here no more: their snapshots do not count either."""
        self._begun = False

    def on_header(self, header: SegmentHeader) -> str | None:
        """Take in the header of the next segment; return what is wrong with it, if anything is.

        The first one stands for every segment that is gone; any other repeats what its predecessors add up to.
        """
        if self._begun:
            wrong = self._contradiction(header)
            if wrong:
                return wrong
        self._begun = True
        for group, hard_state in header.hard_states.items():
            self._group(group).hard_state = hard_state
        for group, reset in header.resets.items():
            self._group(group).reset = reset
        for group, end in header.log_ends.items():
            self._group(group).end = end
        return None

    def on_writes(self, writes: Sequence[Write]) -> str | None:
        """Take in the records of a frame; return what is wrong with them, if anything is."""
        ends = log_ends_after(writes, self.log_ends)
        if isinstance(ends, str):
            return ends
        for write in writes:
            if write.is_forgotten:
                self._groups.pop(write.group, None)
                self.forgotten.add(write.group)
                continue
            known = self._group(write.group)
            if write.reset is not None:
                known.reset = write.reset
                known.entries = []
            if write.hard_state is not None:
                known.hard_state = write.hard_state
            if write.entries:
                if known.entries:
                    del known.entries[max(0, write.entries[0].index - known.entries[0].index) :]
                known.entries.extend(self._held_of(write))
        for group, end in ends.items():
            self._group(group).end = end
        return None

    @property
    def hard_states(self) -> dict[GroupId, HardState]:
        """Return the last term and vote of each group."""
        return {group: known.hard_state for group, known in self._groups.items() if known.hard_state is not None}

    @property
    def resets(self) -> dict[GroupId, SnapshotMeta]:
        """Return the last reset of each group."""
        return {group: known.reset for group, known in self._groups.items() if known.reset is not None}

    @property
    def log_ends(self) -> dict[GroupId, Index]:
        """Return the last index of each group's log."""
        return {group: known.end for group, known in self._groups.items() if known.end is not None}

    def conclude(self, snapshots: Mapping[GroupId, SnapshotMeta]) -> tuple[dict[GroupId, Recovered], list[Write]]:
        """Combine the log with the newest snapshots (D10); return what was recovered and what the log must be told.

        Raises `CorruptLog` if something between a snapshot and the log, or a snapshot, is missing.
        """
        recovered: dict[GroupId, Recovered] = {}
        resets: list[Write] = []
        for group in sorted({*self._groups, *snapshots}):
            known = self._groups.get(group) or _Group()
            snapshot = snapshots.get(group)
            self._check_complete(group, known, snapshot.index if snapshot else 0)
            entries: list[Entry] | None = known.entries
            if snapshot is not None and known.end is not None:
                entries = _behind(snapshot, known.entries, known.end)
                if entries is None:
                    resets.append(Write(group=group, reset=snapshot))
            recovered[group] = Recovered(known.hard_state, snapshot, entries or [])
        return recovered, resets

    def _check_complete(self, group: GroupId, known: _Group, covered: Index) -> None:
        """Refuse a log that begins behind what is covered by a snapshot."""
        if known.reset is not None and known.reset.index > covered:
            wrong = f"follows a snapshot at index {known.reset.index}, the newest one here is at {covered}"
        elif known.entries and known.entries[0].index > covered + 1:
            wrong = f"starts at index {known.entries[0].index}, but the newest snapshot ends at {covered}"
        elif not known.entries and known.end is not None and known.end > covered:
            wrong = f"once ended at index {known.end}, but of what lies behind index {covered} nothing is here"
        else:
            return
        raise CorruptLog(f"{self._directory}: the log of group {group} {wrong}. Nothing was changed; {REMEDY}")

    def _contradiction(self, header: SegmentHeader) -> str | None:
        for what, told, known in (
            ("term and vote", header.hard_states, self.hard_states),
            ("resets", header.resets, self.resets),
            ("ends of logs", header.log_ends, self.log_ends),
        ):
            if told != known:
                return f"its header gives other {what} than the segments before it"
        return None

    def _held_of(self, write: Write) -> Sequence[Entry]:
        """Return the entries of a record, those that are covered without their data."""
        covered = self._covered.get(write.group, 0)
        if write.entries[0].index > covered:
            return write.entries
        return [Entry(entry.index, entry.term, b"") if entry.index <= covered else entry for entry in write.entries]

    def _group(self, group: GroupId) -> _Group:
        self.forgotten.discard(group)
        return self._groups.setdefault(group, _Group())


def _behind(snapshot: SnapshotMeta, entries: list[Entry], end: Index) -> list[Entry] | None:
    """Return the entries behind the snapshot, or None if the log does not reach or contradicts it (D10).

    Where the entry at the snapshot's index is gone with its segment, the snapshot was why it could go.
    """
    if end < snapshot.index:
        return None
    position = snapshot.index - entries[0].index if entries else -1
    if position < 0:
        return entries
    return entries[position + 1 :] if entries[position].term == snapshot.term else None
