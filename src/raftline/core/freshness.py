"""How fresh the local state is, by nothing but clocks of those who vouch for it: messages may have been held for long.

Everybody numbers what it sends, and what it gets comes back as an echo. A leader knows from echoes up to when a quorum
followed it; it tells how long ago that was, and which number of each follower it has received. So a follower reckons
from when it sent that number itself: when the message left the leader, and when it arrived, prove nothing.
"""

from math import ceil

from raftline.core.ids import Index, NodeId
from raftline.core.messages import AppendRequest
from raftline.core.quorum import has_quorum
from raftline.core.stamps import Proof
from raftline.core.state import RaftState, Role

__all__ = ["freshness", "note_proof", "proof"]

_NEVER = float("-inf")
_UNKNOWN_MS = -1


def proof(state: RaftState) -> tuple[tuple[tuple[NodeId, int], ...], int]:
    """Return which numbers this leader has received, and for how many ms at most no quorum is known to follow it.

    As of a little ago, so that followers share one message.
    """
    found = state.proof
    if found is None or state.now >= found.made_at + state.stamps.apart_s:
        echoes = tuple((node, progress.stamp) for node, progress in state.progress.items() if progress.stamp)
        found = state.proof = Proof(state.now, followed_at(state, state.now), echoes)
    if found.followed_at == _NEVER:
        return found.echoes, _UNKNOWN_MS
    return found.echoes, ceil(1000 * (state.now - found.followed_at))


def note_proof(state: RaftState, request: AppendRequest) -> None:
    """Remember that all that was committed at some time is within the request's commit index, if it proves so.

    Its leader was followed by a quorum until `age_ms` before it sent this, and it sent this after it had received what
    this replica sent under the number that it echoes. So whatever another leader committed, it did so afterwards.
    """
    if request.age_ms == _UNKNOWN_MS:
        return
    for node, number in request.echoes:
        if node == state.me:
            at = state.stamps.used_at(number) - request.age_ms / 1000
            if at > state.fresh_at:
                state.fresh_at, state.fresh_index = at, request.commit
            return


def freshness(state: RaftState, now: float) -> tuple[float, Index]:
    """Return a time, and the index up to which one has to have applied to hold all that was committed at that time.

    A leader that has committed nothing of its term yet does not count: it may not know what was committed before.
    """
    if state.role is not Role.LEADER:
        return state.fresh_at, state.fresh_index
    if state.log.term_at(state.commit) != state.term:
        return _NEVER, state.commit  # an earlier leader may have committed more (§8)
    return followed_at(state, now), state.commit


def followed_at(state: RaftState, now: float) -> float:
    """Return the latest time up to `now` at which a quorum followed this leader; minus infinity if none is known."""
    times = sorted({now, *(progress.followed_at for progress in state.progress.values())}, reverse=True)
    for time in times:
        followers = [node for node, progress in state.progress.items() if progress.followed_at >= time]
        if has_quorum(state.membership, [*followers, state.me]):
            return time
    return _NEVER
