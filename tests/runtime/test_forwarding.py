"""Promises of forwarding: a frame is taken once, in its term, and every command of it is answered."""

from typing import Any

import pytest

from raftline.core.messages import ForwardReply, ForwardRequest
from raftline.errors import (
    ApplyError,
    ChangeRefused,
    NotLeader,
    OutdatedSequence,
    Overloaded,
    ProposalLost,
    ReplyForgotten,
    SessionClosed,
    Stopped,
)
from raftline.replica.commands import plain, transfer_leadership
from raftline.runtime.arrivals import Arrival
from raftline.runtime.forwarding import ForwardedBatch, Forwarding, SeenFrames, encode_outcome, refused, without_values
from raftline.runtime.requests import Proposal


def _request(term: int, number: int, origin: int = 9) -> ForwardRequest:
    return ForwardRequest(term, origin, number, (b"x",))


def test_a_repeated_frame_is_not_taken_twice() -> None:
    """The network may repeat: found by the simulator as an increment that was applied twice (G7)."""
    seen = SeenFrames()
    assert seen.arrive("n2", _request(3, 1)) is Arrival.NEW
    assert seen.arrive("n2", _request(3, 1)) is Arrival.REPEATED
    assert seen.arrive("n2", _request(3, 1, origin=8)) is Arrival.NEW, "a sender that restarted counts from 1 again"
    assert seen.arrive("n3", _request(3, 1)) is Arrival.NEW
    assert seen.arrive("n2", _request(4, 1)) is Arrival.NEW, "another term, another leadership"
    assert seen.arrive("n2", _request(3, 2)) is Arrival.REPEATED, "and an old term is over"


def test_a_frame_that_was_overtaken_is_refused_and_never_taken() -> None:
    """It was delayed on a connection that broke: taken now, it would turn the order of its node's commands round."""
    seen = SeenFrames()
    assert seen.arrive("n2", _request(1, 2)) is Arrival.NEW
    assert seen.arrive("n2", _request(1, 1)) is Arrival.OVERTAKEN
    assert seen.arrive("n2", _request(1, 1)) is Arrival.REPEATED
    assert refused(_request(1, 1)) == ForwardReply(9, 1, ((2, b""),))


def test_whatever_an_error_says_it_travels() -> None:
    """A frame that cannot be answered would leave everybody waiting whose command it brought."""
    assert encode_outcome(ApplyError("no letter: \ud800")) == encode_outcome(ApplyError("no letter: \\ud800"))


def test_outcomes_travel_there_and_back() -> None:
    """Each kind of outcome reaches the caller as what it was; what was not appended may be sent again."""
    frames: list[ForwardRequest] = []
    told: list[Any] = []
    forwarding = Forwarding(9, lambda _, frame: frames.append(frame))
    proposals = [Proposal(plain(b"%d" % n), told.append, 1.0) for n in range(6)]
    forwarding.forward("n1", 3, proposals)
    (frame,) = frames
    assert (frame.term, frame.commands) == (3, tuple(proposal.command for proposal in proposals))
    assert all(proposal.may_take_effect for proposal in proposals)
    replies: list[ForwardReply] = []
    batch = ForwardedBatch(frame, replies.append, 1 << 20)
    outcomes: list[bytes | Exception] = [
        b"result",
        ApplyError("raised"),
        ProposalLost("lost"),
        Overloaded("busy"),
        Stopped("stopped"),
        NotLeader("n2", None),
    ]
    for position, outcome in reversed(list(enumerate(outcomes))):
        assert not replies
        batch.slot(position)(outcome)
    forwarding.on_reply(replies[0])
    assert forwarding.take_held() == [proposals[5]]
    assert not proposals[5].may_take_effect
    assert told[0] == b"result"
    assert [type(outcome) for outcome in told[1:]] == [ApplyError, ProposalLost, Overloaded, Stopped]
    forwarding.on_reply(replies[0])
    assert forwarding.take_held() == [], "a repeated reply changes nothing"


def test_what_one_message_cannot_carry_is_said_and_takes_nothing_else_along() -> None:
    """Of an answer that is too long for a message nobody would hear; values beyond that are told as lost."""
    told: list[bytes | Exception] = []
    frames: list[ForwardRequest] = []
    forwarding = Forwarding(1, lambda _, frame: frames.append(frame))
    forwarding.forward("n1", 1, [Proposal(b"x", told.append, 1.0) for _ in range(14)])
    replies: list[ForwardReply] = []
    batch = ForwardedBatch(frames[0], replies.append, 32 << 20)
    for position in range(14):
        batch.slot(position)(b"+OK\r\n" if position in (0, 13) else b"v" * (4 << 20))
    forwarding.on_reply(replies[0])
    assert sum(len(value) for _, value in replies[0].results) < 32 << 20
    assert told[0] == told[13] == b"+OK\r\n"
    kinds = [type(outcome) for outcome in told[1:13]]
    assert kinds == sorted(kinds, key=lambda kind: kind is ReplyForgotten)
    assert kinds.count(bytes) >= 7
    assert kinds.count(ReplyForgotten) >= 1


@pytest.mark.parametrize("kind", [SessionClosed, OutdatedSequence, ReplyForgotten])
def test_what_a_session_answers_is_the_same_through_a_follower(kind: type[ApplyError]) -> None:
    """A refusal in a session keeps its class and its words on the way back (G8)."""
    sent: list[ForwardReply] = []
    told: list[Any] = []
    forwarding = Forwarding(1, lambda _to, _request: None)
    forwarding.forward("n1", 1, [Proposal(b"x", told.append, 10.0)])
    ForwardedBatch(ForwardRequest(1, 1, 1, (b"x",)), sent.append, 1 << 20).slot(0)(kind("in words"))
    forwarding.on_reply(sent[0])
    assert [(type(outcome), str(outcome)) for outcome in told] == [(kind, "in words")]


def test_results_that_found_no_room_are_told_as_forgotten() -> None:
    """The commands were carried out, so they are not repeated; what is short, or no result, is told as it is (G5)."""
    told: list[Any] = []
    forwarding = Forwarding(9, lambda _to, _frame: None)
    forwarding.forward("n1", 3, [Proposal(plain(b"%d" % n), told.append, 1.0) for n in range(3)])
    forwarding.on_reply(without_values(ForwardReply(9, 1, ((0, b"x" * 1000), (0, b"short"), (1, b"why " * 100)))))
    assert isinstance(told[0], ReplyForgotten)
    assert "was carried out, and too many replies wait" in str(told[0])
    assert told[1] == b"short"
    assert isinstance(told[2], ApplyError)


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
    forwarding.give_up_late(5.7)
    assert told == []
    forwarding.give_up_late(5.8)
    assert told[0].may_take_effect


def test_nobody_waits_for_the_answers_of_a_leader_that_is_gone() -> None:
    """Its process ended, so it can give none: the caller is told at once that the outcome is open."""
    told: list[Any] = []
    forwarding = Forwarding(1, lambda *_: None)
    forwarding.forward("n1", 1, [Proposal(b"x", told.append, 1.0)])
    forwarding.on_leader_changed(5.0, is_gone=True)
    assert told[0].may_take_effect
    assert not forwarding.waits_for_former_leader


def test_a_leader_that_handed_over_still_answers() -> None:
    """What it appended has its real result, what it did not goes to its successor (thesis 3.10)."""
    told: list[Any] = []
    frames: list[ForwardRequest] = []
    forwarding = Forwarding(1, lambda _, frame: frames.append(frame))
    forwarding.forward(
        "n1", 1, [Proposal(plain(b"x"), told.append, 1.0), again := Proposal(plain(b"y"), told.append, 1.0)]
    )
    forwarding.on_leader_changed(5.0)
    assert forwarding.waits_for_former_leader
    forwarding.on_reply(ForwardReply(1, frames[0].number, ((0, b"result"), (2, b""))))
    assert forwarding.take_held() == [again]
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
    ForwardedBatch(frames[0], replies.append, 1 << 20).slot(0)(ChangeRefused("n9 is no member"))
    forwarding.on_reply(replies[0])
    assert not forwarding.is_holding
    assert type(told[0]) is ChangeRefused
    assert str(told[0]) == "n9 is no member"
    assert not told[0].may_take_effect


APPLIED, NOT_APPENDED, LOST, UNKNOWN = (0, b"result"), (2, b""), (3, b""), (5, b"")


class Passed:
    """Commands 1, 2, ... that were passed on, each in a frame of its own, and what their callers were told."""

    def __init__(self, count: int) -> None:
        self.told: dict[int, Any] = {}
        self.forwarding = Forwarding(1, lambda *_: None)
        self.proposals = {n: Proposal(plain(b"%d" % n), self._teller(n), 1.0) for n in range(1, count + 1)}
        for proposal in self.proposals.values():
            self.forwarding.forward("n1", 1, [proposal])

    def _teller(self, number: int) -> Any:
        def done(outcome: Any) -> None:
            self.told[number] = outcome

        return done

    def reply(self, number: int, *results: tuple[int, bytes]) -> bool:
        """Let the leader answer a frame; return whether a former one has said everything now."""
        return self.forwarding.on_reply(ForwardReply(1, number, results))

    def held(self) -> list[bytes]:
        """Take what may be sent again."""
        return [proposal.command[1:] for proposal in self.forwarding.take_held()]

    def is_lost_for_good(self, number: int) -> bool:
        """Say whether the caller knows that the command did not and will not take effect."""
        return type(self.told.get(number)) is ProposalLost


def test_what_came_back_goes_again_in_its_order() -> None:
    """Whatever order the refusals came in; and until it goes, nothing newer may."""
    passed = Passed(3)
    for number in (2, 3, 1):
        passed.reply(number, NOT_APPENDED)
        assert passed.forwarding.is_holding
    with pytest.raises(AssertionError):
        passed.forwarding.forward("n1", 1, [Proposal(plain(b"4"), lambda _: None, 1.0)])
    assert passed.held() == [b"1", b"2", b"3"]
    assert not passed.forwarding.is_holding
    assert passed.told == {}


def test_what_came_back_waits_for_what_is_newer_and_under_way() -> None:
    """If that is refused too, both go again in order; if it took effect, or may have, the older one is given up."""
    passed = Passed(2)
    passed.reply(1, NOT_APPENDED)
    assert passed.held() == []
    passed.reply(2, NOT_APPENDED)
    assert passed.held() == [b"1", b"2"]
    for outcome in (APPLIED, UNKNOWN):
        passed = Passed(3)
        passed.reply(1, NOT_APPENDED)
        passed.reply(3, NOT_APPENDED)
        passed.reply(2, outcome)
        assert passed.is_lost_for_good(1)
        assert passed.held() == [b"3"]
    passed = Passed(2)
    passed.reply(1, NOT_APPENDED)
    passed.reply(2, LOST)
    assert passed.held() == [b"1"]


def test_what_is_overtaken_when_it_comes_back_is_given_up() -> None:
    """Its caller is told that it did not and will not take effect; also within one frame."""
    passed = Passed(2)
    passed.reply(2, APPLIED)
    passed.reply(1, NOT_APPENDED)
    assert passed.is_lost_for_good(1)
    assert not passed.forwarding.is_holding
    told: list[Any] = []
    forwarding = Forwarding(1, lambda *_: None)
    forwarding.forward("n1", 1, [Proposal(plain(n), told.append, 1.0) for n in (b"1", b"2")])
    forwarding.on_reply(ForwardReply(1, 1, (NOT_APPENDED, APPLIED)))
    assert type(told[0]) is ProposalLost
    assert told[1] == b"result"
    assert not forwarding.is_holding


def test_what_is_newer_and_never_answered_is_waited_for_once() -> None:
    """An answer that got lost must not hold up everything else until its command times out."""
    passed = Passed(3)
    passed.reply(1, NOT_APPENDED)
    passed.reply(3, NOT_APPENDED)
    assert passed.held() == []
    assert passed.held() == [b"3"]
    assert passed.is_lost_for_good(1)


def test_a_change_of_leader_decides_about_what_came_back() -> None:
    """What is newer and unanswered may have taken effect in the old term; the new leader's clients do not wait."""
    passed = Passed(3)
    passed.reply(1, NOT_APPENDED)
    passed.reply(3, NOT_APPENDED)
    passed.forwarding.on_leader_changed(5.0)
    assert passed.is_lost_for_good(1)
    assert passed.held() == [b"3"]
    passed = Passed(2)
    passed.forwarding.on_leader_changed(5.0)
    passed.reply(2, NOT_APPENDED)
    passed.forwarding.give_up_late(5.8)
    assert passed.told[1].may_take_effect
    assert passed.held() == [b"2"]


def test_a_leader_that_handed_over_is_waited_for() -> None:
    """It sends back what it did not take; nothing newer goes before that, and nobody hears of it (thesis 3.10)."""
    passed = Passed(3)
    passed.reply(1, NOT_APPENDED)
    passed.forwarding.on_leader_changed(5.0, handed_over=True)
    assert passed.forwarding.is_holding, "frames 2 and 3 may come back any moment"
    assert passed.held() == []
    assert not passed.reply(3, NOT_APPENDED)
    assert passed.reply(2, NOT_APPENDED), "it has said everything"
    assert passed.held() == [b"1", b"2", b"3"]
    assert not passed.forwarding.is_holding
    assert passed.told == {}


def test_a_leader_that_handed_over_is_not_waited_for_long() -> None:
    """After a heartbeat newer commands go; what comes back then is too late."""
    passed = Passed(2)
    passed.reply(1, NOT_APPENDED)
    passed.forwarding.on_leader_changed(5.0, handed_over=True)
    passed.forwarding.stop_waiting(5.07)
    assert passed.forwarding.is_holding
    passed.forwarding.stop_waiting(5.075)
    assert passed.is_lost_for_good(1)
    assert not passed.forwarding.is_holding


def test_a_node_that_leads_now_takes_nothing_back_after_its_own() -> None:
    """What it had passed on is older than what it appended itself since."""
    passed = Passed(1)
    passed.forwarding.on_leader_changed(5.0)
    passed.forwarding.on_appended_here()
    passed.reply(1, NOT_APPENDED)
    assert passed.is_lost_for_good(1)


def test_a_request_for_the_leader_itself_is_bound_by_no_order() -> None:
    """A change of the membership may take long: no command waits for it, and it waits for none when it comes back."""
    told: list[Any] = []
    forwarding = Forwarding(1, lambda *_: None)
    command, control, later = (
        Proposal(wrapped, told.append, 1.0) for wrapped in (plain(b"x"), transfer_leadership(None), plain(b"y"))
    )
    for proposal in (command, control, later):
        forwarding.forward("n1", 1, [proposal])
    forwarding.on_reply(ForwardReply(1, 3, (LOST,)))
    forwarding.on_reply(ForwardReply(1, 1, (NOT_APPENDED,)))
    assert forwarding.take_held() == [command]
    forwarding.forward("n1", 1, [command])
    forwarding.on_reply(ForwardReply(1, 2, (NOT_APPENDED,)))
    assert not forwarding.is_holding
    forwarding.on_reply(ForwardReply(1, 4, (APPLIED,)))
    assert forwarding.take_held() == [control]


def test_frames_that_nobody_waits_for_are_forgotten() -> None:
    """Their answers were lost and their callers told of the timeout; they may have taken effect."""
    passed = Passed(2)
    passed.proposals[1].finish(Stopped("timeout"))
    passed.forwarding.give_up_late(0.0)
    passed.reply(1, NOT_APPENDED)
    assert not passed.forwarding.is_holding
    passed.proposals[2].finish(Stopped("timeout"))
    passed.forwarding.give_up_late(0.0)
    assert passed.forwarding.take_held() == []
