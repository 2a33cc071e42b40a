"""What may be stepped together with the next event, whenever that comes: what nobody waits for.

A turn of the driver costs the same whatever it is about, and of the acknowledgements of one entry only those count that
commit it. Nothing is left out: what waits is stepped in the next turn, before whatever comes on the same way, at the
latest when the next timer is due; so there has to be one, and whoever sleeps puts nothing off.
"""

from raftline.core.ids import NodeId
from raftline.core.messages import AppendReply
from raftline.core.progress import Mode, PeerProgress
from raftline.core.quorum import has_quorum
from raftline.core.state import RaftState, Role

__all__ = ["disk_may_wait", "read_may_wait", "reply_may_wait"]


def reply_may_wait(state: RaftState, sender: NodeId, reply: AppendReply) -> bool:
    """Say whether an answer of a follower only tells what a majority told before (§5.3, §8).

    It stores what is committed, or took part in a round of reads that is confirmed. A mere heartbeat's answer never
    waits: leases and the leader's sign that it is followed are made of those.
    """
    progress = state.progress.get(sender)
    return (
        progress is not None
        and reply.success
        and (reply.prev_index < reply.match_index or _is_late_in_round(state, progress, reply))
        and reply.match_index <= state.commit
        and reply.term == reply.request_term == state.term
        and progress.next_index > state.log.last_index
        and (progress.sent_commit >= state.commit or not _has_commit_notices(state))
        and not (reply.early or reply.asleep or reply.unestablished)
        and not (state.reads.waiting or state.reads.confirming)
        and not (state.must_watch or state.asleep)
    )


def _is_late_in_round(state: RaftState, progress: PeerProgress, reply: AppendReply) -> bool:
    """Say whether a follower answers a round after the majority, as one that always does, and nothing else."""
    return (
        progress.acked_round < reply.round
        and progress.match_index >= reply.match_index
        and progress.mode is Mode.REPLICATE
        and progress.was_heard
        and progress.is_trusted
        and progress.is_restoring == reply.restoring
        and progress.command_version == reply.command_version
        and not state.config.lease_reads
    )


def read_may_wait(state: RaftState) -> bool:
    """Say whether a read that comes now could not even be asked for: a round, or a question, is under way (§8).

    Its end brings an event, or the timer does; what has come by then shares the next one.
    """
    if state.asleep:
        return False
    if state.role is Role.LEADER:
        return bool(state.reads.confirming)
    return state.role is Role.FOLLOWER and state.leader is not None and state.reads.asked != 0


def _has_commit_notices(state: RaftState) -> bool:
    """Say whether a follower hears of a commit before the next heartbeat (B27), some time after it answered."""
    return state.config.commit_notice_s < state.config.heartbeat_interval_s


def disk_may_wait(state: RaftState) -> bool:
    """Say whether nothing follows from what this replica wrote: as a follower, or as a leader alone in having it.

    What a follower says depends on the disk and leaves as soon as that is done, without a step (C1).
    """
    if state.asleep or state.leader is None:
        return False
    if state.role is not Role.LEADER:
        return state.role is Role.FOLLOWER
    for progress in state.progress.values():
        if progress.match_index > state.commit:
            return False
    return not state.must_watch and not has_quorum(state.membership, (state.me,))
