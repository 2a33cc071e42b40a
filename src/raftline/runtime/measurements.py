"""Everything that a node measures, gathered at one moment for whoever shows it: metrics, INFO, `raftline top`.

Reading it changes nothing; all counters run since the node started.
"""

import msgspec

from raftline.core.ids import NodeId
from raftline.runtime.group_loop import GroupLoop
from raftline.runtime.histogram import Histogram
from raftline.runtime.status import Status
from raftline.transport.status import PeerStatus

__all__ = ["Measurements", "measure"]

_LAG_ENTRIES_MAX = 10_000
"""A node that has more than this to apply is catching up."""
_FRESH_TIMEOUTS = 3
"""Longest time, in election timeouts, since this log held all that a leader had committed."""


class Measurements(msgspec.Struct, frozen=True, kw_only=True):
    """One node at one moment."""

    status: Status
    not_ready: str
    """Why this node cannot serve all requests now; empty if it can."""
    stages: dict[str, Histogram]
    """Stage → how long it took, in batches' own numbers; see `raftline.runtime.stages`."""
    elections: int
    pre_votes: int
    leader_changes: int
    role_changes: dict[tuple[str, str], int]
    """Role and cause → how often."""
    log_memory_bytes: int
    """How much of the log is in memory, of all groups of this node."""
    requests_waiting: int
    """Requests that wait for an outcome, in all groups, or were answered just now."""
    proposals_queued: int
    """Commands that wait to be appended, or for a leader."""
    messages_queued: int
    """Messages of peers that wait for a turn."""
    apply_queued: int
    """Committed entries that wait to be applied."""
    writes_queued: int
    """Batches that wait for the disk, the one being written not counted."""
    unwritten_bytes: int
    """What is not on disk yet takes so much memory, of all groups of this node, about."""
    unwritten_bytes_max: int
    """From there on a leader of this node takes no more proposals."""
    snapshot_bytes: int
    """Size of the last snapshot taken here; 0 before the first."""
    restoring: bool
    """The state machine is being replaced by a snapshot."""
    peers: dict[NodeId, PeerStatus]
    """Links to the others, empty if the transport does not count."""
    unhosted_groups: int = 0
    """Groups that the log holds and nobody added: what is theirs of the log stays."""


def measure(group: GroupLoop, status: Status, peers: dict[NodeId, PeerStatus], now: float) -> Measurements:
    """Gather everything; `now` is the event loop's time."""
    replica = group.replica
    return Measurements(
        status=status,
        not_ready=_why_not_ready(group, status, now) if group.ended_by is None else str(group.ended_by),
        stages=group.stages.by_name(),
        elections=group.roles.elections,
        pre_votes=group.roles.pre_votes,
        leader_changes=group.roles.leader_changes,
        role_changes=dict(group.roles.changes),
        log_memory_bytes=group.host.log_memory.size,
        requests_waiting=group.host.admission.count,
        proposals_queued=group.queued_proposals,
        messages_queued=group.queued_messages,
        apply_queued=replica.backlog,
        writes_queued=group.persistence.waiting_count,
        unwritten_bytes=group.host.writer.behind_bytes,
        unwritten_bytes_max=group.host.config.pending_bytes_max,
        snapshot_bytes=group.snapshotting.last_size_bytes,
        restoring=replica.restoring is not None,
        peers=peers,
        unhosted_groups=len(group.host.wal.recovered),
    )


def _why_not_ready(group: GroupLoop, status: Status, now: float) -> str:
    """Return why requests would wait or fail here."""
    replica = group.replica
    core = replica.core
    if status.role in {"removed", "stranger", "waiting"}:
        return f"this node is no member of the group: {status.role}"
    if replica.restoring is not None:
        return f"the snapshot up to {replica.restoring.index} is being restored"
    if core.leader is None:
        return "no leader is known"
    index = core.state.commit
    if not (core.is_leader or core.is_asleep):  # one that hears no quorum steps down by itself
        level_at, index = core.level
        seconds_max = _FRESH_TIMEOUTS * core.state.config.election_timeout_s[1]
        if now - level_at > seconds_max:
            return f"this log has not held all that the leader had committed for more than {seconds_max:g} s"
    lag = max(index, core.state.commit) - replica.applied
    if lag > _LAG_ENTRIES_MAX:
        return f"{lag} committed entries are not applied yet"
    return ""
