"""Votes and pre-votes, given and counted."""

from typing import Any

import pytest

from raftline.core.messages import AppendRequest, TimeoutNow, VoteReply, VoteRequest
from raftline.core.state import Role


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(3, 2, True), (4, 2, True), (2, 2, False), (9, 1, False), (1, 3, True), (0, 0, False)],
)
def test_the_election_restriction(bench: Any, last_index: int, last_term: int, *, granted: bool) -> None:
    """A higher last term, or the same and no shorter a log; length alone proves nothing (A13)."""
    one = bench(terms=[1, 2, 2], term=4)
    assert one.answer("n2", VoteRequest(5, last_index, last_term)).granted == granted


def test_the_base_counts_when_the_log_behind_it_is_empty(bench: Any) -> None:
    """The snapshot's last index and term stand for the log (D5)."""
    one = bench(snapshot=(6, 3), term=4)
    assert not one.answer("n2", VoteRequest(5, 9, 2)).granted
    assert not one.answer("n2", VoteRequest(6, 5, 3)).granted
    assert one.answer("n2", VoteRequest(7, 6, 3)).granted


def test_a_vote_is_on_disk_before_it_is_given(bench: Any) -> None:
    """Term and candidate together (C2, C3, L35, L36)."""
    one = bench()
    one.node.slow_disk = True
    assert one.receive("n2", VoteRequest(5, 0, 0)) == []
    one.node.persist()
    ((to, reply),) = one.taken()
    assert (to, reply.granted) == ("n2", True)
    one.node.crash()
    one.node.start()
    assert (one.core.term, one.state.vote) == (5, "n2")
    assert not one.answer("n3", VoteRequest(5, 9, 4)).granted


def test_a_vote_that_did_not_reach_the_disk_was_never_given(bench: Any) -> None:
    """A crash before the write: the next life is free to vote for somebody else (C2)."""
    one = bench()
    one.node.slow_disk = True
    one.receive("n2", VoteRequest(5, 0, 0))
    one.node.crash()
    one.node.start()
    one.node.slow_disk = False
    assert one.taken() == []
    assert one.answer("n3", VoteRequest(5, 0, 0)).granted


def test_a_pre_vote_by_somebody_behind_counts(bench: Any) -> None:
    """A voter that was away is still in an older term: its answer is to the question all the same."""
    one = bench(pre_vote=True, term=9)
    one.time_out()
    one.receive("n2", VoteReply(5, 10, granted=True, pre_vote=True))
    assert one.core.role is Role.CANDIDATE
    assert one.core.term == 10


def test_a_pre_vote_of_an_earlier_question_does_not_count(bench: Any) -> None:
    """The term asked about ties the answer to its question (E1)."""
    one = bench(pre_vote=True, term=9)
    one.time_out()
    one.receive("n2", VoteReply(9, 9, granted=True, pre_vote=True))
    one.receive("n3", VoteReply(9, 10, granted=True))
    assert one.core.role is Role.PRE_CANDIDATE


def test_a_pre_vote_refused_with_a_higher_term_teaches_it(bench: Any) -> None:
    """The next question is about a term that can be won (A14)."""
    one = bench(pre_vote=True, term=3)
    one.time_out()
    one.receive("n2", VoteReply(8, 4, granted=False, pre_vote=True))
    assert (one.core.role, one.core.term) == (Role.FOLLOWER, 8)
    sent = one.time_out()
    assert {message.term for _, message in sent} == {9}


@pytest.mark.parametrize("term", [2, 3, 4])
def test_a_pre_vote_about_a_term_that_has_begun_is_refused(bench: Any, term: int) -> None:
    """With the present term, so that who asks catches up."""
    one = bench(term=4)
    reply = one.answer("n2", VoteRequest(term, 9, 3, pre_vote=True))
    assert (reply.granted, reply.pre_vote, reply.term, reply.request_term) == (False, True, 4, term)


def test_who_gives_its_vote_stops_asking_for_itself(bench: Any) -> None:
    """Late answers to its own pre-vote must not start an election against the candidate it chose (A4)."""
    one = bench(pre_vote=True, term=4)
    one.time_out()
    assert one.answer("n2", VoteRequest(4, 0, 0)).granted
    one.receive("n3", VoteReply(4, 5, granted=True, pre_vote=True))
    assert (one.core.role, one.core.term) == (Role.FOLLOWER, 4)


def test_a_pre_candidate_still_knows_whom_it_voted_for(bench: Any) -> None:
    """Asking clears nothing (A12)."""
    one = bench(pre_vote=True, term=4, vote="n3")
    one.time_out()
    assert not one.answer("n2", VoteRequest(4, 9, 3)).granted


def test_a_leader_gives_no_vote_in_its_own_term(bench: Any) -> None:
    """It voted for itself (A11)."""
    one = bench()
    one.lead()
    assert not one.answer("n2", VoteRequest(1, 9, 1)).granted
    assert one.core.is_leader


def test_a_leader_refuses_pre_votes_and_overlooks_elections(bench: Any) -> None:
    """As long as it leads; a transfer it has asked for itself is another matter (§6, thesis 3.10)."""
    one = bench(pre_vote=True)
    one.lead()
    term = one.core.term
    assert not one.answer("n2", VoteRequest(term + 1, 9, term, pre_vote=True)).granted
    assert one.core.receive("n2", VoteRequest(term + 1, 9, term)) == "a leader was heard just now (§6)"
    assert one.answer("n2", VoteRequest(term + 1, 9, term, transfer=True)).granted
    assert not one.core.is_leader


def test_votes_of_strangers_do_not_count(bench: Any) -> None:
    """Counted is over the members (A16)."""
    one = bench()
    one.time_out()
    assert one.core.receive("n9", VoteReply(1, 1, granted=True)) == "not a voter"
    assert one.core.role is Role.CANDIDATE


def test_a_node_without_a_vote_does_not_run_when_told_to(bench: Any) -> None:
    """Neither one that might have lost its disk (C14, thesis 3.10)."""
    one = bench(established=False, term=1, guard_lost_disk=True, pre_vote=True)
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    assert one.core.receive("n2", TimeoutNow(1)) == "cannot lead"
    assert one.core.receive("n3", TimeoutNow(1)) == "not from the leader of this term"
    assert one.core.role is Role.FOLLOWER


def test_requests_for_votes_carry_what_was_true_when_the_election_began(bench: Any) -> None:
    """Term, last index and last term are fixed in the same step (E11)."""
    one = bench(terms=[1, 2], term=2)
    one.node.slow_disk = True
    one.time_out()
    one.receive("n2", AppendRequest(7, 2, 2, (), 0))
    one.node.persist(10)
    requests = [message for _, message in one.taken() if isinstance(message, VoteRequest)]
    assert {(request.term, request.last_index, request.last_term) for request in requests} == {(3, 2, 2)}
