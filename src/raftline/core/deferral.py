"""What may be stepped together with the next event, whenever that comes: what nobody waits for.

A turn of the driver costs the same whatever it is about, and of the acknowledgements of one entry only those count that
commit it. Nothing is left out: what waits is stepped in the next turn, before whatever comes on the same way, at the
latest when the next timer is due; so there has to be one, and whoever sleeps puts nothing off.
"""

from raftline.core.ids import NodeId
from raftline.core.messages import AppendReply
from raftline.core.quorum import has_quorum
from raftline.core.state import RaftState, Role

__all__ = ["disk_may_wait", "reply_may_wait"]


def reply_may_wait(state: RaftState, sender: NodeId, reply: AppendReply) -> bool:
    """Say whether an answer of a follower only tells that it, too, stores what is committed (§5.3).

    A heartbeat's answer never waits: leases, rounds of reads and the quorum's last sign of life are made of those.
    """
    progress = state.progress.get(sender)
    return (
        progress is not None
        and reply.success
        and reply.prev_index < reply.match_index <= state.commit
        and reply.term == reply.request_term == state.term
        and progress.next_index > state.log.last_index
        and (progress.sent_commit >= state.commit or not _has_commit_notices(state))
        and not (reply.early or reply.asleep or reply.unestablished)
        and not (state.reads.waiting or state.reads.confirming)
        and not (state.must_watch or state.asleep)
    )


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
