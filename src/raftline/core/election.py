"""Votes asked for and votes given (§5.2, §5.4.1), and the pre-vote before them (thesis 9.6).

A node that cannot know whether its empty directory is a first start or a lost disk gives its vote only to a
candidate that saw a majority of empty logs and no other, where nothing can have been acknowledged (C14,
docs/rules.md).
"""

from raftline.core.ids import NodeId
from raftline.core.messages import TimeoutNow, VoteReply, VoteRequest
from raftline.core.role_changes import Cause, Why
from raftline.core.state import RaftState, Role
from raftline.core.transitions import become_candidate, become_follower

__all__ = ["believes_in_leader", "on_timeout_now", "on_vote_reply", "on_vote_request"]


def believes_in_leader(state: RaftState) -> bool:
    """Say whether a leader was heard within the shortest timeout: then nobody else needs votes (§6, K2)."""
    if not state.config.pre_vote:
        return False
    if state.role is Role.LEADER:
        return True
    if state.leader is None and not state.config.lease_reads:
        return False  # with leases the promise outlives the name: a leader may be reading on it
    return state.now < state.leader_heard_at + state.config.election_timeout_s[0]


def on_vote_request(state: RaftState, sender: NodeId, request: VoteRequest) -> str | None:
    """Give or refuse a vote; the term rule has been applied already (A8)."""
    up_to_date = state.log.is_up_to_date(request.last_index, request.last_term)
    may_vote = state.established or (request.bootstrap and not state.entries_elsewhere)
    if request.pre_vote:
        granted = request.term > state.term and up_to_date and may_vote and not believes_in_leader(state)
        state.send(
            sender, VoteReply(state.term, request.term, granted, pre_vote=True, unestablished=state.knows_no_entries)
        )
        return None
    assert request.term == state.term, "the term rule comes first"
    if request.transfer:
        state.handover_term = request.term
    granted = state.vote in (None, sender) and up_to_date and may_vote and state.role is not Role.LEADER
    if state.config.lease_reads and not request.transfer and believes_in_leader(state):
        granted = False
    if granted:
        if state.vote is None or not state.established:
            state.vote = sender
            state.established = True
            state.hard_state_changed = True
        if state.role is Role.PRE_CANDIDATE:
            # Answers to its own question must not cut the candidate short.
            why = Why(Cause.VOTE_GIVEN, f"{sender} got this replica's vote in term {state.term}")
            become_follower(state, state.term, None, why)
        state.restart_election_timer()  # the third of A2's events, and only when granted (A4)
    state.send(sender, VoteReply(state.term, request.term, granted, unestablished=state.knows_no_entries))
    return None


def on_vote_reply(state: RaftState, sender: NodeId, reply: VoteReply) -> str | None:
    """Count a vote that answers the question this replica is asking now (A17)."""
    asking = Role.PRE_CANDIDATE if reply.pre_vote else Role.CANDIDATE
    if state.role is not asking:
        return "answers a question no longer asked"
    if not state.membership.is_voter(sender):
        return "not a voter"
    state.votes[sender] = reply.granted
    if reply.unestablished:
        state.blank_peers |= {sender}
    return None


def on_timeout_now(state: RaftState, sender: NodeId, request: TimeoutNow) -> str | None:
    """Start an election at once because the leader hands over (thesis 3.10)."""
    if request.term != state.term or sender != state.leader:
        return "not from the leader of this term"
    if state.me not in state.membership.voters or not state.established:
        return "cannot lead"
    if state.is_restoring:
        return "could answer nobody: it restores a snapshot"
    state.slow_disks.on_told([slow for slow in request.slow if slow[0] != state.me], state.now)
    become_candidate(state, Why(Cause.TRANSFER, f"{sender} hands over the leadership"), transfer=True)
    return None
