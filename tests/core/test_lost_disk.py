"""What a node with an empty directory may do: it is a first start, or a lost disk (C14)."""

import random
from typing import Any

import pytest

from raftline.core.entries import KIND_NOOP, Entry, HardState
from raftline.core.events import ChunkRead, Persisted, Proposed, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, SnapshotRequest, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.core.state import Role
from raftline.errors import SafetyViolation

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


def _pre_yes(term: int = 1, *, blank: bool = True) -> VoteReply:
    return VoteReply(0, term, granted=True, pre_vote=True, unestablished=blank)


def test_the_first_start_needs_a_majority_of_empty_logs() -> None:
    """Where everybody is blank, nothing can have been acknowledged: an election is safe, and at once (C14)."""
    raft = _new()
    sent, now = _time_out(raft)
    assert all(message.pre_vote and message.bootstrap for _, message in sent)
    _deliver(raft, "n2", _pre_yes(), now)
    sent = _deliver(raft, "n3", _pre_yes(), now)
    assert raft.role is Role.CANDIDATE
    assert all(message.bootstrap and not message.pre_vote for _, message in sent)
    _deliver(raft, "n2", VoteReply(1, 1, granted=True, unestablished=True), now)
    assert raft.role.value == "leader"
    assert raft.state.established


def test_a_first_start_waits_one_round_for_whoever_is_silent() -> None:
    """The third may be the one that is left; but one that is down must not keep a new cluster waiting (C14)."""
    raft = _new()
    _, now = _time_out(raft)
    assert _deliver(raft, "n2", _pre_yes(), now) == []
    assert raft.role is Role.PRE_CANDIDATE
    sent, _ = _time_out(raft)
    assert raft.role.value == "candidate"
    assert {message.bootstrap for _, message in sent} == {True}


def test_a_first_start_that_is_refused_asks_again() -> None:
    """Blank voters may have promised themselves to somebody: the round ends, and the next begins (A5)."""
    raft = _new()
    _, now = _time_out(raft)
    for node in ("n2", "n3"):
        _deliver(raft, node, VoteReply(0, 1, granted=False, pre_vote=True, unestablished=True), now)
    sent, now = _time_out(raft)
    assert raft.next_deadline > now
    assert [(to, message.pre_vote) for to, message in sent] == [("n2", True), ("n3", True)]


@pytest.mark.parametrize(
    "evidence",
    [
        VoteReply(3, 1, granted=False, pre_vote=True),
        VoteRequest(1, 9, 1, pre_vote=True),
        AppendRequest(1, 9, 1, (), 9),
        SnapshotRequest(1, 9, 1, MEMBERS, 0, b"", done=False),
    ],
    ids=lambda message: type(message).__name__,
)
def test_no_first_start_once_somebody_holds_entries(evidence: Any) -> None:
    """A majority of emptied disks elects nobody beside a node that kept its own, and says no word for it (C14)."""
    raft = _new()
    _, now = _time_out(raft)
    _deliver(raft, "n3", evidence, now)
    for _ in range(5):
        sent, now = _time_out(raft)
        assert not any(message.bootstrap for _, message in sent if type(message) is VoteRequest)
        _deliver(raft, "n2", _pre_yes(raft.term + 1), now)
        assert not raft.state.established
    term = raft.term + 1
    refused = _deliver(raft, "n2", VoteRequest(term, 0, 0, pre_vote=True, bootstrap=True), now)[-1][1]
    assert (refused.granted, refused.unestablished) == (False, False), "and tells the other blank node"
    assert not _deliver(raft, "n2", VoteRequest(term, 0, 0, bootstrap=True), now)[-1][1].granted


def test_a_first_start_marks_its_log() -> None:
    """The first entry carries a number, kept on disk once something is committed; no two starts draw the same (C14)."""
    marks = set()
    for seed in range(20):
        raft = Raft("n1", MEMBERS, random=random.Random(seed), now=0.0)
        _, now = _time_out(raft)
        for node in ("n2", "n3"):
            _deliver(raft, node, _pre_yes(), now)
        sent = _deliver(raft, "n2", VoteReply(1, 1, granted=True, unestablished=True), now)
        mark = int.from_bytes(raft.state.log.entry(1).data, "big")
        assert {message.history for _, message in sent} == {mark}
        assert raft.state.history == 0, "another first start may still win"
        _deliver(raft, "n2", AppendReply(1, 1, success=True, prev_index=0, match_index=1), now)
        assert raft.state.commit == 1
        assert raft.state.history == mark
        marks.add(mark)
    assert len(marks) == 20


def test_a_leader_does_not_hold_appends_back_for_the_number() -> None:
    """It is written once something is committed; what is sent in that turn is not overtaken by the next (B25)."""
    raft = _new()
    _, now = _time_out(raft)
    for node in ("n2", "n3"):
        _deliver(raft, node, _pre_yes(), now)
    _deliver(raft, "n2", VoteReply(1, 1, granted=True, unestablished=True), now)
    raft.step(Proposed((b"x",), 0), now)
    _settle(raft, now)
    raft.step(Received("n2", AppendReply(1, 1, success=True, prev_index=0, match_index=1)), now)
    ready = raft.take_ready()
    assert ready is not None
    assert ready.hard_state is not None
    assert [getattr(out.message, "prev_index", None) for out in ready.messages] == [1]


def _with_history(history: int, *, term: int = 1) -> Raft:
    first = Entry(1, 1, (7).to_bytes(4, "big"), KIND_NOOP)
    state = HardState(term, "n2", history=history)
    log = [first, Entry(2, 1, b"x"), Entry(3, 1, b"y")]
    return Raft("n1", MEMBERS, random=random.Random(1), now=0.0, hard_state=state, entries=log)


@pytest.mark.parametrize("term", [1, 2])
@pytest.mark.parametrize("kind", ["append", "snapshot"])
def test_what_was_committed_is_not_given_up_for_another_history(kind: str, term: int) -> None:
    """A restarted survivor of lost disks stops, its log whole, and says what to do (C14, B17)."""
    raft = _with_history(7)
    append = AppendRequest(term, 0, 0, (Entry(1, term, b"", KIND_NOOP),), 1, history=8)
    snapshot = SnapshotRequest(term, 9, term, MEMBERS, 0, b"", done=True, history=8)
    with pytest.raises(SafetyViolation, match="raftline recover"):
        raft.step(Received("n2", append if kind == "append" else snapshot), 0.0)
    assert (raft.state.log.last_index, raft.state.log.last_term, raft.term) == (3, 1, 1)


def test_each_chunk_of_a_snapshot_names_its_history(bench: Any) -> None:
    """It may be a leader's first word to a survivor of lost disks, whose log it would replace (C14, D10)."""
    one = bench(snapshot=(6, 1), terms=[1])
    one.lead()
    one.state.history = 7
    one.state.progress["n2"].become_snapshot(6)
    sent = one.step(ChunkRead("n2", one.meta(6, 1), 0, b"x", done=False))
    assert [message.history for _, message in sent if type(message) is SnapshotRequest] == [7]


def test_nobody_of_another_history_is_voted_for() -> None:
    """Nor is its term taken over: the two go on without each other (C14)."""
    raft = _with_history(7)
    assert _deliver(raft, "n2", VoteRequest(9, 50, 8, history=8)) == []
    assert raft.term == 1
    assert _deliver(raft, "n2", VoteRequest(9, 50, 8, history=7))[0][1].granted


def test_a_leader_of_another_history_and_an_older_term_is_told_the_term() -> None:
    """Its first entry may have lost to ours without its knowing (C14, A3)."""
    raft = _with_history(7, term=5)
    reply = _deliver(raft, "n2", AppendRequest(4, 0, 0, (), 0, history=8))[0][1]
    assert (reply.term, reply.success) == (5, False)


def test_before_anything_is_committed_a_log_may_lose_to_another_first_start() -> None:
    """Two may have begun; the one that a majority follows stands (B7), and is followed from its first commit on."""
    raft = _with_history(0)
    entry = Entry(1, 2, (8).to_bytes(4, "big"), KIND_NOOP)
    _deliver(raft, "n2", AppendRequest(2, 0, 0, (entry,), 0, history=8))
    assert raft.state.log.last_index == 1
    assert raft.state.history == 0
    _deliver(raft, "n2", AppendRequest(2, 1, 2, (), 1, history=8))
    assert raft.state.history == 8
    assert not raft.state.hard_state_changed, "and it is on disk"


def test_a_new_node_gives_its_vote_only_in_a_first_start() -> None:
    """A candidate with a history may be the one that lost an election this voter decided."""
    raft = _new()
    refused = _deliver(raft, "n2", VoteRequest(5, 9, 4))[0][1]
    assert not refused.granted
    assert not refused.unestablished, "it is blank, but this is no first start"
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
    before = raft.state.stamps.use(now)
    sent = _deliver(raft, "n3", AppendReply(2, 2, False, 3, 0, conflict_index=1, unestablished=True), now)  # noqa: FBT003
    assert raft.state.progress["n3"].match_index == 0
    assert [message.prev_index for to, message in sent if to == "n3"] == [0]
    _deliver(raft, "n3", AppendReply(2, 2, True, 2, 3, echo=before), now)  # noqa: FBT003
    assert raft.state.progress["n3"].match_index == 0, "it said so before it lost its disk (E2)"
    since = next(message.stamp for to, message in sent if to == "n3")
    _deliver(raft, "n3", AppendReply(2, 2, True, 0, 1, echo=since), now)  # noqa: FBT003
    assert raft.state.progress["n3"].match_index == 1


def test_a_restart_with_a_disk_is_no_first_start() -> None:
    """What was written once says that this directory is not lost."""
    raft = Raft("n1", MEMBERS, random=random.Random(1), now=0.0, hard_state=HardState(term=3, vote="n2"))
    assert raft.state.established
    assert _deliver(raft, "n3", VoteRequest(4, 0, 0))[0][1].granted
