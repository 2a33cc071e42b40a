"""Asking before an election, and keeping to a leader that was just heard (thesis 9.6, K2)."""

import random
from typing import Any

from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, HardState
from raftline.core.events import Persisted, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, TimeoutNow, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.core.state import Role

MEMBERS = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})
LOW = CoreConfig().election_timeout_s[0]


def _raft(term: int = 3, last: int = 2) -> Raft:
    return Raft(
        "n1",
        MEMBERS,
        random=random.Random(1),
        now=0.0,
        hard_state=HardState(term=term),
        entries=[Entry(n, 1, b"") for n in range(1, last + 1)],
    )


def _deliver(raft: Raft, sender: str, message: Any, now: float) -> list[tuple[str, Any]]:
    raft.step(Received(sender, message), now)
    return _settle(raft, now)


def _settle(raft: Raft, now: float) -> list[tuple[str, Any]]:
    sent: list[tuple[str, Any]] = []
    while (ready := raft.take_ready()) is not None:
        sent += [(out.to, out.message) for out in ready.messages]
        if ready.must_persist:
            raft.step(Persisted(ready.number), now)
        sent += [(out.to, out.message) for out in ready.messages_after_persist]
    return sent


def test_asking_changes_nothing_that_others_see() -> None:
    """A node that was cut off does not raise its term, however long it asks."""
    raft = _raft()
    for _ in range(20):
        now = raft.next_deadline
        raft.step(TimerDue(), now)
        sent = _settle(raft, now)
        assert raft.role is Role.PRE_CANDIDATE
        assert {message.term for _, message in sent} == {4}
    assert raft.term == 3


def test_a_majority_of_yes_starts_the_election() -> None:
    """And only then the term rises."""
    raft = _raft()
    now = raft.next_deadline
    raft.step(TimerDue(), now)
    _settle(raft, now)
    sent = _deliver(raft, "n2", VoteReply(3, 4, granted=True, pre_vote=True), now)
    assert raft.role is Role.CANDIDATE
    assert raft.term == 4
    assert all(not message.pre_vote for _, message in sent)


def test_a_pre_vote_is_no_vote() -> None:
    """Granting one neither binds nor restarts a timer; a late one does not count as a vote."""
    raft = _raft()
    deadline = raft.state.election_deadline
    reply = _deliver(raft, "n2", VoteRequest(9, 2, 1, pre_vote=True), 0.1)[0][1]
    assert reply.granted
    assert (raft.term, raft.state.vote, raft.state.election_deadline) == (3, None, deadline)
    now = raft.next_deadline
    raft.step(TimerDue(), now)
    _settle(raft, now)
    _deliver(raft, "n2", VoteReply(3, 4, granted=True, pre_vote=True), now)
    _deliver(raft, "n3", VoteReply(4, 5, granted=True, pre_vote=True), now)
    assert raft.role is Role.CANDIDATE


def test_a_follower_that_hears_its_leader_helps_nobody_against_it() -> None:
    """Within the shortest timeout neither a pre-vote nor a vote is given, and no term taken over (§6)."""
    raft = _raft()
    _deliver(raft, "n2", AppendRequest(3, 2, 1, (), 0), 1.0)
    asked = _deliver(raft, "n3", VoteRequest(4, 9, 3, pre_vote=True), 1.0 + LOW / 2)
    assert not asked[0][1].granted
    assert _deliver(raft, "n3", VoteRequest(9, 9, 3), 1.0 + LOW / 2) == []
    assert raft.term == 3


def test_stickiness_ends_with_the_shortest_timeout() -> None:
    """A dead leader is replaced: afterwards the vote is given."""
    raft = _raft()
    _deliver(raft, "n2", AppendRequest(3, 2, 1, (), 0), 1.0)
    assert _deliver(raft, "n3", VoteRequest(4, 9, 3), 1.0 + LOW + 0.001)[0][1].granted


def test_an_election_that_the_leader_asked_for_is_not_held_up() -> None:
    """Leadership transfer goes past stickiness (thesis 3.10)."""
    raft = _raft()
    _deliver(raft, "n2", AppendRequest(3, 2, 1, (), 0), 1.0)
    assert _deliver(raft, "n3", VoteRequest(4, 9, 3, transfer=True), 1.01)[0][1].granted


def test_a_successor_runs_at_once_when_the_leader_says_so() -> None:
    """TimeoutNow from the leader of the term starts an election; from anybody else it does not."""
    raft = _raft()
    _deliver(raft, "n2", AppendRequest(3, 2, 1, (), 0), 1.0)
    _deliver(raft, "n3", TimeoutNow(3), 1.0)
    assert raft.role is Role.FOLLOWER
    sent = _deliver(raft, "n2", TimeoutNow(3), 1.0)
    assert raft.role.value == "candidate"
    assert all(message.transfer for _, message in sent)


def test_a_node_that_returns_with_a_higher_term_is_taken_in() -> None:
    """Its higher term reaches the leader in its reply, which steps down; pre-vote leaves nobody out for ever."""
    raft = _raft(term=9)
    reply = _deliver(raft, "n2", AppendRequest(3, 2, 1, (), 0), 0.1)[0][1]
    assert (reply.success, reply.term) == (False, 9)
    leader = Raft("n2", MEMBERS, random=random.Random(2), now=0.0, hard_state=HardState(term=2))
    now = leader.next_deadline
    leader.step(TimerDue(), now)
    _settle(leader, now)
    _deliver(leader, "n3", VoteReply(2, 3, granted=True, pre_vote=True), now)
    _deliver(leader, "n3", VoteReply(3, 3, granted=True), now)
    assert leader.is_leader
    _deliver(leader, "n1", AppendReply(9, 3, success=False, prev_index=2, match_index=0), now)
    assert not leader.is_leader
    assert leader.term == 9
