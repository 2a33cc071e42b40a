"""The two verbs: what comes in, what `Ready` hands out and in which order, and when the core wants to be woken."""

from typing import Any

import pytest

from raftline.core.entries import HardState, SnapshotMeta
from raftline.core.events import Applied, Persisted, Proposed, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    ReadIndexReply,
    SnapshotRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftline.core.raft import Raft
from raftline.core.ready import Outgoing
from raftline.errors import ConfigError, SafetyViolation


class _Half:
    """A random source without chance."""

    def random(self) -> float:
        return 0.5


def _raft(bench: Any, **settings: Any) -> Raft:
    """Return a core without any driver."""
    one = bench(**settings)
    return Raft("n1", one.membership, random=_Half(), now=0.0, config=one.cluster.config)


# A start.


def test_a_snapshot_may_be_of_a_later_term_than_what_was_written_beside_it(bench: Any) -> None:
    """A crash came between the two: the term is taken over, without a vote, and said only when it is on disk (C2)."""
    one = bench()
    core = Raft(
        "n1", one.membership, random=_Half(), now=0.0, config=one.cluster.config,
        hard_state=HardState(term=1, vote="n3"), snapshot=SnapshotMeta(141, 2, one.membership),
    )  # fmt: skip
    assert (core.term, core.state.vote, core.state.persisted_term) == (2, None, 1)
    ready = core.take_ready()
    assert ready is not None
    assert ready.hard_state == HardState(term=2, vote=None)
    core.step(Persisted(ready.number), 0.0)
    assert core.state.persisted_term == 2
    assert core.take_ready() is None


# Ready.


def test_nothing_to_do_is_none(bench: Any) -> None:
    """Asked again, also after an event that changed nothing."""
    raft = _raft(bench)
    assert raft.take_ready() is None
    raft.step(TimerDue(), 0.1)
    raft.step(Received("n2", VoteReply(0, 0, granted=True)), 0.1)
    assert raft.take_ready() is None


def test_each_ready_has_the_next_number_and_is_handed_out_once(bench: Any) -> None:
    """What was taken is not there any more."""
    raft = _raft(bench)
    raft.step(TimerDue(), 1.0)
    first = raft.take_ready()
    assert first is not None
    assert first.number == 1
    assert raft.take_ready() is None
    raft.step(Received("n2", VoteRequest(2, 0, 0)), 1.0)
    second = raft.take_ready()
    assert second is not None
    assert second.number == 2


def test_a_new_term_is_said_to_nobody_before_it_is_on_disk(bench: Any) -> None:
    """Not by a leader either: what it sends waits with the term it was elected in (C2)."""
    raft = _raft(bench, size=1)
    raft = Raft("n1", Membership(voters=("n1",), learners=("n2",)), random=_Half(), now=0.0, config=raft.state.config)
    raft.step(TimerDue(), 1.0)
    assert raft.is_leader
    first = raft.take_ready()
    assert first is not None
    assert first.messages == ()
    assert [out.to for out in first.messages_after_persist] == ["n2"]
    raft.step(Received("n2", AppendReply(1, 1, True, 0, 0)), 1.0)  # noqa: FBT003
    raft.step(Proposed((b"x",)), 1.0)
    second = raft.take_ready()
    assert second is not None
    assert second.hard_state is None
    assert second.messages == (), "the term is still on its way to the disk"
    raft.step(Persisted(2), 1.0)
    raft.step(Received("n2", AppendReply(1, 1, True, 0, 1)), 1.0)  # noqa: FBT003
    raft.step(Proposed((b"y",)), 1.0)
    third = raft.take_ready()
    assert third is not None
    assert len(third.messages) == 1


def test_one_report_of_the_disk_covers_every_batch_before_it(bench: Any) -> None:
    """Batches that were written together are reported once."""
    one = bench(size=1)
    one.node.slow_disk = True
    one.time_out()
    one.node.propose(b"a")
    one.node.propose(b"b")
    assert one.state.commit == 0
    for ready in one.node.to_persist:
        one.node.disk.write(ready)
    numbers = [ready.number for ready in one.node.to_persist]
    one.node.to_persist.clear()
    one.node.step(Persisted(numbers[-1]))
    assert one.state.commit == 2
    assert not one.state.unpersisted


def test_a_long_backlog_is_handed_out_in_slices(bench: Any, entries: Any) -> None:
    """In order, each once, however much is committed at once (F8)."""
    one = bench(committed_max=3)
    sizes: list[int] = []
    one.cluster.on_ready = lambda _node, ready: sizes.append(len(ready.committed))
    one.receive("n2", AppendRequest(1, 0, 0, entries(1, *[1] * 8), 8))
    assert [size for size in sizes if size] == [3, 3, 2]
    assert [index for index, _ in one.node.applied] == list(range(1, 9))


def test_entries_are_handed_to_the_disk_once(bench: Any) -> None:
    """What is on its way is not written again (C7)."""
    one = bench()
    one.lead()
    one.node.slow_disk = True
    one.node.propose(b"a")
    one.node.propose(b"b")
    assert [[entry.index for entry in ready.entries] for ready in one.node.to_persist] == [[1], [2]]


def test_a_heartbeat_writes_nothing(bench: Any) -> None:
    """Nothing changed, nothing is saved (C7)."""
    one = bench(terms=[1])
    one.receive("n2", AppendRequest(1, 1, 1, (), 0))
    written: list[bool] = []
    one.cluster.on_ready = lambda _node, ready: written.append(ready.must_persist)
    one.receive("n2", AppendRequest(1, 1, 1, (), 1))
    assert written == [False]


# Events.


@pytest.mark.parametrize(
    "message",
    [
        AppendReply(7, 1, False, 0, 0),  # noqa: FBT003
        VoteReply(7, 1, granted=True),
        ReadIndexReply(7, 3, None),
        TimeoutNow(7),
        AppendRequest(7, 0, 0, (), 0),
        VoteRequest(7, 0, 0),
    ],
)
@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
def test_every_message_of_a_higher_term_is_obeyed_in_every_role(bench: Any, role: str, message: Any) -> None:
    """Requests and replies alike, before anything else is looked at (A8, A9, C6)."""
    one = bench()
    if role != "follower":
        one.time_out()
    if role == "leader":
        one.receive("n2", VoteReply(1, 1, granted=True))
    assert one.core.role.value == role
    one.receive("n3", message)
    assert (one.core.term, one.core.role.value) == (7, "follower")
    assert one.node.disk.hard_state.term == 7


@pytest.mark.parametrize(("message", "answered"), [(ReadIndexReply(1, 3, None), False), (TimeoutNow(1), False)])
def test_outdated_news_is_dropped(bench: Any, message: Any, *, answered: bool) -> None:
    """Without an answer where there is nothing to say (E6)."""
    one = bench(term=4)
    assert bool(one.receive("n2", message)) == answered
    assert one.core.receive("n2", message) == "of an old term"


def test_a_deposed_leader_learns_so_from_its_own_requests(bench: Any) -> None:
    """Each one that expects an answer gets one, with the present term (A14, L42)."""
    one = bench(term=4)
    for request in (
        AppendRequest(3, 0, 0, (), 0),
        VoteRequest(3, 0, 0),
        VoteRequest(3, 0, 0, pre_vote=True),
        SnapshotRequest(3, 6, 1, one.membership, 0, b"", done=True),
    ):
        reply = one.answer("n2", request)
        assert (reply.term, reply.request_term) == (4, 3)


@pytest.mark.parametrize(
    "message", [AppendRequest(1, 0, 0, (), 0), SnapshotRequest(1, 6, 1, Membership(), 0, b"", done=True)]
)
def test_two_leaders_in_a_term_stop_the_replica(bench: Any, message: Any) -> None:
    """A leader that is addressed by another of its term has found a broken promise (A21)."""
    one = bench()
    one.lead()
    with pytest.raises(SafetyViolation, match="n2"):
        one.core.step(Received("n2", message), one.now)


def test_a_follower_of_two_leaders_stops_too(bench: Any) -> None:
    """Whoever notices first (A21)."""
    one = bench()
    one.receive("n2", AppendRequest(1, 0, 0, (), 0))
    with pytest.raises(SafetyViolation, match="both claim"):
        one.core.step(Received("n3", AppendRequest(1, 0, 0, (), 0)), one.now)


def test_only_what_is_committed_can_be_applied(bench: Any) -> None:
    """Anything else is a bug of the driver."""
    one = bench(terms=[1])
    with pytest.raises(AssertionError, match="committed"):
        one.core.step(Applied(1), one.now)


def test_the_digest_travels_with_the_leaders_messages(bench: Any) -> None:
    """So that followers can compare their state machines."""
    one = bench(size=2)
    one.lead()
    one.node.propose(b"x")
    one.taken()
    term = one.core.term
    one.receive("n2", AppendReply(term, term, True, 0, 1))  # noqa: FBT003
    one.step(Applied(1, 4711))
    one.node.propose(b"y")
    assert [(message.digest_index, message.digest) for _, message in one.taken()] == [(1, 4711)]


def test_proposals_carry_the_leaders_clock(bench: Any) -> None:
    """The only clock that a state machine sees."""
    one = bench()
    one.lead()
    one.node.step(Proposed((b"x",), time_ms=1234))
    assert one.state.log.entry(1).time_ms == 1234


# Deadlines.


def test_each_deadline_lies_ahead_once_it_was_served(bench: Any) -> None:
    """In every role, so that nobody spins; the bench checks it after each timer (F19)."""
    one = bench(pre_vote=True, check_quorum=True)
    for _ in range(5):
        one.cluster.advance(one.core.next_deadline)
        assert one.core.next_deadline > one.now
    one.lead()
    for _ in range(30):
        one.cluster.advance(one.core.next_deadline)
        assert one.core.next_deadline > one.now
    assert one.core.role.value == "pre-candidate", "nobody answered: it stepped down and asks again"


def test_who_has_no_vote_never_runs(bench: Any) -> None:
    """A learner asks only whether it is a member still; a node that knows it is none needs no timer (A22, K1)."""
    one = bench()
    learner = Membership(voters=("n2",), learners=("n1",))
    for membership, deadline in ((learner, 0.6), (Membership(voters=("n2",)), float("inf"))):
        raft = Raft("n1", membership, random=_Half(), now=0.0, config=one.cluster.config)
        assert raft.next_deadline == pytest.approx(deadline)
        raft.step(TimerDue(), 100.0)
        assert raft.role.value == "follower"
        raft.step(Received("n2", AppendRequest(1, 0, 0, (), 0)), 100.0)
        ready = raft.take_ready()
        assert ready is not None
        assert ready.messages_after_persist[0].to == "n2"


def test_a_single_voter_leads_at_once(bench: Any) -> None:
    """Its first deadline is now: nobody else is to be waited for."""
    one = bench(size=1, noop=True)
    assert one.core.next_deadline == 0.0
    one.node.fire()
    assert one.core.is_leader
    assert one.state.commit == 1
    assert one.core.next_deadline == float("inf")


def test_settings_that_cannot_work_are_refused_at_the_start(bench: Any) -> None:
    """Before anything runs (A7)."""
    with pytest.raises(ConfigError, match="guard_lost_disk needs pre_vote"):
        bench(guard_lost_disk=True)


def test_the_same_events_give_the_same_outputs(bench: Any) -> None:
    """No clock, no chance, no globals in the core."""

    def run() -> list[Outgoing]:
        raft = _raft(bench, pre_vote=True, noop=True)
        sent: list[Outgoing] = []
        now = 0.0
        for _ in range(3):
            now = raft.next_deadline
            raft.step(TimerDue(), now)
            raft.step(Received("n2", VoteReply(0, raft.term + 1, granted=True, pre_vote=True)), now)
            while (ready := raft.take_ready()) is not None:
                sent += [*ready.messages, *ready.messages_after_persist]
                raft.step(Persisted(ready.number), now)
        return sent

    assert run() == run()
