"""Reads without writing: each is answered exactly once, and never by who may have been deposed."""

from typing import Any

import pytest

from raftline.core.events import ReadRequested
from raftline.core.messages import AppendReply, AppendRequest, ReadIndexReply, ReadIndexRequest, VoteReply

HEARTBEAT_S = 0.075


def _ok(one: Any, name: str, match: int, round_: int) -> Any:
    term = one.core.term
    return one.receive(name, AppendReply(term, term, True, match, match, round=round_))  # noqa: FBT003


def _leader(bench: Any, **settings: Any) -> Any:
    one = bench(noop=True, **settings)
    one.lead()
    for name in one.membership.voters[1:]:
        _ok(one, name, one.state.log.last_index, 0)
    assert one.state.log.term_at(one.state.commit) == one.core.term
    return one


def _follower(bench: Any) -> Any:
    one = bench(term=1)
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    return one


def _read(one: Any, read_id: int) -> Any:
    one.node.ask(read_id, ReadRequested(read_id))
    return one.taken()


@pytest.mark.parametrize(("size", "needed"), [(3, 1), (4, 2), (5, 2)])
def test_a_read_needs_a_majority_that_answers_after_it_came(bench: Any, size: int, needed: int) -> None:
    """The leader counts itself; answers to earlier messages prove nothing (§8)."""
    one = _leader(bench, size=size)
    _read(one, 7)
    for name in one.membership.voters[1:]:
        _ok(one, name, 1, 0)
    assert one.node.outcomes == {}
    for number in range(needed):
        assert one.node.outcomes == {}
        _ok(one, f"n{number + 2}", 1, 1)
    assert one.node.outcomes == {7: 1}


def test_a_refusal_also_proves_who_leads(bench: Any) -> None:
    """A follower whose log lags accepts the leader all the same."""
    one = _leader(bench)
    _read(one, 1)
    term = one.core.term
    one.receive("n2", AppendReply(term, term, False, 1, 0, conflict_index=1, round=1))  # noqa: FBT003
    assert one.node.outcomes == {1: 1}


def test_a_round_that_was_lost_is_repeated_by_the_heartbeat(bench: Any) -> None:
    """Every message carries the number of the round."""
    one = _leader(bench)
    assert {message.round for _, message in _read(one, 1)} == {1}
    assert {message.round for _, message in one.wait(HEARTBEAT_S)} == {1}


def test_the_index_is_the_one_of_when_the_round_began(bench: Any) -> None:
    """Whatever is committed meanwhile is not waited for."""
    one = _leader(bench)
    _read(one, 1)
    one.node.propose(b"x")
    _ok(one, "n2", 2, 0)
    assert one.state.commit == 2
    _ok(one, "n3", 1, 1)
    assert one.node.outcomes == {1: 1}


def test_reads_before_the_first_commit_of_a_term_wait(bench: Any) -> None:
    """A new leader does not know yet what is committed (§8)."""
    one = bench(noop=True, terms=[1])
    one.lead()
    assert _read(one, 1) == []
    _ok(one, "n2", 1, 0)
    sent = _ok(one, "n2", 2, 0)
    assert {message.round for _, message in sent} == {1}
    _ok(one, "n2", 2, 1)
    assert one.node.outcomes == {1: 2}


def test_a_single_voter_answers_at_once(bench: Any) -> None:
    """It is the majority."""
    one = bench(size=1, noop=True)
    one.time_out()
    _read(one, 1)
    _read(one, 2)
    assert one.node.outcomes == {1: 1, 2: 1}


def test_a_followers_question_waits_for_a_round_too(bench: Any) -> None:
    """And its answer goes back to who asked (thesis 6.4)."""
    one = _leader(bench)
    term = one.core.term
    sent = one.receive("n3", ReadIndexRequest(term, 55))
    assert {message.round for _, message in sent} == {1}
    sent = _ok(one, "n2", 1, 1)
    assert ("n3", ReadIndexReply(term, 55, 1)) in sent


def test_a_question_of_an_old_term_is_answered_with_the_present_one(bench: Any) -> None:
    """So that the follower looks for the leader of this term (E6)."""
    one = bench(term=4)
    assert one.answer("n2", ReadIndexRequest(3, 9)) == ReadIndexReply(4, 9, None)


def test_an_unanswered_question_is_asked_again_with_what_came_since(bench: Any) -> None:
    """Under a new number, for all reads that wait; the late answer to the first is not taken."""
    one = _follower(bench)
    ((_, first),) = _read(one, 1)
    assert _read(one, 2) == [], "one question at a time"
    assert one.core.next_deadline == one.now + 2 * HEARTBEAT_S
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    ((_, second),) = one.wait(2 * HEARTBEAT_S)
    assert second.read_id != first.read_id
    one.receive("n2", ReadIndexReply(1, first.read_id, 0))
    assert one.node.outcomes == {}
    one.receive("n2", ReadIndexReply(1, second.read_id, 0))
    assert one.node.outcomes == {1: 0, 2: 0}
    assert one.core.next_deadline == one.state.election_deadline


def test_reads_that_came_while_one_was_asked_go_next(bench: Any) -> None:
    """They need an answer of their own: the first question was asked before them."""
    one = _follower(bench)
    ((_, first),) = _read(one, 1)
    _read(one, 2)
    ((_, second),) = one.receive("n2", ReadIndexReply(1, first.read_id, 0))
    assert one.node.outcomes == {1: 0}
    one.receive("n2", ReadIndexReply(1, second.read_id, 0))
    assert one.node.outcomes == {1: 0, 2: 0}


def test_a_leader_that_cannot_vouch_says_so(bench: Any) -> None:
    """The read fails, once; asking again is the caller's business."""
    one = _follower(bench)
    ((_, question),) = _read(one, 1)
    one.receive("n3", ReadIndexReply(1, question.read_id, 9))
    assert one.node.outcomes == {}, "only the leader's word counts"
    one.receive("n2", ReadIndexReply(1, question.read_id, None))
    one.receive("n2", ReadIndexReply(1, question.read_id, 0))
    assert one.node.outcomes == {1: None}


@pytest.mark.parametrize("how", ["new leader", "timeout", "higher term", "vote"])
def test_a_followers_reads_fail_with_its_leader(bench: Any, how: str) -> None:
    """Those asked and those that wait, once each (G3)."""
    one = _follower(bench)
    _read(one, 1)
    _read(one, 2)
    if how == "new leader":
        one.receive("n3", AppendRequest(2, 0, 0, (), 0))
    elif how == "timeout":
        one.time_out()
    elif how == "higher term":
        one.receive("n3", AppendReply(9, 9, False, 0, 0))  # noqa: FBT003
    else:
        one.receive("n3", VoteReply(9, 9, granted=False))
    assert one.node.outcomes == {1: None, 2: None}


@pytest.mark.parametrize("how", ["deposed", "no quorum"])
def test_a_leaders_reads_fail_when_it_steps_down(bench: Any, how: str) -> None:
    """Those in a round, those that wait for one, and those of followers (G3, A9)."""
    one = _leader(bench, check_quorum=True)
    term = one.core.term
    _read(one, 1)
    _read(one, 2)
    one.receive("n3", ReadIndexRequest(term, 5))
    sent = one.receive("n2", AppendRequest(term + 1, 0, 0, (), 0)) if how == "deposed" else one.wait(2.0)
    assert one.node.outcomes == {1: None, 2: None}
    assert [message.index for to, message in sent if to == "n3" and isinstance(message, ReadIndexReply)] == [None]


def test_a_leader_elected_again_in_between_leaves_no_read_behind(bench: Any) -> None:
    """The question was of the old term: it is asked again in the new one, and answered once."""
    one = _follower(bench)
    ((_, first),) = _read(one, 1)
    one.receive("n2", AppendRequest(2, 0, 0, (), 0))
    one.receive("n2", ReadIndexReply(1, first.read_id, 0))
    assert one.node.outcomes == {}
    ((to, second),) = [out for out in one.wait(2 * HEARTBEAT_S) if isinstance(out[1], ReadIndexRequest)]
    assert (to, second.term) == ("n2", 2)
    one.receive("n2", ReadIndexReply(2, second.read_id, 0))
    assert one.node.outcomes == {1: 0}


def test_a_deposed_leader_confirms_nothing(bench: Any) -> None:
    """Its messages are refused with the new term: the round is never complete (G3)."""
    one = _leader(bench)
    _read(one, 1)
    term = one.core.term
    one.receive("n2", AppendReply(term + 1, term, False, 1, 0, round=1))  # noqa: FBT003
    assert one.node.outcomes == {1: None}
