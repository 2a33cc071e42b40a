"""THE TABLE: role × message → handler. A reader sees the whole protocol here, one row per line.

Each pair is in exactly one of three places: `HANDLED`, `IGNORED` (with the reason that goes to the trace) or
`IMPOSSIBLE` (only a broken promise leads there). A test proves that none is missing and none is in two.
"""

from collections.abc import Callable
from typing import Any

from raftline.core import election, following, read_index, replication, snapshots
from raftline.core.ids import NodeId
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    ReadIndexReply,
    ReadIndexRequest,
    SnapshotReply,
    SnapshotRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftline.core.state import RaftState, Role

__all__ = ["HANDLED", "IGNORED", "IMPOSSIBLE", "Handler"]

Handler = Callable[[RaftState, NodeId, Any], str | None]
"""Changes the state; returns None, or the reason why the message changed nothing."""

_FOLLOWER, _PRE, _CANDIDATE, _LEADER = Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER

HANDLED: dict[tuple[Role, type], Handler] = {
    (_FOLLOWER, VoteRequest): election.on_vote_request,
    (_PRE, VoteRequest): election.on_vote_request,
    (_CANDIDATE, VoteRequest): election.on_vote_request,
    (_LEADER, VoteRequest): election.on_vote_request,
    (_PRE, VoteReply): election.on_vote_reply,
    (_CANDIDATE, VoteReply): election.on_vote_reply,
    (_FOLLOWER, AppendRequest): following.on_append_request,
    (_PRE, AppendRequest): following.on_append_request,
    (_CANDIDATE, AppendRequest): following.on_append_request,
    (_LEADER, AppendReply): replication.on_append_reply,
    (_FOLLOWER, SnapshotRequest): snapshots.on_snapshot_request,
    (_PRE, SnapshotRequest): snapshots.on_snapshot_request,
    (_CANDIDATE, SnapshotRequest): snapshots.on_snapshot_request,
    (_LEADER, SnapshotReply): snapshots.on_snapshot_reply,
    (_FOLLOWER, ReadIndexRequest): read_index.refuse_read,
    (_PRE, ReadIndexRequest): read_index.refuse_read,
    (_CANDIDATE, ReadIndexRequest): read_index.refuse_read,
    (_LEADER, ReadIndexRequest): read_index.on_read_index_request,
    (_FOLLOWER, ReadIndexReply): read_index.on_read_index_reply,
    (_FOLLOWER, TimeoutNow): election.on_timeout_now,
}

IGNORED: dict[tuple[Role, type], str] = {
    (_FOLLOWER, VoteReply): "the election is over",
    (_LEADER, VoteReply): "the election is won already",
    (_FOLLOWER, AppendReply): "no longer leads",
    (_PRE, AppendReply): "no longer leads",
    (_CANDIDATE, AppendReply): "no longer leads",
    (_FOLLOWER, SnapshotReply): "no longer leads",
    (_PRE, SnapshotReply): "no longer leads",
    (_CANDIDATE, SnapshotReply): "no longer leads",
    (_PRE, ReadIndexReply): "its reads were answered when the leader was given up",
    (_CANDIDATE, ReadIndexReply): "its reads were answered when the leader was given up",
    (_LEADER, ReadIndexReply): "its reads were answered when leadership changed",
    (_PRE, TimeoutNow): "gave the leader up already",
    (_CANDIDATE, TimeoutNow): "runs for leader already",
    (_LEADER, TimeoutNow): "leads already",
}

IMPOSSIBLE: dict[tuple[Role, type], str] = {
    (_LEADER, AppendRequest): "two leaders in one term (§5.2, A21)",
    (_LEADER, SnapshotRequest): "two leaders in one term (§5.2, A21)",
}
