"""Promises of forwarding: a frame is taken once, in its term, and every command of it is answered."""

from typing import Any

from raftline.core.messages import ForwardReply, ForwardRequest
from raftline.errors import ApplyError, ChangeRefused, NotLeader, Overloaded, ProposalLost, Stopped
from raftline.runtime.forwarding import ForwardedBatch, Forwarding, SeenFrames
from raftline.runtime.requests import Proposal


def _request(term: int, number: int, origin: int = 9) -> ForwardRequest:
    return ForwardRequest(term, origin, number, (b"x",))


def test_a_repeated_frame_is_not_taken_twice() -> None:
    """The network may repeat: found by the simulator as an increment that was applied twice (G7)."""
    seen = SeenFrames()
    assert seen.is_new("n2", _request(3, 1))
    assert not seen.is_new("n2", _request(3, 1))
    assert seen.is_new("n2", _request(3, 1, origin=8)), "a sender that restarted counts from 1 again"
    assert seen.is_new("n3", _request(3, 1))
    assert seen.is_new("n2", _request(4, 1)), "another term, another leadership"
    assert not seen.is_new("n2", _request(3, 2)), "and an old term is over"


def test_what_is_remembered_is_bounded_and_still_exact() -> None:
    """What is too late to be told apart is not taken."""
    seen = SeenFrames(kept_max=10)
    for number in range(1, 100):
        assert seen.is_new("n2", _request(1, number))
    assert not any(seen.is_new("n2", _request(1, number)) for number in range(1, 100))


def test_outcomes_travel_there_and_back() -> None:
    """Each kind of outcome reaches the caller as what it was; what was not appended may be sent again."""
    frames: list[ForwardRequest] = []
    told: list[Any] = []
    forwarding = Forwarding(9, lambda _, frame: frames.append(frame))
    proposals = [Proposal(b"%d" % n, told.append, 1.0) for n in range(6)]
    forwarding.forward("n1", 3, proposals)
    (frame,) = frames
    assert (frame.term, frame.commands) == (3, (b"0", b"1", b"2", b"3", b"4", b"5"))
    assert all(proposal.may_take_effect for proposal in proposals)
    replies: list[ForwardReply] = []
    batch = ForwardedBatch(frame, replies.append)
    outcomes: list[bytes | Exception] = [
        b"result",
        ApplyError("raised"),
        NotLeader("n2", None),
        ProposalLost("lost"),
        Overloaded("busy"),
        Stopped("stopped"),
    ]
    for position, outcome in reversed(list(enumerate(outcomes))):
        assert not replies
        batch.slot(position)(outcome)
    again = forwarding.on_reply(replies[0])
    assert again == [proposals[2]]
    assert not proposals[2].may_take_effect
    assert told[0] == b"result"
    assert [type(outcome) for outcome in told[1:]] == [ApplyError, ProposalLost, Overloaded, Stopped]
    assert forwarding.on_reply(replies[0]) == [], "a repeated reply changes nothing"


def test_a_large_batch_goes_in_several_frames() -> None:
    """No frame grows with the number of clients."""
    frames: list[ForwardRequest] = []
    forwarding = Forwarding(1, lambda _, frame: frames.append(frame))
    forwarding.forward("n1", 1, [Proposal(b"x" * 300_000, lambda _: None, 1.0) for _ in range(10)])
    assert len(frames) == 4
    assert sum(len(frame.commands) for frame in frames) == 10


def test_a_change_of_leader_leaves_the_outcome_open() -> None:
    """The command may still take effect, and the caller is told so once the former leader had time to answer."""
    told: list[Any] = []
    forwarding = Forwarding(1, lambda *_: None)
    forwarding.forward("n1", 1, [Proposal(b"x", told.append, 1.0)])
    forwarding.on_leader_changed(5.0)
    forwarding.give_up_late(4.9)
    assert told == []
    forwarding.give_up_late(5.0)
    assert told[0].may_take_effect


def test_a_leader_that_handed_over_still_answers() -> None:
    """What it appended has its real result, what it did not goes to its successor (thesis 3.10)."""
    told: list[Any] = []
    frames: list[ForwardRequest] = []
    forwarding = Forwarding(1, lambda _, frame: frames.append(frame))
    forwarding.forward("n1", 1, [Proposal(b"x", told.append, 1.0), again := Proposal(b"y", told.append, 1.0)])
    forwarding.on_leader_changed(5.0)
    assert forwarding.waits_for_former_leader
    assert forwarding.on_reply(ForwardReply(1, frames[0].number, ((0, b"result"), (2, b"")))) == [again]
    forwarding.give_up_late(9.0)
    assert told == [b"result"]
    assert not forwarding.waits_for_former_leader


def test_a_refusal_travels_with_its_reason() -> None:
    """Whoever asked a follower for a change hears the leader's words."""
    told: list[Any] = []
    frames: list[ForwardRequest] = []
    replies: list[ForwardReply] = []
    forwarding = Forwarding(1, lambda _, frame: frames.append(frame))
    forwarding.forward("n1", 1, [Proposal(b"\x03", told.append, 1.0)])
    ForwardedBatch(frames[0], replies.append).slot(0)(ChangeRefused("n9 is no member"))
    assert forwarding.on_reply(replies[0]) == []
    assert type(told[0]) is ChangeRefused
    assert str(told[0]) == "n9 is no member"
    assert not told[0].may_take_effect
