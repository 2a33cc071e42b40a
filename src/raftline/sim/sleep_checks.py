"""Who may fall asleep (A30), worked out from what a replica has just said and what it holds.

A sleeper starts nothing by itself, so whoever sleeps while something is left to be done may leave it undone for ever.
"""

from typing import Any

from raftline.core.events import Event, Received
from raftline.core.messages import AppendRequest
from raftline.core.state import RaftState
from raftline.errors import SafetyViolation
from raftline.sim.majorities import can_decide

__all__ = ["check_follower_sleeps", "check_leader_sleeps"]


def check_follower_sleeps(state: RaftState, event: Event, reply: Any) -> None:
    """A follower sleeps when its leader asks it to, holds and knows all there is, and says that it sleeps."""
    request = event.message if type(event) is Received and event.sender == state.leader else None
    if type(request) is not AppendRequest or not request.quiesce:
        raise SafetyViolation(f"{state.me}: {type(event).__name__} made it sleep, not its leader (A30)")
    if reply is None or not reply.asleep or not reply.success:
        raise SafetyViolation(f"{state.me}: sleeps and does not say so, but {reply} (A30)")
    if not request.commit == state.commit == state.log.last_index:
        raise SafetyViolation(
            f"{state.me}: sleeps with {state.log.last_index} entries, {state.commit} of them committed, when its "
            f"leader has committed {request.commit} (A30)"
        )


def check_leader_sleeps(state: RaftState, now: float) -> None:
    """A leader sleeps when nothing is left to be done, and whoever answers, a quorum with it, has all there is."""
    last, since = state.log.last_index, now - state.config.election_timeout_s[1]
    if not last == state.commit == state.applied == state.persisted:
        raise SafetyViolation(
            f"{state.me}: sleeps with {last} entries, {state.persisted} on disk, {state.commit} committed and "
            f"{state.applied} applied (A30)"
        )
    if state.transfer is not None or state.change is not None or state.membership.is_joint:
        raise SafetyViolation(f"{state.me}: sleeps in the middle of a change (A30)")
    answering = [node for node, progress in state.progress.items() if progress.heard_at >= since]
    if not can_decide(state.membership, {state.me, *answering}):
        raise SafetyViolation(f"{state.me}: sleeps while nobody but {answering} answers (A30)")
    for node in answering:
        match = state.progress[node].match_index
        if match != last:
            raise SafetyViolation(f"{state.me}: sleeps while {node} holds {match} of {last} entries (A30)")
