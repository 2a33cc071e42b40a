"""Every input of the core is one of these: messages, a timer that is due, proposals, and what the world finished.

Completed work (persisted, stored, applied) comes in as an event too: the core never waits and never calls out.
"""

from typing import TypeAlias

import msgspec

from raftline.core.changes import MembershipChange
from raftline.core.entries import Entry, SnapshotMeta
from raftline.core.ids import Index, NodeId
from raftline.core.messages import Message

__all__ = [
    "Applied",
    "ChangeRequested",
    "ChunkRead",
    "ChunkStored",
    "ClockDoubted",
    "Compacted",
    "DiskBehind",
    "EntriesRead",
    "Event",
    "Persisted",
    "Proposed",
    "ReadRequested",
    "Received",
    "SnapshotTaken",
    "TimerDue",
    "TransferRequested",
    "Unloaded",
    "Woken",
]


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message arrived; `sender` is who the connection says it is."""

    sender: NodeId
    message: Message


class TimerDue(msgspec.Struct, frozen=True, gc=False):
    """`next_deadline` may have passed; whether it really has is checked again (A24)."""


class Proposed(msgspec.Struct, frozen=True, gc=False):
    """Clients' commands, to be appended together in this order."""

    commands: tuple[bytes, ...]
    time_ms: int = 0


class ChangeRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants another membership; the answer comes as an `Answer` with the same id, once it is committed."""

    request_id: int
    change: MembershipChange


class TransferRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants another leader, `to` or whoever is best; the answer comes as an `Answer` with the same id."""

    request_id: int
    to: NodeId | None = None


class DiskBehind(msgspec.Struct, frozen=True, gc=False):
    """This replica's own disk does not keep up: a write hangs, or what waits for it takes too much memory."""


class ReadRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants to read; the answer comes as a `ReadOutcome` with the same id.

    With `lease` the leader's lease will do instead of a round of messages (thesis 6.4.1).
    """

    read_id: int
    lease: bool = False


class ClockDoubted(msgspec.Struct, frozen=True, gc=False):
    """The clock behind `now` may have stood still for a while: no lease holds that was taken before."""


class Persisted(msgspec.Struct, frozen=True, gc=False):
    """Everything that the `Ready` of this number, and every one before it, asked to persist is on disk.

    `at` is since when, on the clock that `step` is given; None: just now.
    """

    number: int
    at: float | None = None


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The state machine reached `index`; `digest` is the rolling hash there."""

    index: Index
    digest: int = 0


class SnapshotTaken(msgspec.Struct, frozen=True, gc=False):
    """A snapshot of the state machine is on disk; the log may be dropped up to `compact_to` <= `meta.index`."""

    meta: SnapshotMeta
    compact_to: Index


class Compacted(msgspec.Struct, frozen=True, gc=False):
    """The log may be dropped up to `index`, which the snapshot at hand covers; a long log goes piece by piece."""

    index: Index


class Unloaded(msgspec.Struct, frozen=True, gc=False):
    """The log may keep `bytes_max` of payload in memory: older data that the disk holds can go, `count_max` entries.

    Whoever says this has to answer `EntriesWanted` from then on.
    """

    bytes_max: int
    count_max: int


class EntriesRead(msgspec.Struct, frozen=True, gc=False):
    """What `EntriesWanted` asked for, from `low` on; no entries if they are gone from the disk, as after compaction."""

    to: NodeId
    low: Index
    entries: tuple[Entry, ...]


class ChunkRead(msgspec.Struct, frozen=True, gc=False):
    """The bytes that `ChunkWanted` asked for; `meta` is of the snapshot they really come from."""

    to: NodeId
    meta: SnapshotMeta
    offset: int
    data: bytes
    done: bool


class ChunkStored(msgspec.Struct, frozen=True, gc=False):
    """A received chunk is in the file; with `complete` the whole snapshot is checked, renamed and durable.

    `next_offset` 0 with `complete` False says that the file was damaged or another one, and to start over.
    """

    meta: SnapshotMeta
    next_offset: int
    complete: bool


class Woken(msgspec.Struct, frozen=True, gc=False):
    """Somebody has to look after a group that sleeps (`core/quiescence.py`); nothing for one that is awake.

    The driver must say so when the node of the leader that is followed, or of a follower that sleeps, may be down, and
    when a member's node that did not answer is back.
    """

    suspected: NodeId | None = None
    """Whose node may be down: who follows it no longer believes in it."""


Event: TypeAlias = (
    Received
    | TimerDue
    | Proposed
    | ChangeRequested
    | TransferRequested
    | DiskBehind
    | ReadRequested
    | ClockDoubted
    | Persisted
    | Applied
    | SnapshotTaken
    | Compacted
    | Unloaded
    | EntriesRead
    | ChunkRead
    | ChunkStored
    | Woken
)
