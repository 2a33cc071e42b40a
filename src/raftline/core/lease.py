"""Reads on a lease (thesis 6.4.1): opt-in, because they trust clocks to some degree.

Whoever heard from a leader helps to elect no other within the shortest election timeout, on its own clock, whatever
terms come along meanwhile and even right after a start. So a leader that a quorum answered knows that nobody else leads
until that time after it *sent* the round, shortened by what its clock may run slow.
"""

from raftline.core.quorum import agreed
from raftline.core.state import RaftState, Role

__all__ = ["lease_holds", "lease_until", "on_clock_doubted", "pause_s_max", "renew_lease"]

_NEVER = float("-inf")


def lease_holds(state: RaftState) -> bool:
    """Say whether no other leader can have been elected up to now."""
    return state.now < lease_until(state)


def lease_until(state: RaftState) -> float:
    """Return until when nobody else can be elected, on this replica's clock; minus infinity where nothing is sure.

    Never during a transfer nor after one of this term, because TimeoutNow goes round the promise (thesis 6.4.1).
    """
    if not state.config.lease_reads or state.role is not Role.LEADER:
        return _NEVER
    if state.lease_is_fenced or state.transfer is not None or state.log.term_at(state.commit) != state.term:
        return _NEVER
    answered = {node: progress.acked_round for node, progress in state.progress.items()}
    answered[state.me] = state.reads.round
    round_ = agreed(state.membership, answered)
    started = state.reads.started
    while started and started[0][0] < round_:
        del started[0]
    if not started or started[0][0] != round_:
        return _NEVER
    return started[0][1] + state.config.election_timeout_s[0] / (1 + state.config.clock_drift_max)


def renew_lease(state: RaftState) -> None:
    """Begin a round with each heartbeat, so that an undisturbed leader always has a lease."""
    if state.config.lease_reads and state.now >= state.reads.round_at + state.config.heartbeat_interval_s:
        state.reads.open_round(state.now)


def on_clock_doubted(state: RaftState, _event: object = None) -> str | None:
    """Let no lease hold that was taken before: this node may have stood still, its clock perhaps with it."""
    state.reads.forget_rounds()
    return None


def pause_s_max(state: RaftState) -> float:
    """Return after how long without a step a replica has to be taken for one that was paused."""
    return state.config.election_timeout_s[0] / 2 if state.config.lease_reads else float("inf")
