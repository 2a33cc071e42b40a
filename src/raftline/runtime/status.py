"""What a node says of itself: one value, the same words in INFO, in metrics, in logs and in `raftline status`."""

import msgspec

from raftline.core.ids import Index, NodeId, Term

__all__ = ["MemberStatus", "Status"]


class MemberStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One member as this node sees it; positions of others are known to the leader only, else None."""

    node_id: NodeId
    address: str
    voter: bool
    role: str | None
    match_index: Index | None
    lag_entries: int | None
    heard_s_ago: float | None
    mode: str | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """compacted <= snapshot <= applied <= commit <= last, and persisted <= last."""

    node_id: NodeId
    cluster_id: str
    role: str
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
