"""The paper's "Rules for Servers": the conclusions drawn from recorded facts, after every event.

Handlers never commit, elect or step down by themselves; each rule below is one sentence of Figure 2 or of the thesis.
"""

from typing import Final

from raftline.core.changing import conclude_membership
from raftline.core.history import adopt_history, claimed_history
from raftline.core.quiescence import consider_sleep
from raftline.core.quorum import agreed, has_quorum
from raftline.core.read_index import conclude_reads, start_round_if_due
from raftline.core.reasons import no_quorum, silence, votes
from raftline.core.role_changes import Why
from raftline.core.state import RaftState, Role
from raftline.core.transfer import conclude_transfer, look_for_successor, on_transfer_timer
from raftline.core.transitions import (
    ask_for_word,
    become_candidate,
    become_follower,
    become_leader,
    become_pre_candidate,
)

__all__ = ["conclude", "on_timer"]

_STANDS_BACK: Final = 5
"""So many of the longest election timeouts others have, from when a leader was heard last, to elect the next one."""


def on_timer(state: RaftState) -> None:
    """Rules that follow from time alone; the deadline is checked again (A24)."""
    if state.role is Role.LEADER:
        on_transfer_timer(state)
        look_for_successor(state)
        _step_down_without_quorum(state)
        consider_sleep(state)
    elif state.now >= state.election_deadline and state.may_campaign:
        if _stands_back(state):
            become_follower(state, state.term, None, silence(state))
            state.restart_election_timer()
        elif not (state.role is Role.PRE_CANDIDATE and _is_first_start(state) and _is_granted(state)):
            _start_election(state, silence(state))  # else the round is over, and `_count_votes` concludes
    elif state.now >= state.election_deadline:
        if state.leader is not None:
            become_follower(state, state.term, None, silence(state))  # a learner waits for the next one to speak (A28)
        if state.must_ask:
            ask_for_word(state)


def conclude(state: RaftState) -> None:
    """Draw every conclusion that the facts allow now."""
    if state.role is Role.PRE_CANDIDATE or state.role is Role.CANDIDATE:
        _count_votes(state)
    if state.role is Role.LEADER:
        if state.must_recount:
            _advance_commit(state)
        if state.reads.waiting and start_round_if_due(state):
            state.must_recount = True
        if state.must_recount:
            _confirm_reads(state)
        state.must_recount = False
        if state.must_watch:
            conclude_membership(state)
            conclude_transfer(state)
        if state.now >= state.sought_after and state.role is Role.LEADER and not state.asleep:
            look_for_successor(state)


def _start_election(state: RaftState, why: Why) -> None:
    """Election timeout elapses: start an election (§5.2), or ask first (thesis 9.6)."""
    if state.config.pre_vote or not state.established:
        become_pre_candidate(state, why)
    else:
        become_candidate(state, why)


def _stands_back(state: RaftState) -> bool:
    """Say whether the others may elect one of them first: this replica restores a snapshot, and could answer nobody.

    Not for ever: where its log alone is up to date, nobody else can be elected before it has led (§5.4.1).
    """
    return state.is_restoring and state.now < state.leader_heard_at + _STANDS_BACK * state.config.election_timeout_s[1]


def _count_votes(state: RaftState) -> None:
    """Votes from a majority: become leader; from a pre-vote: start the real election (A16, A18)."""
    if not _is_granted(state):
        return
    if state.role is Role.CANDIDATE:
        become_leader(state)
        return
    bootstrap = _is_first_start(state)
    if bootstrap and not _everybody_answered(state) and state.now < state.election_deadline:
        return  # somebody has not answered yet: it may be the one that is left of a cluster (C14)
    if state.established or bootstrap:
        become_candidate(state, votes(state, "pre-votes"), bootstrap=bootstrap)
        conclude(state)


def _is_granted(state: RaftState) -> bool:
    granted = [node for node, yes in state.votes.items() if yes]
    return has_quorum(state.membership, granted)


def _everybody_answered(state: RaftState) -> bool:
    return all(node in state.votes for node in (*state.membership.voters, *state.membership.outgoing))


def _is_first_start(state: RaftState) -> bool:
    """Say whether a majority of the voters is blank, this one among them, and nobody is known who is not (C14)."""
    is_blank = state.config.guard_lost_disk and state.knows_no_entries
    return is_blank and has_quorum(state.membership, state.blank_peers)


def _advance_commit(state: RaftState) -> None:
    """A majority stores an entry of my own term: it and all before it are committed (§5.4.2, B11)."""
    if state.commit == state.log.last_index:
        return
    stored = {node: progress.match_index for node, progress in state.progress.items()}
    stored[state.me] = state.persisted
    index = agreed(state.membership, stored)
    if index > state.commit and state.log.term_at(index) == state.term:
        state.commit = index
        if not state.history:
            adopt_history(state, claimed_history(state))


def _confirm_reads(state: RaftState) -> None:
    """A majority answered in this term after the read came in: this leader was not deposed before it (§8)."""
    if not state.reads.confirming:
        return
    answered = {node: progress.acked_round for node, progress in state.progress.items()}
    answered[state.me] = state.reads.round
    conclude_reads(state, agreed(state.membership, answered))
    if state.reads.waiting:
        start_round_if_due(state)


def _step_down_without_quorum(state: RaftState) -> None:
    """No majority was heard for a whole election timeout: stop leading, so that clients get an error (thesis 6.2)."""
    if not state.config.check_quorum:
        return
    oldest = state.now - state.config.election_timeout_s[1]
    heard = [node for node, progress in state.progress.items() if progress.heard_at >= oldest]
    if not has_quorum(state.membership, [*heard, state.me]):
        become_follower(state, state.term, None, no_quorum(state))
