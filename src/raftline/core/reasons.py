"""Why a role changes, in words, read off the state before the transition forgets it.

Pure sentences about facts; what is decided is decided elsewhere.
"""

from raftline.core.role_changes import Cause, Why
from raftline.core.state import RaftState

__all__ = ["no_quorum", "silence", "votes"]

_NEVER = float("-inf")


def silence(state: RaftState) -> Why:
    """The election timeout passed: say who was not heard, or whose votes a candidate waited for in vain."""
    if state.votes:
        given = [node for node, yes in state.votes.items() if yes]
        refused = [node for node, yes in state.votes.items() if not yes]
        words = f"no majority in time: votes of {', '.join(given)}"
        words += f", refused by {', '.join(refused)}" if refused else ""
    elif state.membership.voters == (state.me,):
        words = "the only voter"
    elif state.leader_heard_at == _NEVER:
        words = "no leader was heard since the start"
    else:
        who = f"leader {state.leader}" if state.leader is not None else "a leader"
        words = f"{who} was not heard for {state.now - state.leader_heard_at:.3f} s"
    return Why(Cause.ELECTION_TIMEOUT, words)


def votes(state: RaftState, what: str) -> Why:
    """A majority granted the votes, or pre-votes, that this replica asked for."""
    return Why(Cause.VOTES, f"{what} of {', '.join(node for node, yes in state.votes.items() if yes)}")


def no_quorum(state: RaftState) -> Why:
    """A leader heard no majority for a whole election timeout: say when each voter was heard last."""
    heard = [
        f"{node} {state.now - progress.heard_at:.3f} s ago" if progress.was_heard else f"{node} never"
        for node, progress in state.progress.items()
        if state.membership.is_voter(node)
    ]
    seconds = state.config.election_timeout_s[1]
    return Why(Cause.QUORUM_LOST, f"no majority was heard for {seconds} s: {', '.join(heard)}")
