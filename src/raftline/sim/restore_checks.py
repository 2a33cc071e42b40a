"""Who may lead before its state machine has restored a snapshot (D21), worked out from what a core has applied.

Such a leader could answer nobody. But its log may be the only one of a majority that is up to date, so it waits for
others no longer than they may need.
"""

from raftline.core.events import Event, Received, TimerDue
from raftline.core.messages import TimeoutNow
from raftline.core.state import RaftState
from raftline.errors import SafetyViolation

__all__ = ["check_leaves_it_to_others", "may_stand_back"]

_TIMEOUTS = 5


def may_stand_back(state: RaftState) -> bool:
    """Say whether it may wait for another one to be elected when its timer runs out."""
    waits_s = _TIMEOUTS * state.config.election_timeout_s[1]
    return _restores(state) and state.now < state.leader_heard_at + waits_s


def check_leaves_it_to_others(state: RaftState, event: Event, *, begins: bool) -> None:
    """Nobody who restores `begins` to run for leader because it is told to, or before others had their time."""
    if not begins or not _restores(state):
        return
    told_to = type(event) is Received and type(event.message) is TimeoutNow
    if told_to or (type(event) is TimerDue and may_stand_back(state)):
        silent_s = state.now - state.leader_heard_at
        raise SafetyViolation(
            f"{state.me}: {type(event).__name__} made it run for leader {silent_s:.3f} s after it heard one, with "
            f"{state.applied} applied of a snapshot up to {state.snapshot.index} (D21)"
        )


def _restores(state: RaftState) -> bool:
    return state.applied < state.snapshot.index
