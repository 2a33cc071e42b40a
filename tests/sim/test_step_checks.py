"""Each check of a single step: a step that is right passes, and the same step with one thing wrong is noticed."""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

import msgspec
import pytest

from raftline.core.config import CoreConfig
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_COMMAND, KIND_MEMBERSHIP, Entry, HardState, SnapshotMeta
from raftline.core.events import (
    ChunkStored,
    Compacted,
    Event,
    Persisted,
    Proposed,
    Received,
    SnapshotTaken,
    TimerDue,
)
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, SnapshotRequest, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.core.ready import Outgoing
from raftline.core.state import RaftState, Role
from raftline.core.transitions import append_entries
from raftline.errors import SafetyViolation
from raftline.sim.step_checks import StepChecks, Timeouts

CONFIG = CoreConfig(pre_vote=False, guard_lost_disk=False, check_quorum=False)
MEMBERS = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})
Harm = Callable[[RaftState], object]


class Bench:
    """`n1` of three, its disk always done at once, behind the checks; `harm` changes what one step left behind."""

    def __init__(self, terms: Sequence[int] = (), *, term: int = 1, vote: str | None = None) -> None:
        entries = [Entry(index, entry_term, b"") for index, entry_term in enumerate(terms, 1)]
        self.core = Raft(
            "n1", MEMBERS, random=Random(1), now=0.0, config=CONFIG, hard_state=HardState(term, vote), entries=entries
        )
        self.state = self.core.state
        self.harm: Harm | None = None
        self.now = 0.001
        self._real = self.core.step
        self.core.step = self._harmed  # type: ignore[method-assign]
        self.checks = StepChecks(self.core, Timeouts())

    def _harmed(self, event: Event, now: float) -> int:
        result = self._real(event, now)
        if self.harm is not None:
            harm, self.harm = self.harm, None
            harm(self.state)
        return result

    def step(self, event: Event) -> None:
        """Let an event happen, and carry out what comes of it."""
        self.core.step(event, self.now)
        while (ready := self.core.take_ready()) is not None:
            if ready.must_persist:
                self.core.step(Persisted(ready.number), self.now)
        self.now += 0.001

    def campaign(self) -> None:
        """Become a candidate."""
        self.now = self.state.election_deadline
        self.step(TimerDue())

    def lead(self) -> None:
        """Become the leader of the next term."""
        self.campaign()
        self.step(Received("n2", VoteReply(self.state.term, self.state.term, granted=True)))


def received(message: AppendRequest | AppendReply | VoteRequest | VoteReply | SnapshotRequest) -> Event:
    """Return it as sent by n2."""
    return Received("n2", message)


def entries(first: int, *terms: int) -> tuple[Entry, ...]:
    """Return entries of these terms from index `first` on."""
    return tuple(Entry(index, term, b"") for index, term in enumerate(terms, first))


def accepted(term: int, match: int) -> Event:
    """Return n2's acknowledgement up to `match` of what was sent in `term`, in term 2."""
    return received(AppendReply(2, term, success=True, prev_index=match, match_index=match))


def refused(prev_index: int, conflict_index: int) -> Event:
    """Return n2's refusal of a probe in term 2."""
    return received(
        AppendReply(2, 2, success=False, prev_index=prev_index, match_index=0, conflict_index=conflict_index)
    )


def stored(index: int, term: int) -> Event:
    """Return that the last chunk of a snapshot is on disk."""
    return ChunkStored(SnapshotMeta(index, term, MEMBERS), 0, complete=True)


def set_reply(**fields: object) -> Harm:
    """Change the answer that stands in line last."""

    def harm(state: RaftState) -> None:
        last = state.out.pop()
        state.out.append(Outgoing(last.to, msgspec.structs.replace(last.message, **fields)))

    return harm


def keep_deadline(bench: Bench) -> Harm:
    """Forget that the election timer was restarted."""
    deadline = bench.state.election_deadline
    return lambda state: setattr(state, "election_deadline", deadline)


def put(field: str, value: object) -> Harm:
    """Set a field of the state."""
    return lambda state: setattr(state, field, value)


def restart_timer(state: RaftState) -> None:
    """Restart the election timer for no reason."""
    state.restart_election_timer()


def run_for_leader(role: Role) -> Harm:
    """Take it for a candidate."""

    def harm(state: RaftState) -> None:
        state.role = role
        state.votes = {state.me: True}

    return harm


def follower(terms: Sequence[int] = (), **fields: object) -> Bench:
    """Return a follower of n2, which has heard from it."""
    bench = Bench(terms, **fields)  # type: ignore[arg-type]
    last = terms[-1] if terms else 0
    bench.step(received(AppendRequest(bench.state.term, len(terms), last, (), 0)))
    return bench


def leader() -> Bench:
    """Return a leader of term 2 with the entries 1 to 3 of term 1 and its own fourth, not acknowledged by anybody."""
    bench = Bench((1, 1, 1))
    bench.lead()
    return bench


def probed() -> Bench:
    """Return a leader whose probe behind entry 3 n2 may refuse."""
    return leader()


def candidate() -> Bench:
    """Return a candidate of term 2."""
    bench = Bench()
    bench.campaign()
    return bench


def with_snapshot() -> Bench:
    """Return a follower with three committed entries, the first two in a snapshot."""
    bench = follower((1, 1, 1))
    bench.step(received(AppendRequest(1, 3, 1, (), 3)))
    bench.core.state.applied = 3
    bench.step(SnapshotTaken(SnapshotMeta(2, 1, MEMBERS), 0))
    return bench


def installing() -> Bench:
    """Return a follower that holds entry 1 of term 1 and is being sent a snapshot at index 5 of term 2."""
    bench = follower((1,), term=2)
    bench.step(received(SnapshotRequest(2, 5, 2, MEMBERS, 0, b"", done=True)))
    return bench


class Case(NamedTuple):
    """A step, and what may be wrong with what it left behind."""

    promise: str
    given: Callable[[], Bench]
    event: Event
    harm: Harm | Callable[[Bench], Harm]
    notice: str
    takes_bench: bool = False


HEARTBEAT = received(AppendRequest(1, 0, 0, (), 0))
OLD = received(AppendRequest(1, 0, 0, entries(1, 1), 1))
VOTE_1 = received(VoteRequest(1, 0, 0))

CASES = (
    # Timer, term and role.
    Case("timer", Bench, Persisted(0), restart_timer, r"Persisted restarted the election timer \(A2\)"),
    Case("range", Bench, HEARTBEAT, put("election_deadline", 99.0), r"\[.*\) was asked for \(A7\)"),
    Case("outdated", lambda: Bench(term=2), OLD, restart_timer, r"outdated AppendEntries restarted .* \(A3\)"),
    Case("higher term", Bench, received(VoteReply(5, 1, granted=False)), restart_timer, "higher term restarted .*A10"),
    Case("refused", lambda: Bench(vote="n3"), VOTE_1, restart_timer, r"Received restarted the election timer \(A2\)"),
    Case(
        "deposed",
        leader,
        received(VoteReply(9, 1, granted=False)),
        keep_deadline,
        "without an election timer",
        takes_bench=True,
    ),
    Case("early", Bench, TimerDue(), run_for_leader(Role.PRE_CANDIDATE), r"starts an election .* before its time"),
    Case("own vote", candidate, Persisted(0), lambda state: state.votes.clear(), r"does not count its own vote \(A1\)"),
    Case("revote", lambda: Bench(vote="n3"), HEARTBEAT, put("vote", "n2"), r"had voted for n3 .*, now for n2 \(A11"),
    Case("adopt", Bench, received(VoteReply(5, 1, granted=False)), put("term", 1), r"left it in term 1 \(A8\)"),
    Case(
        "follow",
        candidate,
        received(VoteReply(5, 1, granted=False)),
        run_for_leader(Role.CANDIDATE),
        r"is candidate after VoteReply of a higher term \(A9\)",
    ),
    Case(
        "forget vote", Bench, received(VoteReply(5, 1, granted=False)), put("vote", "n3"), r"with a vote for n3 \(A8\)"
    ),
    Case(
        "late vote",
        leader,
        received(VoteReply(2, 2, granted=True)),
        lambda state: setattr(state, "progress", dict(state.progress)),
        r"take over once more .* \(A18\)",
    ),
    # AppendEntries.
    Case("give way", Bench, HEARTBEAT, run_for_leader(Role.CANDIDATE), r"is candidate after a message of n2.*A20"),
    Case("leader", Bench, HEARTBEAT, put("leader", "n3"), r"takes n3 for its leader .* n2 \(A28\)"),
    Case(
        "heard",
        Bench,
        HEARTBEAT,
        keep_deadline,
        r"did not restart its election timer on a message of n2",
        takes_bench=True,
    ),
    Case("old commit", lambda: Bench((1,), term=2), OLD, put("commit", 1), r"the old term 1 changed its log or .*E6"),
    Case("old answer", lambda: Bench(term=2), OLD, set_reply(success=True), "answers an AppendEntries of the old"),
    Case("no answer", Bench, HEARTBEAT, lambda state: state.out.clear(), r"does not answer an AppendEntries of n2"),
    Case("false yes", Bench, received(AppendRequest(1, 4, 1, (), 0)), set_reply(success=True), "does not agree at 4"),
    Case("false no", Bench, HEARTBEAT, set_reply(success=False), "its log agrees at 0"),
    Case(
        "cut by a heartbeat",
        lambda: Bench((1, 1)),
        HEARTBEAT,
        lambda state: state.log.cut_from(1, 0),
        r"ends at 0 instead of 2 after AppendEntries from 0 .* \(B6 to B8\)",
    ),
    Case("acknowledge", lambda: Bench((1, 1)), HEARTBEAT, set_reply(match_index=2), r"acknowledges 2 instead of 0"),
    Case(
        "hold",
        lambda: Bench((1,), term=2),
        received(AppendRequest(2, 0, 0, entries(1, 2), 0)),
        lambda state: (state.log.cut_from(1, 0), state.log.append(entries(1, 1))),
        r"does not hold entry 1 of term 2, just accepted \(B7\)",
    ),
    Case(
        "conflict range",
        Bench,
        received(AppendRequest(1, 4, 1, (), 0)),
        set_reply(conflict_index=7),
        r"points the leader to 7, outside its log .* \(B23, D19\)",
    ),
    Case(
        "conflict",
        lambda: Bench((1, 1, 1), term=2),
        received(AppendRequest(2, 3, 2, (), 0)),
        set_reply(conflict_index=2),
        r"reports the conflict .* instead of \(1, 1\) \(B23\)",
    ),
    Case(
        "commit",
        lambda: Bench((1, 1)),
        received(AppendRequest(1, 1, 1, (), 2)),
        put("commit", 2),
        r"commit index 2 instead of 1 after .* \(B5, B9, B10\)",
    ),
    # Votes.
    Case("vote's term", Bench, VOTE_1, set_reply(term=0), r"gives a vote with term 0 instead of 1 \(A14\)"),
    Case("no reason", Bench, VOTE_1, set_reply(granted=False), r"refuses n2 the vote of term 1 for no reason"),
    Case("old vote", lambda: Bench(term=2), VOTE_1, set_reply(granted=True), r"gives a vote of the old term 1 \(A14\)"),
    Case(
        "two votes",
        lambda: Bench(vote="n3"),
        VOTE_1,
        set_reply(granted=True),
        r"votes for n2 in term 1, having voted for n3 \(A11\)",
    ),
    Case("worse log", lambda: Bench((1,)), VOTE_1, set_reply(granted=True), r"log ends at \(0, term 0\), its own is"),
    Case("remember", Bench, VOTE_1, put("vote", None), r"gives n2 its vote and remembers None \(A11\)"),
    Case(
        "voted",
        Bench,
        VOTE_1,
        keep_deadline,
        r"votes for n2 and does not restart its election timer \(A4\)",
        takes_bench=True,
    ),
    # A leader's progress.
    Case(
        "match",
        leader,
        accepted(2, 3),
        lambda state: setattr(state.progress["n2"], "match_index", 4),
        r"takes n2 for matching up to 4 instead of 3 .* \(B20, D15, E3\)",
    ),
    Case(
        "old acknowledgement",
        leader,
        accepted(1, 3),
        lambda state: setattr(state.progress["n2"], "match_index", 3),
        r"takes n2 for matching up to 3 instead of 0 ",
    ),
    Case(
        "probe",
        probed,
        refused(3, 2),
        lambda state: setattr(state.progress["n2"], "next_index", 3),
        r"goes on with n2 at 3 instead of 2 .* \(B22, B24, E4\)",
    ),
    Case(
        "stale refusal",
        probed,
        refused(1, 1),
        lambda state: setattr(state.progress["n2"], "next_index", 1),
        r"goes on with n2 at 1 instead of 4 ",
    ),
    # Snapshots.
    Case(
        "forward",
        with_snapshot,
        stored(1, 1),
        put("commit", 1),
        r"a snapshot at 1 took it back from 3 \(D9\)",
    ),
    Case(
        "install",
        installing,
        stored(5, 2),
        lambda state: state.log.append(entries(6, 2)),
        r"its log ends at 6 instead of 5 after an install \(D10\)",
    ),
    Case(
        "installed term",
        installing,
        stored(5, 2),
        lambda state: state.log.restart_at(5, 1),
        r"has term 1 at the installed 5 \(D5\)",
    ),
    Case(
        "compact",
        with_snapshot,
        Compacted(1),
        lambda state: state.log.compact_to(2),
        r"is compacted to \(2, term 1\), last 3, instead of \(1, term 1\), last 3 \(D1\)",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_a_step_that_is_right_passes(case: Case) -> None:
    """What the core does by itself is never called wrong."""
    bench = case.given()
    bench.step(case.event)
    bench.step(Persisted(0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_the_same_step_with_one_thing_wrong_is_noticed(case: Case) -> None:
    """Each check fires, and names what it guards."""
    bench = case.given()
    bench.harm = case.harm(bench) if case.takes_bench else case.harm  # type: ignore[arg-type, assignment]
    with pytest.raises(SafetyViolation, match=case.notice):
        bench.step(case.event)


def test_the_clock_of_a_core_never_goes_back() -> None:
    """A wall clock would (A26)."""
    bench = Bench()
    bench.step(Persisted(0))
    bench.now = 0.0
    with pytest.raises(SafetyViolation, match=r"time went back from 0\.001000 to 0\.000000"):
        bench.step(Persisted(0))


def test_a_leader_commits_and_goes_on() -> None:
    """An ordinary story passes every check: election, commands, acknowledgements, a deposed leader."""
    bench = leader()
    bench.step(Proposed((b"a", b"b")))
    for match in (3, 4, 6):
        bench.step(accepted(2, match))
    assert bench.state.commit == 6
    bench.step(received(AppendRequest(3, 6, 2, (), 6)))
    assert bench.state.leader == "n2"


def test_election_timeouts_that_repeat_are_noticed() -> None:
    """One node that waits equally long each time does not draw; neither do two with the same sequence (A6)."""
    timeouts = Timeouts()
    for _ in range(3):
        timeouts.note("n1", 0.2)
    with pytest.raises(SafetyViolation, match=r"n1: its election timeout is 0\.200000 s each time"):
        timeouts.note("n1", 0.2)
    timeouts = Timeouts()
    drawn = (0.2, 0.3, 0.25, 0.22)
    for timeout_s in drawn:
        timeouts.note("n1", timeout_s)
    for timeout_s in drawn[:3]:
        timeouts.note("n2", timeout_s)
    with pytest.raises(SafetyViolation, match="n2: draws the same election timeouts as n1"):
        timeouts.note("n2", drawn[3])


@pytest.mark.parametrize("kind", [KIND_MEMBERSHIP, KIND_COMMAND])
def test_a_leader_may_go_on_with_a_change_while_it_compacts(kind: int) -> None:
    """A change of the members that waits for time goes on with whatever comes next; a command does not come so."""
    bench = with_snapshot()
    bench.lead()
    change = Entry(bench.state.log.last_index + 1, bench.state.term, encode_membership(MEMBERS), kind)
    bench.harm = lambda state: append_entries(state, [change])
    if kind == KIND_MEMBERSHIP:
        bench.step(Compacted(1))
        return
    with pytest.raises(SafetyViolation, match=r"is compacted to \(1, term 1\), last 5, instead of .* last 4 \(D1\)"):
        bench.step(Compacted(1))
