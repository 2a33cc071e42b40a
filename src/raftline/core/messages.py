"""Everything one replica says to another: one tagged union, immutable, with the reply tied to its request.

Requests carry the sender's term. Replies carry the replier's term *and* the term and position of the request they
answer, so that a late reply can never be taken for the answer to something else (requirements E1 to E4).
"""

from typing import TypeAlias

import msgspec

from raftline.core.entries import Entry
from raftline.core.ids import Index, NodeId, Term
from raftline.core.membership import Membership

__all__ = [
    "AppendReply",
    "AppendRequest",
    "Beat",
    "Directory",
    "ForwardReply",
    "ForwardRequest",
    "Message",
    "ReadIndexReply",
    "ReadIndexRequest",
    "RemoteCommands",
    "RemoteQuery",
    "RemoteReply",
    "SnapshotReply",
    "SnapshotRequest",
    "TimeoutNow",
    "VoteReply",
    "VoteRequest",
]


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="V"):
    """RequestVote (§5.2, §5.4); with `pre_vote` a question that changes nothing (thesis 9.6)."""

    term: Term
    """The candidate's term; for a pre-vote the term it *would* start."""
    last_index: Index
    last_term: Term
    pre_vote: bool = False
    transfer: bool = False
    """The old leader asked for this election, so leader stickiness does not apply (thesis 3.10)."""
    bootstrap: bool = False
    """A majority of the candidate's voters, itself included, has never stored anything (see docs/rules.md, C14)."""
    history: int = 0
    """The history that the candidate knows something committed of, 0 if none."""


class VoteReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="v"):
    """Answer to `VoteRequest`."""

    term: Term
    request_term: Term
    granted: bool
    pre_vote: bool = False
    unestablished: bool = False
    """The voter holds nothing and knows of nobody who does: it may be a first start, or a lost disk."""


class Directory(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where everybody is, as of the membership at `index`; for whoever may not know how to answer."""

    index: Index
    addresses: tuple[tuple[NodeId, str], ...]


class AppendRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="A"):
    """AppendEntries (§5.3); heartbeat, log probe, entries and commit index in one."""

    term: Term
    prev_index: Index
    prev_term: Term
    entries: tuple[Entry, ...]
    commit: Index
    round: int = 0
    """Number of the latest leadership check (§8); echoed, it proves that this leader still led when it was sent."""
    digest_index: Index = 0
    digest: int = 0
    """Rolling hash of commands and results applied up to `digest_index`; 0 where there is none to compare."""
    directory: Directory | None = None
    """For a follower that does not answer: it may be new, or have slept while others moved."""
    history: int = 0
    """Of the leader's log, 0 if it has none; a follower of another one does not follow (C14)."""
    stamp: int = 0
    """The leader's number for what it sends about now; 0: an older node's."""
    echoes: tuple[tuple[NodeId, int], ...] = ()
    """The latest number that the leader has received of each follower (see `core/freshness.py`)."""
    age_ms: int = -1
    """For how long at most no quorum is known to have followed this leader, when it sent this; -1: none ever was."""
    quiesce: bool = False
    """There is nothing to do: who holds all that there is may sleep until something happens."""


class AppendReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="a"):
    """Answer to `AppendRequest`; on refusal it carries enough to skip a whole term (§5.3, B22 to B24)."""

    term: Term
    request_term: Term
    success: bool
    prev_index: Index
    """The request's."""
    match_index: Index
    """On success prev_index + len(entries) of the request (B20); on refusal 0."""
    conflict_index: Index = 0
    conflict_term: Term = 0
    round: int = 0
    """The request's."""
    unestablished: bool = False
    """The follower's data directory is new: it has no vote yet, and what it acknowledged before may be lost (C14)."""
    command_version: int = 1
    """The newest version of commands that the follower's state machine knows."""
    early: bool = False
    """Sent beside a slow write: this leader was heard; `match_index` is what is on disk, the rest will be answered."""
    echo: int = 0
    """The request's stamp."""
    stamp: int = 0
    """The follower's number for what it sends about now."""
    asleep: bool = False
    """The follower sleeps, as it was asked to, and runs no election timer."""
    restoring: bool = False
    """The follower's state machine restores a snapshot, and could answer nobody; older nodes do not say."""


class SnapshotRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="S"):
    """InstallSnapshot (§7): bytes `[offset, offset + len(data))` of the snapshot that covers the log up to `index`."""

    term: Term
    index: Index
    snapshot_term: Term
    membership: Membership
    offset: int
    data: bytes
    done: bool
    round: int = 0
    history: int = 0
    """Of the leader's log, as in `AppendRequest`."""
    stamp: int = 0
    """The leader's number for what it sends about now; 0: an older node's."""


class SnapshotReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="s"):
    """Answer to `SnapshotRequest`."""

    term: Term
    request_term: Term
    index: Index
    """The request's."""
    next_offset: int
    """Where the follower wants to go on; meaningless once `installed`."""
    installed: bool
    """The follower holds everything up to `index`, from this snapshot or already before it."""
    round: int = 0
    echo: int = 0
    """The stamp of the request that is answered, or of a later one; 0 if the chunk was stored for an earlier leader."""


class ReadIndexRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="R"):
    """A follower asks the leader up to where it must have applied before it may answer reads (thesis 6.4)."""

    term: Term
    read_id: int
    lease: bool = False
    """The leader's lease will do (thesis 6.4.1)."""


class ReadIndexReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="r"):
    """Answer to `ReadIndexRequest`; `index` is None when the replier cannot lead the read."""

    term: Term
    read_id: int
    index: Index | None


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="T"):
    """The leader asks its successor to start an election at once (thesis 3.10)."""

    term: Term
    slow: tuple[tuple[NodeId, float], ...] = ()
    """Who should not lead for how long, because its disk did not keep up; older nodes do not say."""


class ForwardRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="F"):
    """A follower passes clients' commands on to the leader; no part of Raft, it rides on the same connection.

    Only the leader of `term` may take it, and only once: `(origin, number)` tells repetitions apart.
    """

    term: Term
    origin: int
    """Drawn anew whenever the sender starts."""
    number: int
    """Counts up from 1 per origin."""
    commands: tuple[bytes, ...]


class ForwardReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="f"):
    """Results of forwarded commands, in order; each is (status, value).

    status 0: value is the result. 1: the machine's `apply` raised, value is the text. 2: not appended here, value is
    the leader's id if known. 3: lost, the index went to another term. 4: overloaded. 5: stopped or stepped down, the
    command may still take effect. 6: a change of the membership or a transfer was refused, value is the reason.
    """

    origin: int
    number: int
    """The request's."""
    results: tuple[tuple[int, bytes], ...]


class Beat(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="B"):
    """A node's sign of life to another, of no group, in place of the heartbeats of those that sleep."""

    life: int
    """Another number each time the node starts."""
    asks: bool = False
    """The sender would like to hear a sign of life, too."""


class RemoteCommands(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="C"):
    """A node passes clients' commands on to one that hosts their group, which it does not; no part of Raft.

    The other takes them once: `(origin, number)` tells repetitions apart.
    """

    origin: int
    """Drawn anew whenever the sender starts."""
    number: int
    """Counts up from 1 per origin, over commands and queries."""
    commands: tuple[bytes, ...]
    history: int = 0
    """Of the log of the sender's first group, which tells clusters of one name apart; 0: none is known, or said."""


class RemoteQuery(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="Q"):
    """A node asks one that hosts a group what its state machine answers to `query`."""

    origin: int
    number: int
    query: bytes
    consistency: str
    staleness_s_max: float = 0.0
    """The bound of a bounded read; 0: there is none, or the sender is an older node, which passes none on."""
    history: int = 0
    """As in `RemoteCommands`."""


class RemoteReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="c"):
    """Results of `RemoteCommands`, or the answer to a `RemoteQuery`: each is (status, value).

    Statuses are those of `ForwardReply`, and more that `raftline.runtime.remote` names.
    """

    origin: int
    number: int
    """The request's."""
    first: int
    """The position in the request of the first result here: many large ones come in several replies."""
    results: tuple[tuple[int, bytes], ...]


Message: TypeAlias = (
    VoteRequest
    | VoteReply
    | AppendRequest
    | AppendReply
    | SnapshotRequest
    | SnapshotReply
    | ReadIndexRequest
    | ReadIndexReply
    | TimeoutNow
    | ForwardRequest
    | ForwardReply
    | Beat
    | RemoteCommands
    | RemoteQuery
    | RemoteReply
)
"""What travels between nodes; on the wire a MessagePack array whose first element is the tag."""
