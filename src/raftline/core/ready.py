"""What the core wants done, as one frozen value; each field says what must come before it (etcd/raft's `Ready`).

Order: persist `reset`, `hard_state` and `entries`, in this order, beside it send `messages`; when the batch, and every
batch before it, is on disk, send `messages_after_persist` and report `Persisted`. `install` comes before `committed`.
"""

from enum import Enum

import msgspec

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.ids import Index, NodeId
from raftline.core.messages import Message, SnapshotRequest

__all__ = ["Answer", "ChunkReceived", "ChunkWanted", "EntriesWanted", "Outgoing", "ReadOutcome", "Ready", "Verdict"]


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A message and whom it is for."""

    to: NodeId
    message: Message


class ReadOutcome(msgspec.Struct, frozen=True, gc=False):
    """A read may be answered once `index` is applied; None: nobody can vouch for it, ask again or give up."""

    read_id: int
    index: Index | None


class Verdict(Enum):
    """How a request for a change of the membership, or for a transfer, ended."""

    DONE = "done"
    """The change is committed; the leadership was given away."""
    REFUSED = "refused"
    """Nothing was changed; the reason says why."""
    NOT_LEADER = "not leader"
    """Nothing was changed; somebody else has to be asked."""
    UNKNOWN = "unknown"
    """The leadership was lost before the outcome was known."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer to a `ChangeRequested` or a `TransferRequested`; each gets exactly one."""

    request_id: int
    verdict: Verdict
    reason: str = ""


class EntriesWanted(msgspec.Struct, frozen=True, gc=False):
    """Read entries `[low, high)` of the log on disk for a follower, as many as fit, and report `EntriesRead`."""

    to: NodeId
    low: Index
    high: Index
    bytes_max: int


class ChunkWanted(msgspec.Struct, frozen=True, gc=False):
    """Read bytes of the latest snapshot from `offset` for a follower and report `ChunkRead`."""

    to: NodeId
    index: Index
    offset: int


class ChunkReceived(msgspec.Struct, frozen=True, gc=False):
    """Write a chunk that the leader sent and report `ChunkStored`."""

    meta: SnapshotMeta
    request: SnapshotRequest


class Ready(msgspec.Struct, frozen=True, gc=False):
    """One turn's worth of work."""

    number: int
    """Counts up; `Persisted` reports it once the batch is on disk."""
    reset: SnapshotMeta | None = None
    """The log starts anew behind this installed snapshot; before `entries`."""
    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    """To append; if the first one's index is not behind the end, it replaces everything from there on."""
    messages: tuple[Outgoing, ...] = ()
    """May leave at once: they depend on nothing that is not on disk yet (thesis 10.2.1)."""
    messages_after_persist: tuple[Outgoing, ...] = ()
    """Votes, acknowledgements, terms: only after this batch and all before it are on disk (C2)."""
    install: SnapshotMeta | None = None
    """Replace the state machine by this stored snapshot, then go on with `committed` (D11)."""
    committed: tuple[Entry, ...] = ()
    """To apply, in order, each once (F8)."""
    reads: tuple[ReadOutcome, ...] = ()
    answers: tuple[Answer, ...] = ()
    entries_wanted: tuple[EntriesWanted, ...] = ()
    chunks_wanted: tuple[ChunkWanted, ...] = ()
    chunks_received: tuple[ChunkReceived, ...] = ()

    @property
    def must_persist(self) -> bool:
        """Say whether anything has to reach the disk."""
        return bool(self.entries) or self.hard_state is not None or self.reset is not None
