"""Each invariant holds in a healthy replica, and each can fail: a check that cannot is none."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from raftline.core.config import CoreConfig
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry, HardState, SnapshotMeta
from raftline.core.invariants import (
    OF_A_STATE,
    OF_A_STEP,
    Record,
    Summary,
    Watch,
    check_cluster,
    check_state,
    check_step,
    summarize,
)
from raftline.core.membership import Membership
from raftline.core.pending import PendingChange, Transfer
from raftline.core.progress import PeerProgress
from raftline.core.reads import PendingRead
from raftline.core.state import RaftState, Role
from raftline.errors import SafetyViolation

MEMBERS = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})


def _state(me: str = "n1", terms: tuple[int, ...] = (1, 1, 2), *, base: tuple[int, int] = (0, 0)) -> RaftState:
    """Return a follower of term 5 that holds these entries, the first two (or the snapshot) committed and applied."""
    snapshot = SnapshotMeta(*base, MEMBERS) if base[0] else SnapshotMeta()
    entries = [Entry(base[0] + n, term, b"%d" % (base[0] + n)) for n, term in enumerate(terms, 1)]
    hard_state = HardState(5, "n2")
    state = RaftState(me, CoreConfig(), random.Random(1), hard_state, snapshot, entries, MEMBERS, 0.0)
    state.commit = state.handed_out = state.applied = max(base[0], min(2, base[0] + len(entries)))
    state.election_deadline = 1.0
    return state


def _leader(me: str = "n1", terms: tuple[int, ...] = (1, 1, 2), term: int = 5) -> RaftState:
    state = _state(me, terms)
    state.role, state.leader, state.vote, state.term = Role.LEADER, me, me, term
    for name in MEMBERS.voters:
        if name != me:
            state.progress[name] = PeerProgress(state.log.last_index + 1, 0.0)
    return state


def _set(**values: object) -> Callable[[RaftState], None]:
    def damage(state: RaftState) -> None:
        for name, value in values.items():
            setattr(state, name, value)

    return damage


def _snapshot_ahead(state: RaftState) -> None:
    state.snapshot = SnapshotMeta(3, 2, MEMBERS)


def _candidate(state: RaftState) -> None:
    state.role, state.leader = Role.CANDIDATE, None


def _hand_out_what_the_snapshot_covers(state: RaftState) -> None:
    state.snapshot = SnapshotMeta(2, 1, MEMBERS)
    state.handed_out = state.applied = 1


def _waits_without_leader(state: RaftState) -> None:
    state.reads.waiting.append(PendingRead(None, 1))


def _run_untrusted(state: RaftState) -> None:
    _candidate(state)
    state.vote = state.me
    state.established = False


def _membership_from_nowhere(state: RaftState) -> None:
    state.configuration.restart_at(9, MEMBERS)


def _two_changes(state: RaftState) -> None:
    for _ in range(2):
        index = state.log.last_index + 1
        entry = Entry(index, state.term, encode_membership(MEMBERS), KIND_MEMBERSHIP)
        state.log.append([entry])
        state.configuration.on_appended([entry])


def _progress_of_a_stranger(state: RaftState) -> None:
    state.progress["n9"] = PeerProgress(4, 0.0)


def _match_ahead(state: RaftState) -> None:
    state.progress["n2"].match_index = 4


def _window_outside_replicate(state: RaftState) -> None:
    state.progress["n2"].inflight_bytes = 7


BROKEN: dict[str, tuple[Callable[..., RaftState], Callable[[RaftState], None]]] = {
    "compacted ≤ snapshot ≤ committed ≤ last": (_state, _snapshot_ahead),
    "applied ≤ handed out ≤ committed": (_state, _set(applied=3)),
    "what the snapshot covers is not handed out to be applied": (_state, _hand_out_what_the_snapshot_covers),
    "persisted ≤ last, and handed to the disk ≤ last": (_state, _set(persisted=4)),
    "terms in the log never fall and never pass the current term": (_state, _set(term=1, persisted_term=1)),
    "a term is on disk only once it was reached": (_state, _set(persisted_term=6)),
    "in term 0 nobody has voted, runs or leads": (lambda: _state(terms=()), _set(term=0, persisted_term=0)),
    "a candidate and a leader voted for themselves (§5.2)": (_state, _candidate),
    "a leader knows that it leads, who runs knows no leader": (_leader, _set(leader="n2")),
    "nobody follows itself": (_state, _set(leader="n1")),
    "who might have lost its disk neither runs nor leads": (_state, _run_untrusted),
    "a leader keeps progress for exactly the other members, and those on their way out": (
        _leader,
        _progress_of_a_stranger,
    ),
    "nobody but a leader keeps progress": (_state, _progress_of_a_stranger),
    "matchIndex < nextIndex ≤ last + 1, and windows are kept": (_leader, _match_ahead),
    "only what stands in the log names a membership": (_state, _membership_from_nowhere),
    "a leader changes one thing at a time: what came before it is committed (§6)": (_leader, _two_changes),
    "only a leader hands over, keeps whom it removed, or owes somebody an answer about a change": (
        _state,
        _set(change=PendingChange(1, "removing n3")),
    ),
    "the leadership goes to a voter (thesis 3.10)": (_leader, _set(transfer=Transfer("n9", 1.0))),
    "whoever neither leads nor sleeps has an election timer": (_state, _set(election_deadline=float("inf"))),
    "who sleeps leads or follows, has committed all that it holds, and nobody waits for it": (
        _leader,
        _set(asleep=True),
    ),
    "no read waits where no leader is known": (_state, _waits_without_leader),
}


@pytest.mark.parametrize("make", [_state, _leader])
def test_a_healthy_state_passes(make: Callable[[], RaftState]) -> None:
    """A follower and a leader break nothing."""
    check_state(make())


@pytest.mark.parametrize("name", [name for name, _ in OF_A_STATE])
def test_each_invariant_of_a_state_can_fail(name: str) -> None:
    """Breaking it is found, and the message names it."""
    make, damage = BROKEN[name]
    state = make()
    damage(state)
    with pytest.raises(SafetyViolation) as caught:
        check_state(state)
    assert name in str(caught.value)
    assert "n1" in str(caught.value)


def test_a_window_outside_replicate_is_found() -> None:
    """Bytes without messages, too."""
    state = _leader()
    _window_outside_replicate(state)
    with pytest.raises(SafetyViolation, match="windows are kept"):
        check_state(state)


STEP = summarize(_state())
LEADING = msgspec.structs.replace(STEP, role=Role.LEADER, vote="n1")


def _after(before: Summary, **changes: Any) -> tuple[Summary, Summary]:
    return before, msgspec.structs.replace(before, **changes)


STEPS: dict[str, tuple[Summary, Summary]] = {
    "the current term increases monotonically": _after(STEP, term=4),
    "at most one vote per term": _after(STEP, vote="n3"),
    "the commit index increases monotonically": _after(STEP, commit=1),
    "last applied increases monotonically": _after(STEP, applied=1),
    "snapshots only move forward": _after(msgspec.structs.replace(STEP, compacted=1), compacted=0),
    "the log shrinks only at a conflict or an install": _after(STEP, last=2),
    "what is on disk is forgotten only at a conflict or an install": _after(STEP, persisted=2),
    "Leader Append-Only: a leader never deletes or overwrites": _after(LEADING, log_epoch=1),
    "a leader only steps down": _after(LEADING, role=Role.CANDIDATE, term=6),
    "a candidate starts a new term each time": _after(STEP, role=Role.CANDIDATE),
    "a leader commits by counting only entries of its own term": _after(LEADING, commit=3, commit_term=2),
    "the membership in force is sound": _after(STEP, membership=Membership(voters=("n2", "n1"))),
    "a leader's membership changes by the rules, through a joint one where voters change (§6)": _after(
        LEADING, membership=Membership.of({"n1": "n1:1"}), membership_index=4
    ),
    "a disk that is trusted stays trusted": _after(STEP, established=False),
    "each Ready has the next number": _after(STEP, ready_number=2),
}


@pytest.mark.parametrize("name", [name for name, _ in OF_A_STEP])
def test_each_invariant_of_a_step_can_fail(name: str) -> None:
    """Breaking it is found, and the message names it; the same step undone is none."""
    before, after = STEPS[name]
    check_step(before, before)
    with pytest.raises(SafetyViolation) as caught:
        check_step(before, after)
    assert name in str(caught.value)


def test_a_leader_does_not_lead_on_in_another_term() -> None:
    """It has to be elected again (§5.1)."""
    with pytest.raises(SafetyViolation, match="only steps down"):
        check_step(*_after(LEADING, term=6, vote="n1"))


def test_a_lone_voter_may_hear_of_a_commit_and_win_in_one_turn() -> None:
    """Whoever is left alone and told to take over leads at once; the commit before that was its old leader's (§6).

    Found by replacing the only node of a cluster.
    """
    alone = Membership.of({"n1": "n1:1"})
    before = msgspec.structs.replace(STEP, membership=alone)
    won = msgspec.structs.replace(
        before, role=Role.LEADER, term=before.term + 1, vote="n1", commit=before.commit + 1, last=before.last + 1
    )
    check_step(before, won)
    with pytest.raises(SafetyViolation, match="own term"):
        check_step(won, msgspec.structs.replace(won, commit=won.commit + 1))
    with pytest.raises(SafetyViolation, match="own term"):
        check_step(STEP, msgspec.structs.replace(won, membership=STEP.membership))


def test_a_watch_finds_a_committed_entry_that_changed() -> None:
    """The entry at the former commit index keeps its term (B17)."""
    record = Record()
    state = _state()
    watch = Watch(state, record)
    watch.check()
    entries = state.log._entries
    entries[1] = Entry(2, 2, b"other")
    with pytest.raises(SafetyViolation, match="never changed"):
        watch.check()


def test_a_record_remembers_leaders_and_commits_across_crashes() -> None:
    """Election Safety, State Machine Safety and Leader Completeness, with whoever committed long gone (B17, A13)."""
    record = Record()
    record.on_committed(_state(), 1)
    assert [entry.index for entry in record.committed] == [1, 2]
    record.on_leader(_leader())
    with pytest.raises(SafetyViolation, match="Election Safety"):
        record.on_leader(_leader("n2"))
    with pytest.raises(SafetyViolation, match="Leader Completeness"):
        record.on_leader(_leader("n2", (1, 2), term=6))
    with pytest.raises(SafetyViolation, match="Leader Completeness"):
        record.on_leader(_leader("n2", (1,), term=7))
    with pytest.raises(SafetyViolation, match="State Machine Safety"):
        record.on_committed(_state("n3", (1, 2, 2)), 1)


def test_a_record_follows_the_memberships() -> None:
    """A committed one follows the one before it by the rules, whoever led meanwhile (§6)."""

    def state(*memberships: Membership) -> RaftState:
        state = _state()
        entries = [Entry(n, 2, encode_membership(each), KIND_MEMBERSHIP) for n, each in enumerate(memberships, start=4)]
        state.log.append(entries)
        state.commit = state.log.last_index
        return state

    joint = Membership(voters=("n1", "n4"), outgoing=MEMBERS.voters, addresses=MEMBERS.addresses)
    Record().on_committed(state(MEMBERS, joint), 1)
    for wrong in (Membership.of({"n1": "n1:1"}), msgspec.structs.replace(joint, outgoing=("n1",))):
        with pytest.raises(SafetyViolation, match="must not follow"):
            Record().on_committed(state(MEMBERS, wrong), 1)


def test_a_record_has_no_gaps() -> None:
    """Nobody can be the first to commit an index before the one below it is committed."""
    record = Record()
    with pytest.raises(SafetyViolation, match="nobody committed 1"):
        record.on_committed(_state(), 2)


def test_a_snapshot_stands_for_what_it_covers() -> None:
    """Entries below the base are neither compared nor missed."""
    record = Record()
    record.on_committed(_state(), 1)
    state = _state("n2", (2,), base=(2, 1))
    record.on_committed(state, 1)
    assert len(record.committed) == 2
    state.role, state.leader, state.vote = Role.LEADER, "n2", "n2"
    record.on_leader(state)


def test_a_healthy_cluster_passes() -> None:
    """Logs of different lengths, one compacted, an old leader."""
    old = _leader("n3", (1, 1, 2), term=4)
    check_cluster([_leader("n1", (1, 1, 2, 5)), _state("n2", (2,), base=(2, 1)), old])


@pytest.mark.parametrize(
    ("states", "name"),
    [
        ([_leader("n1"), _leader("n2")], "Election Safety"),
        ([_state("n1", (1, 2, 3)), _state("n2", (1, 1, 3))], "Log Matching"),
        ([_state("n1", (1, 1, 1)), _state("n2", (1, 2, 2))], "State Machine Safety"),
        ([_leader("n1", (1, 2, 2)), _state("n2", (1, 1, 1))], "Safety|Completeness"),
        ([_leader("n1", (2,)), _state("n2", (1, 1))], "Safety|Completeness"),
    ],
)
def test_what_is_wrong_between_replicas_is_found(states: list[RaftState], name: str) -> None:
    """Two leaders in a term, logs that agree and differ before it, different commits, a leader that lacks one."""
    with pytest.raises(SafetyViolation, match=name):
        check_cluster(states)


def test_a_leader_that_lacks_what_is_committed_is_found() -> None:
    """Also where nobody else shows a difference (§5.4.3)."""
    follower = _state("n2", (1, 1, 1))
    follower.commit = 3
    leader = _leader("n1", (1, 1))
    with pytest.raises(SafetyViolation, match="Leader Completeness: n1 leads term 5 and has term None at 3"):
        check_cluster([leader, follower])


def test_a_lease_beside_a_later_leader_is_found() -> None:
    """Whoever reads on a lease must be the only leader (thesis 6.4.1)."""
    leases = CoreConfig(lease_reads=True)
    holder, other = _leader("n1", (1, 1, 5)), _leader("n2", (1, 1, 5), term=6)
    for state in (holder, other):
        state.config = leases
    holder.commit = holder.applied = 3
    holder.reads.open_round(0.0)
    for progress in holder.progress.values():
        progress.acked_round = holder.reads.round
    with pytest.raises(SafetyViolation, match="n2 leads term 6 while n1 reads on its lease of term 5"):
        check_cluster([holder, other])
    other.now = 0.4
    check_cluster([holder, other])
