"""What must hold after every step of every node: Raft's promises, checked against an all-knowing record.

The record survives crashes: who led which term, who voted for whom, what was committed at each index, what each state
machine's digest was there. Each check names the promise it guards; a violation ends the run.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import msgspec

from raftline.core import invariants
from raftline.core.entries import KIND_MEMBERSHIP
from raftline.core.ids import GroupId, Index, NodeId, Term
from raftline.core.lease import lease_until
from raftline.core.membership import Membership
from raftline.core.ready import Ready
from raftline.core.state import RaftState, Role
from raftline.errors import SafetyViolation
from raftline.runtime.group_loop import GroupLoop
from raftline.sim.lock_checks import LockChecks
from raftline.sim.majorities import can_decide
from raftline.sim.membership_checks import MembershipChecks
from raftline.sim.message_checks import Durable, LogRecord, MessageChecks
from raftline.sim.state_checks import StateChecks
from raftline.sim.step_checks import StepChecks, Timeouts
from raftline.wal.wal import Write

if TYPE_CHECKING:
    from raftline.runtime.node import Node
    from raftline.sim.cluster import Member, SimCluster

__all__ = ["Checkers"]

_WAKE_UPS_PER_HEARTBEAT_MIN = 3
"""Within a heartbeat interval a leader wakes up for each peer, also for those that were removed and do not know it yet;
a wake-up may come too early and be repeated."""


_OVERDUE_S_MAX = 0.5
"""Requests are looked through ten times as often."""


class _Watched:
    """The last seen positions of one incarnation."""

    __slots__ = (
        "applied",
        "commit",
        "core",
        "group",
        "is_unchecked",
        "leader_term",
        "overdue",
        "refusals",
        "replica",
        "summary",
        "term",
        "version",
    )

    def __init__(self, group: GroupLoop, timeouts: Timeouts) -> None:
        self.group = group
        self.replica = group.replica
        self.core = group.replica.core
        self.term: Term = self.core.term
        self.commit: Index = self.core.state.commit
        self.applied: Index = self.replica.applied
        self.leader_term: Term = 0
        self.is_unchecked = False
        """It took a turn, and what it said there has not left yet."""
        self.overdue: tuple[object, float] = (None, 0.0)
        """The oldest request, if its time is up, and since when that is known."""
        self.summary = invariants.summarize(self.core.state)
        self.version = self.replica.version.in_force
        self.refusals = StepChecks(self.core, timeouts).refusals


class _WakeUps:
    """Counts how often a node's timer fires: one timer, set again when it has fired or comes too late (A25, F19)."""

    def __init__(self, name: NodeId, watched: _Watched) -> None:
        self._name = name
        self._time = watched.group._loop.time  # noqa: SLF001
        self._state = watched.core.state
        self._second = 0
        self._fired = 0
        self._most = 0.0
        """The most that was allowed within this second: members come and go in less."""

    def _most_now(self) -> float:
        """Return how often it may fire within a second with the members that it has now, and those on their way out."""
        state, config = self._state, self._state.config
        if config.commit_notice_s != float("inf"):
            return float("inf")
        spoken_to = {*state.membership.everyone(), *state.departing}
        return max(_WAKE_UPS_PER_HEARTBEAT_MIN, len(spoken_to)) / config.heartbeat_interval_s

    def count(self, fire: Callable[[], None]) -> Callable[[], None]:
        """Return `fire`, counted."""

        def counted() -> None:
            second = int(self._time())
            if second != self._second:
                self._second, self._fired, self._most = second, 0, 0.0
            self._fired += 1
            self._most = max(self._most, self._most_now())
            if self._fired > self._most:
                raise SafetyViolation(f"{self._name}: its timer fired {self._fired} times within a second (A25, F19)")
            fire()

        return counted


class Checkers:
    """The record, and the checks against it.

    Invariant: `committed[i]` is the (term, data, kind) committed at index i + 1, agreed by everybody who committed it.
    """

    def __init__(self, cluster: "SimCluster", group: GroupId = 0) -> None:
        self._cluster = cluster
        self._group = group
        self._watched: dict[NodeId, _Watched] = {}
        self._timeouts = Timeouts()
        self._logs = LogRecord()
        self._states = StateChecks()
        self.locks = LockChecks()
        self._memberships: MembershipChecks | None = None
        self._wiped: dict[NodeId, Index] = {}
        """How far the disks went that were lost."""
        self._messages = MessageChecks(self._clock_of, self._state_of)
        self._durable = self._messages.durable
        self.leaders = self._messages.leaders
        self.committed: list[tuple[Term, bytes, int]] = []
        self.digests: dict[Index, int] = {}
        self.version = 1
        """The newest version of commands that anybody may use."""
        self.steps = 0
        self.elections = 0
        self.on_sent = self._messages.on_sent
        self.on_delivered = self._messages.on_delivered

    def watch(self, member: "Member", node: "Node") -> None:
        """Follow a new incarnation: each step, each of its turns, and each batch of its log."""
        name = member.name
        watched = _Watched(node.groups[self._group].driver, self._timeouts)
        state = watched.core.state
        known = self._durable.get(name)
        if known is not None:
            known.check_recovered(state)
        durable = self._durable[name] = known or Durable()
        durable.term, durable.vote, durable.last_index = state.term, state.vote, state.log.last_index
        durable.snapshot_index = state.snapshot.index
        if self._memberships is None:
            self._memberships = MembershipChecks(Membership.of(self._cluster.first_addresses))
        self._memberships.forget(name)
        if name not in self._cluster.first_addresses:
            self._memberships.note_newcomer(name)
        if state.commit > len(self.committed):
            self._violated(name, f"starts with commit index {state.commit}, {len(self.committed)} was committed (C12)")
        self._watched[name] = watched
        self._messages.failed.discard(name)
        self._watch_turns(name, watched, durable)
        self._states.watch(name, watched.group)
        machine = watched.replica.machine
        machine.apply = self.locks.watched(machine.apply)  # type: ignore[method-assign,assignment]

    def _watch_turns(self, name: NodeId, watched: _Watched, durable: Durable) -> None:
        """Put checks around what the group loop does; its own code is what runs."""
        group = watched.group
        persistence = group.persistence
        wal = group.host.wal
        durable.appended.clear()
        append = wal.append
        on_durable, on_failure = persistence.on_durable, persistence._on_failure  # noqa: SLF001

        def watched_append(writes: Sequence[Write]) -> None:
            append(writes)
            anew = persistence.anew_write  # holds nothing that was not there
            durable.appended.extend(write for write in writes if write.group == group.group_id and write is not anew)

        def watched_on_durable(batch: list[Ready]) -> None:
            durable.note(name, batch)
            for ready in batch:
                if ready.entries:
                    self._logs.note(name, ready.entries)
            on_durable(batch)
            durable.reached = 0

        def watched_on_failure(error: BaseException) -> None:
            self._messages.failed.add(name)
            on_failure(error)

        group._on_timer = _WakeUps(name, watched).count(group._on_timer)  # type: ignore[method-assign]  # noqa: SLF001
        self._watch_turn(name, watched)
        wal.append = watched_append  # type: ignore[method-assign]
        wal.release = self._watched_release(name, watched, wal.release)  # type: ignore[method-assign,assignment]
        persistence.on_durable = watched_on_durable
        persistence._on_failure = watched_on_failure  # noqa: SLF001

    def _watch_turn(self, name: NodeId, watched: _Watched) -> None:
        """Look at the state after each turn, when what was said in it has left."""
        group = watched.group
        transport = group.host.transport
        turn, flush = group._turn, transport.flush  # noqa: SLF001

        def watched_turn() -> None:
            stopped = group._stopped  # noqa: SLF001
            if watched.is_unchecked and not stopped:
                watched_flush()
            state = watched.core.state
            before = (state.now, state.ready_number)
            turn()
            if stopped and (state.now, state.ready_number) != before:
                self._violated(name, "takes turns after it was stopped (F22, E8)")
            watched.is_unchecked = True

        def watched_flush() -> None:
            flush()
            if not watched.is_unchecked:
                return
            watched.is_unchecked = False
            # A node that has just stopped says itself why; its half-finished turn would only hide it.
            if self._watched.get(name) is watched and not group._stopped:  # noqa: SLF001
                self.check(name, watched)

        transport.flush = watched_flush  # type: ignore[method-assign]
        group._turn = watched_turn  # type: ignore[method-assign]  # noqa: SLF001

    def _watched_release(
        self, name: NodeId, watched: _Watched, release: Callable[[GroupId, Index], int]
    ) -> Callable[[GroupId, Index], int]:
        """Return the log's `release`, which must stop where the newest durable snapshot ends (C11, D12)."""

        def watched_release(group: GroupId, index: Index) -> int:
            covered = watched.core.state.snapshot.index
            if index > covered and group == self._group:
                self._violated(name, f"lets its log go up to {index}, its snapshot ends at {covered} (C11, D12)")
            return release(group, index)

        return watched_release

    def on_removed(self, member: "Member") -> None:
        """The node hosts the group no more, and forgot it for good; later it may begin with nothing."""
        self.forget(member)
        self._durable.pop(member.name, None)
        self._messages.forget_votes_of(member.name)

    def forget(self, member: "Member") -> None:
        """Stop following an incarnation that is gone."""
        watched = self._watched.pop(member.name, None)
        self._messages.leading.forget(member.name)
        if watched is not None:
            persistence = watched.group.persistence
            under_way = (*persistence._writing, *persistence._waiting)  # noqa: SLF001
            self._durable[member.name].note_crash(under_way)

    def on_failed(self, member: "Member") -> None:
        """A node stopped by itself: from now on it has to be silent (E8, F22)."""
        self._messages.failed.add(member.name)

    def on_wiped(self, member: "Member") -> None:
        """A disk was lost: its terms and votes are gone with it."""
        before = self._durable.pop(member.name, None)
        if before is not None:
            self._wiped[member.name] = max(before.last_index, before.snapshot_index)
        self._messages.lost[member.name] = len(self.committed)
        self._messages.forget_votes_of(member.name)

    def check_equal_states(self) -> None:
        """Hold what all state machines contain against each other (G1)."""
        self._states.check_equal({name: watched.replica for name, watched in self._watched.items()})

    def _clock_of(self, name: NodeId) -> float:
        """Return what a node's own monotonic clock shows, virtual time while it is down."""
        loop = self._cluster.everybody[name].loop
        return self._cluster.world.now if loop is None else loop.time()

    def _state_of(self, name: NodeId) -> RaftState | None:
        watched = self._watched.get(name)
        return None if watched is None else watched.core.state

    # After a turn.

    def check(self, name: NodeId, watched: _Watched) -> None:
        """Hold one node's state after its turn against the record."""
        self.steps += 1
        state = watched.core.state
        applied = watched.replica.applied
        self.locks.check()
        self._check_step(name, state, watched)
        if applied < watched.applied:
            self._violated(name, f"applied index went back from {watched.applied} to {applied} (D9)")
        if applied > state.commit:
            self._violated(name, f"has applied {applied}, but only {state.commit} is committed")
        if state.role is Role.LEADER and watched.leader_term != state.term:
            watched.leader_term = state.term
            self._on_elected(name, state)
        if state.role is Role.LEADER:
            self._check_matches(name, state)
            self._messages.leading.check_turn(watched.core, watched.refusals)
        watched.refusals.clear()
        if state.commit > watched.commit:
            self._on_committed(name, state, watched.commit)
        assert self._memberships is not None, "somebody is watched"
        self._memberships.on_turn(state, len(self.committed))
        if applied != watched.applied:
            self._on_applied(name, watched, applied)
        has_work = watched.replica.has_work or (watched.core.has_more and watched.replica.restoring is None)
        if has_work and not watched.group._scheduled:  # noqa: SLF001
            self._violated(name, f"has applied {applied} and leaves what is committed behind it lying (F10)")
        waits_for = watched.replica.waiters.first_index
        if waits_for is not None and waits_for <= applied:
            self._violated(name, f"lets somebody wait for index {waits_for}, it has applied {applied} (F13, G5)")
        self._check_overdue(name, watched)
        watched.term, watched.commit, watched.applied = state.term, state.commit, applied

    def _check_overdue(self, name: NodeId, watched: _Watched) -> None:
        """Nobody waits for longer than was asked for; a node that stood still has a moment to say so (G5)."""
        requests = watched.group._deadlines._requests  # noqa: SLF001
        now = watched.core.state.now
        if not requests or requests[0].done is None or requests[0].deadline > now - _OVERDUE_S_MAX:
            return
        request, since = watched.overdue
        if request is not requests[0]:
            watched.overdue = (requests[0], now)
        elif now > since + _OVERDUE_S_MAX:
            late_s = now - requests[0].deadline
            self._violated(name, f"lets somebody wait {late_s:.3f} s longer than its time (G5)")

    def _check_step(self, name: NodeId, state: RaftState, watched: _Watched) -> None:
        """Hold the state against the invariants, and against what it was after the turn before."""
        invariants.check_state(state)
        summary, before = invariants.summarize(state), watched.summary
        if summary == before:
            return
        if summary.ready_number > before.ready_number:  # a turn may hand out several, one after the other
            before = msgspec.structs.replace(before, ready_number=summary.ready_number - 1)
        invariants.check_step(before, summary)
        watched.summary = summary
        self._durable[name].snapshot_index = state.snapshot.index

    def _on_elected(self, name: NodeId, state: RaftState) -> None:
        """At most one leader per term (§5.2), and it holds every committed entry (§5.4)."""
        self.elections += 1
        other = self.leaders.setdefault(state.term, name)
        if other != name:
            self._violated(name, f"leads term {state.term}, which {other} led: election safety is broken")
        self._check_leases(name, state.term)
        voters = self._messages.voters_for(name, state.term)
        if state.membership.voters == (name,):
            voters.add(name)  # it asks nobody
        if not can_decide(state.membership, voters):
            self._violated(name, f"leads term {state.term} with the votes of {sorted(voters)} only (A16, A17, A27)")
        others = {member for member in state.membership.everyone() if member != name}
        unaware = others - self._messages.announced.get((name, state.term), set())
        if unaware:
            self._violated(name, f"won term {state.term} and did not tell {sorted(unaware)} at once (A19)")
        matched = [peer for peer, progress in state.progress.items() if progress.match_index]
        if matched:
            self._violated(name, f"won term {state.term} and takes {matched} for matching before any answer (B19)")
        for index in range(len(self.committed), state.log.base_index, -1):
            term = state.log.term_at(index)
            if term != self.committed[index - 1][0]:
                self._violated(
                    name,
                    f"was elected in term {state.term} without entry {index}, committed in term "
                    f"{self.committed[index - 1][0]} (has {term}): leader completeness is broken",
                )
            if len(self.committed) - index > 100:
                break  # by log matching the rest agrees; it was checked when it was committed

    def _check_leases(self, name: NodeId, term: Term) -> None:
        """Nobody wins while a leader of an earlier term may read on its lease, by its own clock (thesis 6.4.1)."""
        if not self._cluster.relies_on_clocks:
            return
        for other, watched in self._watched.items():
            state = watched.core.state
            if state.role is Role.LEADER and state.term < term and self._clock_of(other) < lease_until(state):
                self._violated(name, f"won term {term} while {other} may read on its lease of term {state.term} (G3)")

    def _on_committed(self, name: NodeId, state: RaftState, before: Index) -> None:
        """What is committed is the same everywhere (§5.4.3), and stored by a quorum when it first is (B13)."""
        for index in range(max(before, state.log.base_index) + 1, state.commit + 1):
            entry = state.log.entry(index)
            seen = (entry.term, entry.data, entry.kind)
            if index <= len(self.committed):
                if self.committed[index - 1] != seen:
                    self._violated(
                        name,
                        f"commits {seen} at index {index}, where {self.committed[index - 1]} was committed: "
                        f"state machine safety is broken",
                    )
                continue
            if index != len(self.committed) + 1:
                self._violated(name, f"commits index {index}, but {len(self.committed) + 1} was never committed")
            self.committed.append(seen)
            if entry.kind == KIND_MEMBERSHIP and self._memberships is not None:
                self._memberships.on_committed(name, index, entry.data)
        if state.role is Role.LEADER:
            self._check_quorum_stores(name, state)

    def _check_matches(self, name: NodeId, state: RaftState) -> None:
        """A leader takes nobody for further than its disk is (B19, B20, D10, D15, E1)."""
        for peer, progress in state.progress.items():
            durable = self._durable.get(peer)
            if durable is None or durable.term != state.term or progress.match_index <= durable.last_index:
                continue
            if progress.match_index > max(durable.last_index, self._snapshot_index(peer)) and not self._is_new(peer):
                self._violated(
                    name, f"takes {peer} for matching up to {progress.match_index}, {durable.last_index} is on its disk"
                )

    def _is_new(self, name: NodeId) -> bool:
        """Say whether a node lost its disk and is not trusted again yet."""
        state = self._state_of(name)
        return name in self._messages.lost and (state is None or not state.established)

    def _snapshot_index(self, name: NodeId) -> Index:
        state = self._state_of(name)
        return state.snapshot.index if state is not None else self._durable[name].snapshot_index

    def _check_quorum_stores(self, name: NodeId, state: RaftState) -> None:
        index = state.commit
        holders = []
        for member in state.membership.everyone():
            durable = self._durable.get(member)
            stored = durable is not None and max(durable.last_index, self._snapshot_index(member)) >= index
            if stored or (self._wiped.get(member, 0) >= index and self._counts_on(state, member, index)):
                holders.append(member)
        before = state.configuration.at(index)  # a change that follows in the same turn was not asked yet
        if not (can_decide(state.membership, holders) or can_decide(before, holders)):
            self._violated(name, f"commits index {index}, which only {holders} have on disk (B11, B13)")

    def _counts_on(self, state: RaftState, member: NodeId, index: Index) -> bool:
        """Say whether a leader was told that `member` has `index`, and not yet that its disk was lost since (C14)."""
        progress = state.progress.get(member)
        return progress is not None and progress.is_trusted and progress.match_index >= index

    def _on_applied(self, name: NodeId, watched: _Watched, applied: Index) -> None:
        """Equal indices, equal state machines (§5.4.3)."""
        if watched.replica.version.in_force > watched.version:
            watched.version = watched.replica.version.in_force
            self.version = max(self.version, watched.version)
            self._check_version(name, watched)
        digest = watched.replica.digest
        if digest.index != applied:
            return
        known = self.digests.setdefault(applied, digest.value)
        if known != digest.value:
            self._violated(name, f"state machine differs at index {applied}")

    def _check_version(self, name: NodeId, watched: _Watched) -> None:
        """A version of commands is used only once every member's state machine knows it (G1)."""
        for member in watched.core.state.membership.everyone():
            machine = self._cluster.everybody[member].machine
            if machine is not None and machine.version < watched.version:
                self._violated(
                    name, f"lets commands of version {watched.version} be used, {member} knows {machine.version} (G1)"
                )

    def _violated(self, name: NodeId, what: str) -> NoReturn:
        raise SafetyViolation(f"{name}: {what}")
