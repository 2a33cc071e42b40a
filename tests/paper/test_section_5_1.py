"""§5.1 Raft basics: roles and terms."""

from typing import Any

from raftline.core.messages import AppendReply, AppendRequest, VoteReply, VoteRequest
from raftline.core.state import Role


def test_servers_begin_as_followers(server: Any) -> None:
    """A server starts as a follower, in the term that its disk remembers (§5.1, C12)."""
    one = server(term=7)
    assert one.state.role is Role.FOLLOWER
    assert one.state.term == 7
    assert one.state.commit == 0
    assert one.state.applied == 0


def test_a_larger_term_in_a_request_is_adopted(server: Any) -> None:
    """A server that sees a larger term takes it over and forgets its vote, whatever the message (A8, A12)."""
    one = server(term=2, vote="n2")
    one.receive("n3", VoteRequest(term=5, last_index=0, last_term=0))
    assert one.state.term == 5
    assert one.state.vote == "n3"


def test_a_larger_term_in_a_reply_is_adopted(server: Any) -> None:
    """Replies carry terms too; a leader that learns of a larger one steps down at once (A9)."""
    one = server()
    one.lead()
    one.receive("n2", AppendReply(9, one.state.term, success=False, prev_index=0, match_index=0))
    assert one.state.role is Role.FOLLOWER
    assert one.state.term == 9
    assert one.state.vote is None


def test_a_candidate_that_learns_of_a_larger_term_becomes_follower(server: Any) -> None:
    """Candidates revert to follower on a larger term (A8)."""
    one = server()
    one.time_out()
    assert one.raft.role.value == "candidate"
    one.receive("n2", VoteReply(4, one.state.term, granted=False))
    assert one.state.role is Role.FOLLOWER
    assert one.state.term == 4


def test_a_request_of_an_old_term_is_refused_with_the_present_one(server: Any) -> None:
    """Stale requests are answered with the larger term, and have no other effect (A14, E6, L42)."""
    one = server(terms=[1, 1], term=3)
    deadline = one.state.election_deadline
    vote = one.answer("n2", VoteRequest(term=2, last_index=9, last_term=2))
    assert (vote.granted, vote.term, vote.request_term) == (False, 3, 2)
    append = one.answer("n2", AppendRequest(2, 0, 0, (), 2))
    assert (append.success, append.term, append.request_term) == (False, 3, 2)
    assert one.log_terms() == [1, 1]
    assert one.state.commit == 0
    assert one.state.leader is None
    assert one.state.election_deadline == deadline


def test_terms_only_rise_and_the_vote_goes_only_with_them(server: Any) -> None:
    """Hearing the leader of the same term does not clear the vote: two votes in a term must be impossible (A12, L6)."""
    one = server(term=3, vote="n2")
    one.receive("n2", AppendRequest(3, 0, 0, (), 0))
    reply = one.answer("n3", VoteRequest(term=3, last_index=5, last_term=2))
    assert not reply.granted
    assert one.state.vote == "n2"
