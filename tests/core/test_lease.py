"""Reads on a lease (thesis 6.4.1): when a leader may answer alone, and who has to keep the promise behind it."""

from collections.abc import Callable
from typing import Any

import pytest

from raftline.core.changes import AddLearner
from raftline.core.events import ChangeRequested, ClockDoubted, ReadRequested, TimerDue, TransferRequested
from raftline.core.lease import lease_holds, lease_until
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    ReadIndexReply,
    ReadIndexRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

LOW_S = 0.4
LEASED = {"pre_vote": True, "check_quorum": True, "lease_reads": True, "clock_drift_max": 0.25}
LEASE_S = LOW_S / 1.25


@pytest.fixture
def leading(bench: Any) -> Callable[..., Any]:
    """Make a leader whose followers hold its no-op; no round was answered yet."""

    def make(**settings: Any) -> Any:
        one = bench(noop=True, **LEASED | settings)
        one.lead()
        for name in one.membership.voters[1:]:
            _answer(one, name, round_=0)
        one.taken()
        return one

    return make


def _answer(one: Any, sender: str, round_: int | None = None) -> None:
    """Let `sender` acknowledge everything, and the last round that was begun."""
    state = one.state
    term, last = one.core.term, state.log.last_index
    round_ = state.reads.round if round_ is None else round_
    one.receive(sender, AppendReply(term, term, True, last, last, round=round_))  # noqa: FBT003


def _read(one: Any, number: int = 1) -> int | None:
    """Read on the lease; return the index, None if that has to wait for a round."""
    one.node.ask(number, ReadRequested(number, lease=True))
    return one.node.outcomes.get(number)  # type: ignore[no-any-return]


def test_a_leader_that_a_quorum_answered_reads_alone(leading: Any) -> None:
    """From then on no read needs a message."""
    one = leading()
    assert not lease_holds(one.state), "nobody answered a round yet"
    _answer(one, "n2")
    one.taken()
    assert _read(one) == 1
    assert one.taken() == []


def test_a_lease_counts_from_when_the_round_was_sent(leading: Any) -> None:
    """Not from its answers, which may have taken long: a follower's promise began when it heard of the round."""
    one = leading()
    begun = one.now
    round_, at = one.state.reads.started[-1]
    assert at == begun
    one.wait(0.15)
    _answer(one, "n2", round_)
    assert lease_until(one.state) == pytest.approx(begun + LEASE_S)


def test_a_lease_ends_before_anybody_else_can_be_elected(leading: Any) -> None:
    """By the shortest election timeout, less what clocks may drift; afterwards a round is needed."""
    one = leading()
    begun = one.now
    _answer(one, "n2")
    one.wait(0.15)
    one.wait(LEASE_S - 0.151)
    assert _read(one, 1) == 1
    one.cluster.now = begun + LEASE_S
    assert _read(one, 2) is None


def test_an_undisturbed_leader_always_has_a_lease(leading: Any) -> None:
    """Each heartbeat begins a round."""
    one = leading()
    for number in range(1, 40):
        _answer(one, "n2")
        assert _read(one, number) == 1
        one.wait(0.075)


def test_a_leader_without_a_quorum_has_none(leading: Any) -> None:
    """Its own word is one of three."""
    one = leading(size=5)
    _answer(one, "n2")
    assert not lease_holds(one.state)
    _answer(one, "n3")
    assert lease_holds(one.state)


def test_a_new_leader_has_no_lease_before_it_has_committed(bench: Any) -> None:
    """Else it could miss what its predecessor committed (§8)."""
    one = bench(noop=True, **LEASED)
    one.lead()
    one.node.step(TimerDue())
    for name in ("n2", "n3"):
        one.receive(name, AppendReply(1, 1, False, 0, 0, conflict_index=1, round=one.state.reads.round))  # noqa: FBT003
    assert one.state.commit == 0
    assert not lease_holds(one.state)


def test_a_transfer_ends_the_lease_for_the_whole_term(leading: Any) -> None:
    """Its election goes round the promise, and TimeoutNow may arrive long after the leader gave up."""
    one = leading()
    _answer(one, "n2")
    _answer(one, "n3")
    one.step(TransferRequested(1, "n3"))
    assert not lease_holds(one.state)
    while 1 not in one.node.answers:
        one.wait(0.05)
        _answer(one, "n2")
    assert one.core.is_leader
    assert one.state.transfer is None
    _answer(one, "n2")
    assert not lease_holds(one.state)


def test_a_transfer_that_told_nobody_costs_only_its_own_time(leading: Any) -> None:
    """The target lagged: nothing can arrive late."""
    one = leading()
    one.node.propose(b"x")
    _answer(one, "n2")
    one.step(TransferRequested(1, "n3"))
    assert not lease_holds(one.state)
    while 1 not in one.node.answers:
        one.wait(0.05)
        _answer(one, "n2")
    assert lease_holds(one.state)


def test_a_pause_ends_the_lease(leading: Any) -> None:
    """Whoever stood still cannot say for how long, its clock may have stood too; the next round brings a new one."""
    one = leading()
    _answer(one, "n2")
    one.cluster.now += LOW_S / 2 + 0.01
    assert _read(one) is None
    _answer(one, "n2")
    assert lease_holds(one.state)


def test_a_clock_in_doubt_ends_the_lease(leading: Any) -> None:
    """A round that was begun before, and answered after, proves nothing about time."""
    one = leading()
    old = one.state.reads.round
    one.node.step(ClockDoubted())
    _answer(one, "n2", round_=old)
    assert not lease_holds(one.state)
    _answer(one, "n2")
    assert lease_holds(one.state)


def test_a_change_of_the_membership_asks_for_its_own_majority(leading: Any) -> None:
    """Learners do not count, and a joint membership needs both halves (§6)."""
    one = leading(size=1)
    one.wait(0.1)
    one.step(ChangeRequested(1, AddLearner("n2", "n2:1")))
    assert lease_holds(one.state)
    for _ in range(3):
        _answer(one, "n2", round_=0)
    assert one.state.membership.voters == ("n1", "n2")
    assert not lease_holds(one.state), "n2 votes now, and promised nothing"
    one.wait(0.1)
    _answer(one, "n2")
    assert lease_holds(one.state)


def test_switched_off_there_is_no_lease(leading: Any) -> None:
    """It is opt-in: without `lease_reads` such a read waits for a round like any other."""
    one = leading(lease_reads=False)
    _answer(one, "n2")
    assert _read(one) is None
    one.wait(0.3)
    assert one.state.reads.round == 1, "the read's; no heartbeat begins one"


# Followers.


def test_a_follower_asks_for_a_lease_read_too(bench: Any) -> None:
    """The leader answers at once if its lease holds."""
    one = bench(**LEASED)
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    (sent,) = one.step(ReadRequested(1, lease=True))
    assert sent == ("n2", ReadIndexRequest(1, one.state.reads.asked, lease=True))
    other = bench(**LEASED)
    other.receive("n2", AppendRequest(1, 0, 0, (), 0))
    other.node.held = True
    other.node.step(ReadRequested(1, lease=True))
    other.node.step(ReadRequested(2))
    other.node.held = False
    other.node.work()
    ((_, request),) = other.taken()
    assert not request.lease, "one of them wants proof"


def test_the_leader_answers_a_follower_on_its_lease(leading: Any) -> None:
    """Or by a round, if it has none or none is wanted."""
    one = leading()
    _answer(one, "n2")
    assert one.answer("n2", ReadIndexRequest(1, 7, lease=True)) == ReadIndexReply(1, 7, 1)
    assert not [
        message for _, message in one.receive("n2", ReadIndexRequest(1, 8)) if message == ReadIndexReply(1, 8, 1)
    ]


def test_a_promise_outlives_the_name_of_the_leader(bench: Any) -> None:
    """A higher term that came along some way makes nobody vote while a leader may be reading on its lease."""
    one = bench(**LEASED)
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    heard = one.now
    one.receive("n3", AppendReply(2, 1, False, 0, 0))  # noqa: FBT003
    assert (one.core.term, one.core.leader) == (2, None)
    assert not one.answer("n3", VoteRequest(2, 9, 9)).granted
    assert not one.answer("n3", VoteRequest(3, 9, 9, pre_vote=True)).granted
    one.cluster.now = heard + LOW_S
    assert one.answer("n3", VoteRequest(2, 9, 9)).granted


def test_a_promise_outlives_a_restart(bench: Any, entries: Any) -> None:
    """Nobody knows after a start when a leader was heard last: the promise begins anew."""
    one = bench(**LEASED)
    one.receive("n2", AppendRequest(1, 0, 0, entries(1, 1), 1))
    one.node.crash()
    one.node.start()
    begun = one.now
    assert one.receive("n3", VoteRequest(2, 9, 9)) == []
    one.cluster.now = begun + LOW_S
    assert one.answer("n3", VoteRequest(2, 9, 9)).granted


def test_a_single_voter_keeps_its_promise_too(bench: Any) -> None:
    """The last one left may have promised something to a leader that removed itself."""
    one = bench(size=1, **LEASED)
    assert one.core.next_deadline == 0.0, "a first start: nothing was promised"
    one = bench(size=1, terms=(1,), **LEASED)
    assert one.core.next_deadline >= LOW_S


def test_a_transfer_goes_round_the_promise(bench: Any) -> None:
    """The leader that asked for it reads on no lease any more."""
    one = bench(**LEASED)
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    assert one.answer("n3", VoteRequest(2, 9, 9, transfer=True)).granted
    one = bench(**LEASED)
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    one.receive("n2", TimeoutNow(1))
    one.receive("n3", VoteReply(2, 2, granted=True))
    assert one.core.is_leader
