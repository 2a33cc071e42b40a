"""What is stored: entries, the term and vote, and what a snapshot stands for.

These values are shared by the log in memory, the log on disk and the messages between nodes; all are immutable, so
no storage is ever shared with a message that is still being sent (requirement F17).
"""

from collections.abc import Sequence

import msgspec

from raftline.core.ids import Index, NodeId, Term
from raftline.core.membership import Membership

__all__ = ["KIND_COMMAND", "KIND_MEMBERSHIP", "KIND_NOOP", "Entry", "HardState", "SnapshotMeta", "fitting"]

KIND_COMMAND = 0
"""`data` is a client's command; the state machine applies it."""
KIND_NOOP = 1
"""A new leader's first entry (§8); `data` is empty, but at index 1 it is the number of the log's history (C14)."""
KIND_MEMBERSHIP = 2
"""`data` is a MessagePack `Membership` that took effect when the entry was appended (§6)."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One position of the log; `(index, term)` identifies it and everything before it (§5.3, Log Matching)."""

    index: Index
    term: Term
    data: bytes
    kind: int = KIND_COMMAND
    time_ms: int = 0
    """The proposing leader's wall clock in milliseconds since 1970: the only clock a state machine may see."""


def fitting(entries: Sequence[Entry], bytes_max: int) -> tuple[Entry, ...]:
    """Return as many of the first entries as fit, and at least one if there is any."""
    if sum([len(entry.data) for entry in entries]) + 16 * len(entries) <= bytes_max:
        return tuple(entries)  # nearly always, and twice as fast as to look where the limit is
    total = 0
    for position, entry in enumerate(entries):
        total += len(entry.data) + 16
        if total > bytes_max and position:
            return tuple(entries[:position])
    return tuple(entries)


class HardState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`currentTerm` and `votedFor` of Figure 2; on disk before any message that depends on it (C1 to C4)."""

    term: Term = 0
    vote: NodeId | None = None
    established: bool = True
    """False while an empty data directory might be a lost one: such a node must not vote (C14)."""
    history: int = 0
    """The number in the log's first entry, once something of this log is known to be committed; 0 for unknown (C14)."""


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a snapshot replaces: everything up to and including `index` (§7)."""

    index: Index = 0
    term: Term = 0
    membership: Membership = Membership()
