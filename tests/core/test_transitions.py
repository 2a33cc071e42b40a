"""The changes of role, each in one piece; the promises that even `-O` must not remove."""

from typing import Any

import pytest

from raftline.core.messages import AppendReply, AppendRequest, VoteReply
from raftline.core.progress import Mode
from raftline.core.role_changes import Cause, Why
from raftline.core.transitions import become_candidate, become_follower, become_leader
from raftline.errors import SafetyViolation

WHY = Why(Cause.HIGHER_TERM, "the test says so")


def test_terms_never_go_back(bench: Any) -> None:
    """A step down into the past raises (F3)."""
    one = bench(term=4)
    with pytest.raises(SafetyViolation, match="back from term 4 to 3"):
        become_follower(one.state, 3, None, WHY)


def test_a_leader_never_follows_another_in_its_own_term(bench: Any) -> None:
    """That would be two leaders in one term (A21)."""
    one = bench()
    one.lead()
    with pytest.raises(SafetyViolation, match="n2 claims"):
        become_follower(one.state, 1, "n2", WHY)


def test_a_step_down_within_a_term_keeps_the_vote(bench: Any) -> None:
    """The vote goes only with the term (A12, L6)."""
    one = bench()
    one.lead()
    become_follower(one.state, 1, None, WHY)
    assert one.state.vote == "n1"
    assert not one.state.hard_state_changed


def test_a_leader_that_steps_down_gets_a_timer(bench: Any) -> None:
    """It had none running; a follower's is not touched by a new term (A10)."""
    one = bench()
    one.lead()
    one.cluster.now += 10
    one.receive("n2", AppendReply(5, 1, False, 0, 0))  # noqa: FBT003
    low, high = one.state.config.election_timeout_s
    assert low <= one.state.election_deadline - one.now < high
    deadline = one.state.election_deadline
    one.cluster.now += 0.1
    one.receive("n2", VoteReply(9, 9, granted=False))
    assert (one.core.term, one.state.election_deadline) == (9, deadline)


def test_each_term_won_begins_with_fresh_progress(bench: Any) -> None:
    """Nothing measured in an earlier leadership counts (B19)."""
    one = bench(terms=[1, 1])
    one.lead()
    one.receive("n2", AppendReply(2, 2, True, 2, 2))  # noqa: FBT003
    assert one.state.progress["n2"].match_index == 2
    one.receive("n2", AppendRequest(3, 2, 1, (), 0))
    assert one.state.progress == {}
    one.lead()
    for progress in one.state.progress.values():
        assert (progress.mode, progress.match_index, progress.next_index) == (Mode.PROBE, 0, 3)


def test_only_a_candidate_becomes_leader_and_a_leader_never_runs(bench: Any) -> None:
    """Anything else is a bug (A18, A23)."""
    one = bench()
    with pytest.raises(AssertionError, match="candidate"):
        become_leader(one.state)
    one.lead()
    with pytest.raises(AssertionError, match="itself"):
        become_candidate(one.state, WHY)


def test_a_deposed_leader_keeps_sending_nothing(bench: Any) -> None:
    """Its retries end with its term (E12, B25)."""
    one = bench(terms=[1])
    one.lead()
    one.receive("n2", AppendReply(5, 2, False, 1, 0))  # noqa: FBT003
    assert one.wait(0.3) == []
