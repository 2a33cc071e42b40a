"""What a node with an empty directory may do: it is a first start, or a lost disk (C14)."""

import random
from typing import Any

from raftline.core.entries import Entry, HardState
from raftline.core.events import Persisted, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.core.state import Role

MEMBERS = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})


def _new(name: str = "n1") -> Raft:
    return Raft(name, MEMBERS, random=random.Random(1), now=0.0)


def _settle(raft: Raft, now: float) -> list[tuple[str, Any]]:
    sent: list[tuple[str, Any]] = []
    while (ready := raft.take_ready()) is not None:
        sent += [(out.to, out.message) for out in ready.messages]
        if ready.must_persist:
            raft.step(Persisted(ready.number), now)
        sent += [(out.to, out.message) for out in ready.messages_after_persist]
    return sent


def _deliver(raft: Raft, sender: str, message: Any, now: float = 0.0) -> list[tuple[str, Any]]:
    raft.step(Received(sender, message), now)
    return _settle(raft, now)


def _time_out(raft: Raft) -> tuple[list[tuple[str, Any]], float]:
    now = raft.next_deadline
    raft.step(TimerDue(), now)
    return _settle(raft, now), now


def test_the_first_start_needs_a_majority_of_empty_logs() -> None:
    """Where a majority never stored anything, nothing can have been acknowledged: an election is safe."""
    raft = _new()
    sent, now = _time_out(raft)
    assert all(message.pre_vote and message.bootstrap for _, message in sent)
    sent = _deliver(raft, "n2", VoteReply(0, 1, granted=True, pre_vote=True, unestablished=True), now)
    assert raft.role is Role.CANDIDATE
    assert all(message.bootstrap and not message.pre_vote for _, message in sent)
    _deliver(raft, "n2", VoteReply(1, 1, granted=True, unestablished=True), now)
    assert raft.role.value == "leader"
    assert raft.state.established


def test_a_new_node_gives_its_vote_only_in_a_first_start() -> None:
    """A candidate with a history may be the one that lost an election this voter decided."""
    raft = _new()
    refused = _deliver(raft, "n2", VoteRequest(5, 9, 4))[0][1]
    assert not refused.granted
    assert refused.unestablished
    raft = _new()
    granted = _deliver(raft, "n2", VoteRequest(1, 0, 0, bootstrap=True))[0][1]
    assert granted.granted
    assert raft.state.established


def test_a_new_node_among_established_ones_never_runs() -> None:
    """Its pre-vote may be granted by a log as empty as its own, but nobody else says so."""
    raft = _new()
    _, now = _time_out(raft)
    _deliver(raft, "n2", VoteReply(0, 1, granted=True, pre_vote=True, unestablished=False), now)
    assert raft.role is Role.PRE_CANDIDATE
    assert raft.term == 0


def test_it_votes_again_once_it_holds_what_was_committed() -> None:
    """An entry of the leader's own term, committed: everything committed before is in this log too."""
    raft = _new()
    entries = tuple(Entry(n, 3 if n < 3 else 4, b"") for n in range(1, 5))
    _deliver(raft, "n2", AppendRequest(4, 0, 0, entries[:2], 2))
    assert not raft.state.established, "an entry of an older term may not be the last that is committed"
    _deliver(raft, "n2", AppendRequest(4, 2, 3, entries[2:], 2))
    assert not raft.state.established
    _deliver(raft, "n2", AppendRequest(4, 4, 4, (), 4))
    assert raft.state.established
    assert not raft.state.hard_state_changed, "and it is on disk"


def test_the_leader_forgets_what_a_lost_disk_acknowledged() -> None:
    """A refusal by a new directory takes the match index back."""
    raft = Raft(
        "n1",
        MEMBERS,
        random=random.Random(1),
        now=0.0,
        hard_state=HardState(term=1),
        entries=[Entry(1, 1, b""), Entry(2, 1, b"")],
    )
    _, now = _time_out(raft)
    _deliver(raft, "n2", VoteReply(1, 2, granted=True, pre_vote=True), now)
    _deliver(raft, "n2", VoteReply(2, 2, granted=True), now)
    assert raft.is_leader
    _deliver(raft, "n3", AppendReply(2, 2, True, 2, 3), now)  # noqa: FBT003
    assert raft.state.progress["n3"].match_index == 3
    sent = _deliver(raft, "n3", AppendReply(2, 2, False, 3, 0, conflict_index=1, unestablished=True), now)  # noqa: FBT003
    assert raft.state.progress["n3"].match_index == 0
    assert [message.prev_index for to, message in sent if to == "n3"] == [0]


def test_a_restart_with_a_disk_is_no_first_start() -> None:
    """What was written once says that this directory is not lost."""
    raft = Raft("n1", MEMBERS, random=random.Random(1), now=0.0, hard_state=HardState(term=3, vote="n2"))
    assert raft.state.established
    assert _deliver(raft, "n3", VoteRequest(4, 0, 0))[0][1].granted
