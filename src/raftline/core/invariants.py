"""What must hold of any state, of any two consecutive states of a replica, and of all replicas together.

One line each, in the words of the paper where it has them (Figures 2 and 3). They are run after every step in tests
and simulations, so they look at cursors and ends, not at whole logs; `Record` remembers what was elected and committed,
and looks at each entry once. Nothing in the core depends on them.
"""

from collections.abc import Callable, Collection, Iterable
from itertools import combinations

import msgspec

from raftline.core.changes import is_step
from raftline.core.configuration import decode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.ids import Index, NodeId, Term
from raftline.core.lease import lease_until
from raftline.core.membership import Membership
from raftline.core.progress import Mode
from raftline.core.state import RaftState, Role
from raftline.errors import SafetyViolation

__all__ = [
    "OF_A_STATE",
    "OF_A_STEP",
    "Record",
    "Summary",
    "Watch",
    "check_cluster",
    "check_state",
    "check_step",
    "summarize",
]

_FOLLOWER, _PRE, _CANDIDATE, _LEADER = Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER


class Summary(msgspec.Struct, frozen=True, gc=False):
    """What `check_step` compares: the cursors and the ends of one state."""

    me: NodeId
    role: Role
    term: Term
    vote: NodeId | None
    established: bool
    log_epoch: int
    compacted: Index
    snapshot: Index
    applied: Index
    handed_out: Index
    commit: Index
    commit_term: Term | None
    last: Index
    persisted: Index
    ready_number: int
    membership_index: Index
    membership: Membership


def summarize(state: RaftState) -> Summary:
    """Return what a later `check_step` has to know of this state."""
    log = state.log
    return Summary(
        state.me,
        state.role,
        state.term,
        state.vote,
        state.established,
        state.log_epoch,
        log.base_index,
        state.snapshot.index,
        state.applied,
        state.handed_out,
        state.commit,
        log.term_at(state.commit),
        log.last_index,
        state.persisted,
        state.ready_number,
        state.configuration.index,
        state.membership,
    )


def _progress_is_sound(state: RaftState) -> bool:
    last = state.log.last_index
    most = state.config.inflight_messages_max
    return all(
        peer.match_index < peer.next_index <= last + 1
        and (inflight := peer.inflight_messages) <= (most if peer.mode is Mode.REPLICATE else 0)
        and (inflight > 0 or peer.inflight_bytes == 0)
        for peer in state.progress.values()
    )


def _one_at_a_time(state: RaftState) -> bool:
    """Whoever appended the membership in force, as the leader it is, had seen the one before it committed."""
    configuration = state.configuration
    return state.log.term_at(configuration.index) != state.term or configuration.count_above(state.commit) <= 1


def _may_rest(state: RaftState) -> bool:
    """Say whether nothing is left to be done that a timer would be needed for."""
    reads = state.reads
    return (
        state.leader is not None
        and state.commit == state.log.last_index
        and state.transfer is None
        and state.change is None
        and not (reads.waiting or reads.asked or reads.confirming)
    )


OF_A_STATE: tuple[tuple[str, Callable[[RaftState], bool]], ...] = (
    (
        "compacted ≤ snapshot ≤ committed ≤ last",
        lambda s: s.log.base_index <= s.snapshot.index <= s.commit <= s.log.last_index,
    ),
    ("applied ≤ handed out ≤ committed", lambda s: s.applied <= s.handed_out <= s.commit),
    ("what the snapshot covers is not handed out to be applied", lambda s: s.snapshot.index <= s.handed_out),
    (
        "persisted ≤ last, and handed to the disk ≤ last",
        lambda s: max(s.persisted, s.handed_to_disk) <= s.log.last_index,
    ),
    (
        "terms in the log never fall and never pass the current term",
        lambda s: s.log.base_term <= s.log.last_term <= s.term,
    ),
    ("a term is on disk only once it was reached", lambda s: s.persisted_term <= s.term),
    (
        "in term 0 nobody has voted, runs or leads",
        lambda s: s.term > 0 or (s.vote is None and s.role in (_FOLLOWER, _PRE)),
    ),
    (
        "a candidate and a leader voted for themselves (§5.2)",
        lambda s: s.role not in (_CANDIDATE, _LEADER) or s.vote == s.me,
    ),
    (
        "a leader knows that it leads, who runs knows no leader",
        lambda s: s.role is _FOLLOWER or s.leader == (s.me if s.role is _LEADER else None),
    ),
    ("nobody follows itself", lambda s: s.role is _LEADER or s.leader != s.me),
    ("who might have lost its disk neither runs nor leads", lambda s: s.established or s.role in (_FOLLOWER, _PRE)),
    (
        "a leader keeps progress for exactly the other members, and those on their way out",
        lambda s: s.role is not _LEADER or s.progress.keys() == {*s.membership.everyone(), *s.departing} - {s.me},
    ),
    ("nobody but a leader keeps progress", lambda s: s.role is _LEADER or not s.progress),
    ("matchIndex < nextIndex ≤ last + 1, and windows are kept", _progress_is_sound),
    ("only what stands in the log names a membership", lambda s: s.configuration.index <= s.log.last_index),
    (
        "a leader changes one thing at a time: what came before it is committed (§6)",
        lambda s: s.role is not _LEADER or _one_at_a_time(s),
    ),
    (
        "only a leader hands over, keeps whom it removed, or owes somebody an answer about a change",
        lambda s: s.role is _LEADER or (s.transfer is None and s.change is None and not s.departing),
    ),
    (
        "the leadership goes to a voter (thesis 3.10)",
        lambda s: s.transfer is None or s.transfer.to in s.membership.voters,
    ),
    (
        "whoever neither leads nor sleeps has an election timer",
        lambda s: s.role is _LEADER or s.asleep == (s.election_deadline == float("inf")),
    ),
    (
        "who sleeps leads or follows, has committed all that it holds, and nobody waits for it",
        lambda s: not s.asleep or _may_rest(s),
    ),
    (
        "no read waits where no leader is known",
        lambda s: s.leader is not None or not (s.reads.waiting or s.reads.asked or s.reads.confirming),
    ),
)
"""Name, and what is true of any state."""


def _leads_alone_at_once(before: Summary, after: Summary) -> bool:
    """Say whether a lone voter won without asking anybody: it may have heard of a commit earlier in the same turn."""
    return before.role is not _LEADER and after.membership.voters == (after.me,) and not after.membership.outgoing


_NEXT_ROLES = {
    _FOLLOWER: {_FOLLOWER, _PRE, _CANDIDATE, _LEADER},  # a single voter wins in the step that starts its election
    _PRE: {_PRE, _FOLLOWER, _CANDIDATE, _LEADER},
    _CANDIDATE: {_CANDIDATE, _FOLLOWER, _PRE, _LEADER},
    _LEADER: {_LEADER, _FOLLOWER},
}

OF_A_STEP: tuple[tuple[str, Callable[[Summary, Summary], bool]], ...] = (
    ("the current term increases monotonically", lambda a, b: a.term <= b.term),
    ("at most one vote per term", lambda a, b: a.term < b.term or a.vote is None or a.vote == b.vote),
    ("the commit index increases monotonically", lambda a, b: a.commit <= b.commit),
    ("last applied increases monotonically", lambda a, b: a.applied <= b.applied and a.handed_out <= b.handed_out),
    ("snapshots only move forward", lambda a, b: a.snapshot <= b.snapshot and a.compacted <= b.compacted),
    ("the log shrinks only at a conflict or an install", lambda a, b: a.last <= b.last or a.log_epoch < b.log_epoch),
    (
        "what is on disk is forgotten only at a conflict or an install",
        lambda a, b: a.persisted <= b.persisted or a.log_epoch < b.log_epoch,
    ),
    (
        "Leader Append-Only: a leader never deletes or overwrites",
        lambda a, b: a.role is not _LEADER or b.role is not _LEADER or a.log_epoch == b.log_epoch,
    ),
    (
        "a leader only steps down",
        lambda a, b: (
            b.role in _NEXT_ROLES[a.role] and (a.role is not _LEADER or b.role is not _LEADER or a.term == b.term)
        ),
    ),
    (
        "a candidate starts a new term each time",
        lambda a, b: b.role is not _CANDIDATE or a.role is _CANDIDATE or a.term < b.term,
    ),
    (
        "a leader commits by counting only entries of its own term",
        lambda a, b: (
            b.role is not _LEADER or a.commit == b.commit or b.commit_term == b.term or _leads_alone_at_once(a, b)
        ),
    ),
    (
        "the membership in force is sound",
        lambda a, b: a.membership is b.membership or b.membership.problem() is None,
    ),
    (
        "a leader's membership changes by the rules, through a joint one where voters change (§6)",
        lambda a, b: (
            a.role is not _LEADER
            or b.role is not _LEADER
            or a.membership_index == b.membership_index
            or (is_step(a.membership, b.membership) and a.membership_index <= b.commit)
        ),
    ),
    ("a disk that is trusted stays trusted", lambda a, b: b.established or not a.established),
    ("each Ready has the next number", lambda a, b: b.ready_number - a.ready_number in (0, 1)),
)
"""Name, and what is true of any two consecutive states of one life of a replica."""


def check_state(state: RaftState) -> None:
    """Raise `SafetyViolation` naming the first invariant that this state breaks."""
    for name, holds in OF_A_STATE:
        if not holds(state):
            raise SafetyViolation(f"{state.me}: {name}, but: {summarize(state)}")


def check_step(before: Summary, after: Summary) -> None:
    """Raise `SafetyViolation` naming the first invariant that a step breaks."""
    for name, holds in OF_A_STEP:
        if not holds(before, after):
            raise SafetyViolation(f"{after.me}: {name}, but {before} became {after}")


class Record:
    """What happened in a cluster so far, whoever crashed since: who led which term, and what was committed.

    Invariants: `committed[i]` is the entry at index i + 1, equal to what everybody committed there; `membership` is the
    last one committed, None until one was.
    """

    def __init__(self) -> None:
        self.membership: Membership | None = None
        self.leaders: dict[Term, NodeId] = {}
        self.committed: list[Entry] = []

    def on_leader(self, state: RaftState) -> None:
        """Election Safety, for all time, and Leader Completeness for what is committed by now (Figure 3)."""
        other = self.leaders.setdefault(state.term, state.me)
        if other != state.me:
            raise SafetyViolation(f"Election Safety: {other} and {state.me} both led term {state.term}")
        low, high = state.log.disk_index + 1, len(self.committed)
        last = min(high, state.log.last_index)
        held = state.log.slice(low, last + 1) if low <= last else []
        if state.log.last_index < high or held != self.committed[low - 1 : high]:
            raise SafetyViolation(
                f"Leader Completeness: {state.me} leads term {state.term} with {held[-3:]} up to "
                f"{state.log.last_index}, but {self.committed[-3:]} are committed up to {high}"
            )

    def on_committed(self, state: RaftState, low: Index) -> None:
        """State Machine Safety: what a replica commits from index `low` on is what anybody commits there."""
        low = max(low, state.log.disk_index + 1)
        entries = state.log.slice(low, state.commit + 1) if low <= state.commit else []
        if low > len(self.committed) + 1 and entries:
            raise SafetyViolation(f"{state.me} commits index {low}, but nobody committed {len(self.committed) + 1}")
        known = self.committed[low - 1 : state.commit]
        if entries[: len(known)] != known:
            wrong = next((a, b) for a, b in zip(entries, known, strict=False) if a != b)
            raise SafetyViolation(f"State Machine Safety: {state.me} commits {wrong[0]}, {wrong[1]} is committed")
        for entry in entries[len(known) :]:
            self.committed.append(entry)
            if entry.kind == KIND_MEMBERSHIP:
                self._on_membership(decode_membership(entry.data))

    def _on_membership(self, membership: Membership) -> None:
        """Voters change only by way of a joint membership, whoever led meanwhile (§6)."""
        if self.membership is not None and not is_step(self.membership, membership):
            raise SafetyViolation(f"committed memberships: {membership} must not follow {self.membership}")
        self.membership = membership


class Watch:
    """Follows one life of a replica; call `check` after each step and each `take_ready`."""

    def __init__(self, state: RaftState, record: Record) -> None:
        self._state = state
        self._record = record
        check_state(state)
        self._seen = summarize(state)
        record.on_committed(state, 1)

    def check(self) -> None:
        """Hold the state against itself, against the one before and against the record; raise `SafetyViolation`."""
        state, before = self._state, self._seen
        check_state(state)
        after = summarize(state)
        check_step(before, after)
        if before.commit >= state.log.base_index and state.log.term_at(before.commit) != before.commit_term:
            raise SafetyViolation(f"{state.me}: a committed entry is never changed, but {before} became {after}")
        if after.commit > before.commit:
            self._record.on_committed(state, before.commit + 1)
        if after.role is _LEADER and (before.role is not _LEADER or before.term != after.term):
            self._record.on_leader(state)
        self._seen = after


def check_cluster(states: Collection[RaftState]) -> None:
    """Raise `SafetyViolation` if these replicas, as they are now, break one of the properties of Figure 3."""
    _check_election_safety(states)
    for one, other in combinations(states, 2):
        _check_log_matching(one, other)
        _check_state_machine_safety(one, other)
    _check_leader_completeness(states)
    _check_leases(states)


def _check_election_safety(states: Iterable[RaftState]) -> None:
    """Election Safety: at most one leader in a term."""
    leaders: dict[Term, NodeId] = {}
    for state in states:
        if state.role is _LEADER and leaders.setdefault(state.term, state.me) != state.me:
            raise SafetyViolation(f"Election Safety: {leaders[state.term]} and {state.me} lead term {state.term}")


def _check_log_matching(one: RaftState, other: RaftState) -> None:
    """Log Matching: same index and term, then everything up to there is the same."""
    low = max(one.log.disk_index, other.log.disk_index)
    high = min(one.log.last_index, other.log.last_index)
    while high > low and one.log.term_at(high) != other.log.term_at(high):
        high -= 1
    if high > low and one.log.slice(low + 1, high + 1) != other.log.slice(low + 1, high + 1):
        raise SafetyViolation(f"Log Matching: {one.me} and {other.me} agree at {high} and differ before it")


def _check_state_machine_safety(one: RaftState, other: RaftState) -> None:
    """State Machine Safety: nobody commits another entry at the same index."""
    low = max(one.log.disk_index, other.log.disk_index)
    high = min(one.commit, other.commit)
    if high > low and one.log.slice(low + 1, high + 1) != other.log.slice(low + 1, high + 1):
        raise SafetyViolation(f"State Machine Safety: {one.me} and {other.me} differ within what both committed")


def _check_leader_completeness(states: Collection[RaftState]) -> None:
    """Leader Completeness: the leader of the highest term holds whatever anybody committed."""
    highest = max((state.term for state in states), default=0)
    for leader in states:
        if leader.role is _LEADER and leader.term == highest:
            for state in states:
                term = leader.log.term_at(state.commit)
                if state.commit >= leader.log.base_index and term != state.log.term_at(state.commit):
                    raise SafetyViolation(
                        f"Leader Completeness: {leader.me} leads term {highest} and has term {term} at "
                        f"{state.commit}, where {state.me} committed term {state.log.term_at(state.commit)}"
                    )


def _check_leases(states: Collection[RaftState]) -> None:
    """Nobody leads a later term while a lease of an earlier one holds; all clocks are taken for one (thesis 6.4.1)."""
    now = max((state.now for state in states), default=0.0)
    for holder in states:
        if now < lease_until(holder):
            for other in states:
                if other.role is _LEADER and other.term > holder.term:
                    raise SafetyViolation(
                        f"{other.me} leads term {other.term} while {holder.me} reads on its lease of term {holder.term}"
                    )
