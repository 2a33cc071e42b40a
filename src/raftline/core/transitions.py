"""The changes of role: `become_*`, each in one piece (F2), in the words of §5.1 and §5.2.

A transition changes state and queues what must be said; it decides nothing about when it is called.
"""

from raftline.core.entries import KIND_NOOP, Entry
from raftline.core.history import draw_history
from raftline.core.ids import NodeId, Term
from raftline.core.messages import ReadIndexReply, VoteRequest
from raftline.core.pending import Departure
from raftline.core.progress import PeerProgress
from raftline.core.ready import Answer, ReadOutcome, Verdict
from raftline.core.reasons import votes
from raftline.core.role_changes import Cause, Why
from raftline.core.state import NOBODY, RaftState, Role
from raftline.errors import SafetyViolation

__all__ = [
    "append_entries",
    "ask_for_word",
    "become_candidate",
    "become_follower",
    "become_leader",
    "become_pre_candidate",
    "fail_reads",
    "hear_leader",
    "sync_progress",
]


def become_follower(state: RaftState, term: Term, leader: NodeId | None, why: Why) -> None:
    """Step down to, or stay, follower in `term`; the vote goes only with the old term (A12)."""
    if term < state.term:
        raise SafetyViolation(f"{state.me} would go back from term {state.term} to {term}")
    was, leader_before = state.role, state.leader
    was_leader = was is Role.LEADER
    term_rose = term > state.term
    if term_rose:
        state.term = term
        state.vote = None
        state.hard_state_changed = True
    elif was_leader and leader is not None:
        raise SafetyViolation(f"{state.me} leads term {term} and {leader} claims to lead it too")
    if state.leader != leader or was_leader:
        fail_reads(state)
    state.role = Role.FOLLOWER
    state.leader = leader
    state.votes = {}
    state.blank_peers = NOBODY
    if (was, leader_before) != (Role.FOLLOWER, leader):
        state.note_role_change(was, leader_before, why)
    if was_leader:
        _answer_requests(state, handed_over=term_rose)
        state.progress = {}
        state.departing = {}
        state.must_announce = False
        state.chunks_wanted.clear()
        state.restart_election_timer()  # a leader has no election timer running (A10)


def hear_leader(state: RaftState, leader: NodeId) -> None:
    """Note a valid message of this term's leader: the timer restarts (A2), a candidate gives up (A20)."""
    if state.role is not Role.FOLLOWER or state.leader != leader:
        if state.role is Role.FOLLOWER and state.leader is not None:
            raise SafetyViolation(f"{state.leader} and {leader} both claim to lead term {state.term}")
        why = Why(Cause.LEADER_HEARD, f"{leader} leads term {state.term}")
        become_follower(state, state.term, leader, why)
    state.leader_heard_at = state.now
    state.restart_election_timer()


def become_pre_candidate(state: RaftState, why: Why) -> None:
    """Ask whether an election could be won, changing nothing that others see (thesis 9.6)."""
    fail_reads(state)
    was, leader_before = state.role, state.leader
    state.role = Role.PRE_CANDIDATE
    state.leader = None
    state.note_role_change(was, leader_before, why)
    state.votes = {state.me: True}
    state.blank_peers = frozenset((state.me,)) if state.is_blank else NOBODY
    state.restart_election_timer()
    request = VoteRequest(
        term=state.term + 1,
        last_index=state.log.last_index,
        last_term=state.log.last_term,
        pre_vote=True,
        bootstrap=state.knows_no_entries,
        history=state.history,
    )
    _ask_voters(state, request)


def ask_for_word(state: RaftState) -> None:
    """Ask the voters as a candidate would, so that they tell a stranger that it is one, and again after a timeout.

    It is a pre-vote for the term that is, not the next: no answer to it is ever counted, here or there.
    """
    state.restart_election_timer()
    last_index, last_term = state.log.last_index, state.log.last_term
    _ask_voters(state, VoteRequest(state.term, last_index, last_term, pre_vote=True, history=state.history))


def become_candidate(state: RaftState, why: Why, *, transfer: bool = False, bootstrap: bool = False) -> None:
    """Start an election in one step: term, own vote, timer, requests fixed here and now (A1, E11)."""
    assert state.role is not Role.LEADER, "a leader does not run against itself (A23)"
    fail_reads(state)
    has_predecessor = transfer and state.leader is not None and not state.membership.is_voter(state.leader)
    state.predecessor = state.leader if has_predecessor else None
    state.handover_term = state.term + 1 if transfer else state.handover_term
    was, leader_before = state.role, state.leader
    state.role = Role.CANDIDATE
    state.leader = None
    state.term += 1
    state.note_role_change(was, leader_before, why)
    state.vote = state.me
    state.established = state.established or bootstrap
    state.hard_state_changed = True
    state.votes = {state.me: True}
    state.restart_election_timer()
    request = VoteRequest(
        term=state.term,
        last_index=state.log.last_index,
        last_term=state.log.last_term,
        transfer=transfer,
        bootstrap=bootstrap,
        history=state.history,
    )
    _ask_voters(state, request)
    if state.predecessor is not None:
        state.send(state.predecessor, request)  # its vote counts for nothing, but it has to hear of the term


def become_leader(state: RaftState) -> None:
    """Take over: fresh progress for everybody (B19), a no-op if configured, and an announcement at once (A19)."""
    assert state.role is Role.CANDIDATE, "only a candidate wins, and once (A18)"
    assert state.vote == state.me, "a winner voted for itself"
    state.role = Role.LEADER
    state.leader = state.me
    state.note_role_change(Role.CANDIDATE, None, votes(state, "votes"))
    state.votes = {}
    state.blank_peers = NOBODY
    state.progress = {}
    state.proof = None
    state.storing = None
    state.retired = False
    state.lease_is_fenced = False
    state.drowsy_since = float("inf")
    state.stirred_at = state.now
    state.reads.forget_rounds()
    # Who restores a snapshot leads because nobody else could, and looks for somebody else at once.
    patience_s = 0.0 if state.is_restoring else state.config.priority_handover_s
    state.handover_after = state.sought_after = state.now + patience_s
    if state.predecessor is not None:
        # It led until just now: requests that wait there have to find the way here.
        state.departing[state.predecessor] = Departure("", state.configuration.index)
    sync_progress(state)
    state.must_announce = True
    state.must_recount = True
    if state.config.noop:
        data = draw_history(state) if state.is_blank and state.config.guard_lost_disk else b""
        append_entries(state, [Entry(state.log.last_index + 1, state.term, data, KIND_NOOP)])


def append_entries(state: RaftState, entries: list[Entry]) -> None:
    """Put entries behind the log's end; a membership among them takes effect now (§6)."""
    state.log.append(entries)
    if state.configuration.on_appended(entries) and state.role is Role.LEADER:
        sync_progress(state)


def sync_progress(state: RaftState) -> None:
    """Keep progress for the other members and those on their way out; a newcomer is probed from the log's end."""
    others = [node for node in (*state.membership.everyone(), *state.departing) if node != state.me]
    known = state.progress
    first_echo = 0 if known.keys() >= set(others) else state.stamps.renew(state.now)
    state.progress = {
        node: known.get(node) or PeerProgress(state.log.last_index + 1, state.now, first_echo) for node in others
    }
    state.must_recount = True
    state.must_watch = True


def fail_reads(state: RaftState) -> None:
    """Answer every read that waits with "ask again": whoever was to vouch for it no longer can."""
    for read in state.reads.take_all():
        if read.origin is None:
            state.read_outcomes.append(ReadOutcome(read.read_id, None))
        else:
            state.send(read.origin, ReadIndexReply(state.term, read.read_id, None))


def _answer_requests(state: RaftState, *, handed_over: bool) -> None:
    """Answer whoever asked this leader for a change or a transfer: it leads no longer."""
    if state.change is not None:
        reason = f"the leadership was lost before the outcome was known: {state.change.what}"
        state.answers.append(Answer(state.change.request_id, Verdict.UNKNOWN, reason))
        state.change = None
    transfer, state.transfer = state.transfer, None
    if transfer is not None and transfer.request_id is not None:
        if handed_over and transfer.told_at is not None:
            state.answers.append(Answer(transfer.request_id, Verdict.DONE))
        else:
            reason = f"the leadership was lost before {transfer.to} was ready to take over"
            state.answers.append(Answer(transfer.request_id, Verdict.UNKNOWN, reason))


def _ask_voters(state: RaftState, request: VoteRequest) -> None:
    for node in state.membership.everyone():
        if node != state.me and state.membership.is_voter(node):
            state.send(node, request)
