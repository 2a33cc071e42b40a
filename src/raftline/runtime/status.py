"""What a node says of itself: one value, the same words in INFO, in metrics, in logs and in `raftline status`."""

import msgspec

from raftline.core.ids import Index, NodeId, Term
from raftline.replica.sessions import Session

__all__ = ["MemberStatus", "SessionStatus", "Status"]


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An open session as this node has applied it."""

    session: int
    sequence: int
    """The last command that was carried out in it, 0 if none was."""
    reply_bytes: int
    reply_kept: bool
    """A retry of the last command is answered with its reply; else only that it was carried out is known."""
    idle_ms: int
    """By the log's time, which advances with commands only."""
    born: int = 0
    """The index of the entry that opened it, in the group that drew its number."""

    @staticmethod
    def of(session_id: int, session: Session, time_ms: int) -> "SessionStatus":
        """Return what is known of a session at the log's time `time_ms`."""
        return SessionStatus(
            session=session_id,
            sequence=session.sequence,
            reply_bytes=len(session.reply),
            reply_kept=not session.reply_forgotten,
            idle_ms=max(0, time_ms - session.used_ms),
            born=session.born,
        )


class MemberStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One member as this node sees it; positions of others are known to the leader only, else None."""

    node_id: NodeId
    address: str
    voter: bool
    """It counts for majorities now, in either half of a joint membership."""
    role: str | None
    match_index: Index | None
    lag_entries: int | None
    heard_s_ago: float | None
    mode: str | None
    leaving: bool = False
    """It votes until the change under way is committed, and is out of the group then."""
    promoting: bool = False
    """A learner that will vote as soon as it has caught up."""
    priority: int = 0
    caught_up: str | None = None
    """Of a learner, known to the leader only: empty if it is fit to vote, else why not."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """compacted <= snapshot <= applied <= commit <= last, and persisted <= last."""

    node_id: NodeId
    cluster_id: str
    role: str
    """leader, candidate, follower or learner; waiting, stranger or removed: no member; stopped, or failed: stopped."""
    leader_id: NodeId | None
    leader_address: str | None
    term: Term
    compacted_index: Index
    snapshot_index: Index
    applied_index: Index
    commit_index: Index
    last_index: Index
    persisted_index: Index
    log_bytes: int
    """Payload of the log from the compacted index on."""
    log_memory_bytes: int
    """How much of it is in memory; the rest is on disk only."""
    pending_requests: int
    apply_errors: int
    sessions: int
    digest: int
    disk_batches: int
    snapshots_taken: int
    snapshots_installed: int
    snapshot_in_progress: bool
    established: bool
    members: tuple[MemberStatus, ...]
    command_version: int = 1
    """The newest version of commands that may be proposed: every member's state machine knows it."""
    membership_index: Index = 0
    """The entry that brought the members in force; above `commit_index` the change is not committed yet."""
    change: str | None = None
    """The change of the membership under way, in words."""
    trouble: str | None = None
    """What keeps this node from serving and does not mend by itself: it was removed, or a majority is lost."""
    transfer_to: NodeId | None = None
    """Whom this leader is handing over to."""
    session_reply_bytes: int = 0
    """Replies remembered for retries, over all sessions."""
