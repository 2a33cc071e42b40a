"""§8 Client interaction: the no-op, and reads without writing."""

from typing import Any

from raftline.core.config import CoreConfig
from raftline.core.entries import KIND_NOOP
from raftline.core.events import ReadRequested
from raftline.core.messages import AppendReply, AppendRequest, ReadIndexReply, ReadIndexRequest
from raftline.core.ready import ReadOutcome

FULL = CoreConfig(guard_lost_disk=False, pre_vote=False)


def _outcomes(one: Any) -> list[ReadOutcome]:
    return [outcome for ready in one.readies for outcome in ready.reads]


def _ack(one: Any, name: str, index: int, round_: int) -> None:
    term = one.state.term
    one.receive(name, AppendReply(term, term, True, index, index, round=round_))  # noqa: FBT003


def test_a_new_leader_opens_its_term_with_an_empty_entry(server: Any) -> None:
    """So that it learns what is committed, and older entries commit without waiting for a client (§8, L47)."""
    one = server(config=FULL, terms=[1], term=1)
    one.lead()
    assert one.state.log.entry(2).kind == KIND_NOOP
    _ack(one, "n2", 2, 0)
    assert one.state.commit == 2


def test_a_read_waits_for_a_round_that_a_majority_answers(server: Any) -> None:
    """Without hearing from a majority after the read came in, this leader may have been deposed (G3)."""
    one = server(config=FULL)
    one.lead()
    _ack(one, "n2", 1, 0)
    sent = one.step(ReadRequested(7))
    rounds = {message.round for _, message in sent if type(message) is AppendRequest}
    assert rounds == {1}
    _ack(one, "n2", 1, 0)
    assert _outcomes(one) == [], "an answer to an earlier message proves nothing"
    _ack(one, "n3", 1, 1)
    assert _outcomes(one) == [ReadOutcome(7, 1)]


def test_reads_wait_for_an_entry_of_the_leaders_own_term(server: Any) -> None:
    """Before that a new leader does not know what is committed (§8)."""
    one = server(config=FULL, terms=[1, 1], term=1)
    one.lead()
    one.step(ReadRequested(1))
    _ack(one, "n2", 2, 5)
    assert _outcomes(one) == []
    _ack(one, "n2", 3, 5)
    _ack(one, "n2", 3, one.state.reads.round)
    assert _outcomes(one) == [ReadOutcome(1, 3)]


def test_reads_that_wait_share_a_round(server: Any) -> None:
    """A hundred reads cost what one costs."""
    one = server(config=FULL)
    one.lead()
    _ack(one, "n2", 1, 0)
    one.step(ReadRequested(1))
    for number in range(2, 101):
        one.raft.step(ReadRequested(number), one.now)
    one.settle()
    assert one.state.reads.round == 1
    _ack(one, "n2", 1, 1)
    assert one.state.reads.round == 2
    _ack(one, "n2", 1, 2)
    assert len(_outcomes(one)) == 100


def test_a_follower_asks_the_leader_once_for_all_its_reads(server: Any) -> None:
    """The leader's answer is the index that must be applied here (thesis 6.4)."""
    one = server(config=FULL)
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    one.raft.step(ReadRequested(1), one.now)
    one.raft.step(ReadRequested(2), one.now)
    ((to, question),) = one.settle()
    assert to == "n2"
    assert type(question) is ReadIndexRequest
    one.receive("n2", ReadIndexReply(1, question.read_id, 5))
    assert _outcomes(one) == [ReadOutcome(1, 5), ReadOutcome(2, 5)]


def test_a_late_answer_to_an_earlier_question_is_not_taken(server: Any) -> None:
    """Also not one to an earlier life of this replica: the numbers begin anywhere."""
    one, other = server(config=FULL), server(config=FULL, seed=2)
    questions = []
    for replica in (one, other):
        replica.receive("n2", AppendRequest(1, 0, 0, (), 0))
        ((_, question),) = replica.step(ReadRequested(1))
        questions.append(question)
    other.receive("n2", ReadIndexReply(1, questions[0].read_id, 1))
    assert _outcomes(other) == []


def test_reads_are_answered_with_an_error_when_leadership_changes(server: Any) -> None:
    """Never dropped: on the leader, on a follower, and for a follower that asked."""
    one = server(config=FULL)
    one.lead()
    one.step(ReadRequested(1))
    one.receive("n3", ReadIndexRequest(1, 77))
    sent = one.receive("n2", AppendRequest(5, 0, 0, (), 0))
    assert ReadOutcome(1, None) in _outcomes(one)
    assert ("n3", ReadIndexReply(5, 77, None)) in sent
    one.step(ReadRequested(2))
    one.receive("n3", AppendRequest(6, 0, 0, (), 0))
    assert ReadOutcome(2, None) in _outcomes(one)


def test_without_a_leader_a_read_fails_at_once(server: Any) -> None:
    """Nobody can vouch for it."""
    one = server(config=FULL)
    one.step(ReadRequested(3))
    assert _outcomes(one) == [ReadOutcome(3, None)]


def test_who_does_not_lead_vouches_for_nothing(server: Any) -> None:
    """A follower that is asked says so (G3, L10)."""
    one = server(config=FULL)
    assert one.answer("n3", ReadIndexRequest(0, 9)) == ReadIndexReply(0, 9, None)
