"""What must hold after every step of every node: Raft's promises, checked against an all-knowing record.

The record survives crashes: who led which term, who voted for whom, what was committed at each index, what each state
machine's digest was there. Each check names the promise it guards; a violation ends the run.
"""

from typing import TYPE_CHECKING, Any

from raftline.core.ids import Index, NodeId, Term
from raftline.core.messages import AppendReply, AppendRequest, VoteReply, VoteRequest
from raftline.core.quorum import has_quorum
from raftline.core.ready import Ready
from raftline.core.state import RaftState, Role
from raftline.errors import SafetyViolation

if TYPE_CHECKING:
    from raftline.runtime.node import Node
    from raftline.sim.cluster import Member, SimCluster

__all__ = ["Checkers"]


class _Durable:
    """What a node's disk is known to hold, by watching its log's batches succeed."""

    def __init__(self) -> None:
        self.term: Term = 0
        self.vote: NodeId | None = None
        self.last_index: Index = 0
        self.snapshot_index: Index = 0

    def note(self, batch: list[Ready]) -> None:
        """Take in what the disk thread reported as durable."""
        for ready in batch:
            if ready.reset is not None:
                self.last_index = ready.reset.index
            if ready.hard_state is not None:
                self.term = ready.hard_state.term
                self.vote = ready.hard_state.vote
            if ready.entries:
                self.last_index = ready.entries[-1].index


class _Watched:
    """The last seen positions of one incarnation."""

    __slots__ = ("applied", "commit", "core", "leader_term", "node", "replica", "term")

    def __init__(self, node: "Node") -> None:
        self.node = node
        group = node._group  # noqa: SLF001  the simulator looks inside, it changes nothing
        assert group is not None, "started"
        self.replica = group.replica
        self.core = group.replica.core
        self.term: Term = self.core.term
        self.commit: Index = self.core.state.commit
        self.applied: Index = self.replica.applied
        self.leader_term: Term = 0


class Checkers:
    """The record, and the checks against it.

    Invariant: `committed[i]` is the (term, data) committed at index i + 1, agreed by everybody who ever committed it.
    """

    def __init__(self, cluster: "SimCluster") -> None:
        self._cluster = cluster
        self._watched: dict[NodeId, _Watched] = {}
        self._durable: dict[NodeId, _Durable] = {}
        self.leaders: dict[Term, NodeId] = {}
        self.votes: dict[tuple[NodeId, Term], NodeId] = {}
        self.terms: dict[NodeId, Term] = {}
        self.committed: list[tuple[Term, bytes, int]] = []
        self.digests: dict[Index, int] = {}
        self.steps = 0
        self.elections = 0

    def watch(self, member: "Member", node: "Node") -> None:
        """Follow a new incarnation: each of its turns, and each batch of its log."""
        watched = _Watched(node)
        self._watched[member.name] = watched
        durable = self._durable.setdefault(member.name, _Durable())
        if watched.core.term < self.terms.get(member.name, 0):
            self._violated(member.name, f"term went back from {self.terms[member.name]} to {watched.core.term} (C4)")
        group = node._group  # noqa: SLF001
        assert group is not None, "started"
        state = watched.core.state
        durable.term, durable.vote, durable.last_index = state.term, state.vote, state.log.last_index
        persistence = group.persistence
        turn, on_durable = group._turn, persistence._on_durable  # noqa: SLF001

        def watched_turn() -> None:
            turn()
            if self._watched.get(member.name) is watched:
                self.check(member.name, watched)

        def watched_on_durable(batch: list[Ready]) -> None:
            durable.note(batch)
            on_durable(batch)

        group._turn = watched_turn  # type: ignore[method-assign]  # noqa: SLF001
        persistence._on_durable = watched_on_durable  # noqa: SLF001

    def forget(self, member: "Member") -> None:
        """Stop following an incarnation that is gone."""
        watched = self._watched.pop(member.name, None)
        if watched is not None:
            self.terms[member.name] = max(self.terms.get(member.name, 0), self._durable[member.name].term)

    def on_wiped(self, member: "Member") -> None:
        """A disk was lost: its terms and votes are gone with it."""
        self.terms.pop(member.name, None)
        self._durable.pop(member.name, None)
        for key in [key for key in self.votes if key[0] == member.name]:
            del self.votes[key]

    # Before a message leaves.

    def on_sent(self, source: NodeId, target: NodeId, message: Any) -> None:
        """Nothing is said that is not on disk (C2), and nobody votes twice in a term (A11)."""
        durable = self._durable.get(source)
        if durable is None:
            return
        kind = type(message)
        if kind is VoteRequest:
            if not message.pre_vote and (durable.term < message.term or durable.vote != source):
                self._violated(source, f"asks for votes in term {message.term} before its own vote is on disk (C2)")
        elif kind is VoteReply:
            if message.granted and not message.pre_vote:
                self._on_vote(source, target, message.request_term, durable)
        elif kind is AppendReply:
            if durable.term < message.term:
                self._violated(source, f"speaks of term {message.term} before it is on disk (C2)")
            reached = max(durable.last_index, self._snapshot_index(source))
            if message.success and message.match_index > reached:
                self._violated(source, f"acknowledges {message.match_index}, but {reached} is on disk (C2, C5)")
        elif kind is AppendRequest and durable.term < message.term:
            self._violated(source, f"leads term {message.term} before it is on disk (C2)")

    def _on_vote(self, voter: NodeId, candidate: NodeId, term: Term, durable: _Durable) -> None:
        if durable.term < term or (durable.term == term and durable.vote != candidate):
            self._violated(voter, f"gives its vote of term {term} to {candidate} before it is on disk (C3)")
        given = self.votes.setdefault((voter, term), candidate)
        if given != candidate:
            self._violated(voter, f"votes for {given} and for {candidate} in term {term} (A11)")

    def _snapshot_index(self, name: NodeId) -> Index:
        watched = self._watched.get(name)
        return watched.core.state.snapshot.index if watched is not None else 0

    # After a turn.

    def check(self, name: NodeId, watched: _Watched) -> None:
        """Hold one node's state after its turn against the record."""
        self.steps += 1
        state = watched.core.state
        applied = watched.replica.applied
        if state.term < watched.term:
            self._violated(name, f"term went back from {watched.term} to {state.term} (A8)")
        if state.commit < watched.commit:
            self._violated(name, f"commit index went back from {watched.commit} to {state.commit} (B32)")
        if applied < watched.applied:
            self._violated(name, f"applied index went back from {watched.applied} to {applied} (D9)")
        if not state.log.base_index <= state.snapshot.index <= max(applied, state.snapshot.index) <= state.commit:
            self._violated(
                name,
                f"positions out of order: compacted {state.log.base_index}, snapshot {state.snapshot.index}, "
                f"applied {applied}, committed {state.commit}",
            )
        if not state.commit <= state.log.last_index or not state.persisted <= state.log.last_index:
            self._violated(
                name, f"committed {state.commit} or persisted {state.persisted} beyond last {state.log.last_index}"
            )
        if state.role is Role.LEADER and watched.leader_term != state.term:
            watched.leader_term = state.term
            self._on_elected(name, state)
        if state.commit > watched.commit:
            self._on_committed(name, state, watched.commit)
        if applied != watched.applied:
            self._on_applied(name, watched, applied)
        watched.term, watched.commit, watched.applied = state.term, state.commit, applied

    def _on_elected(self, name: NodeId, state: RaftState) -> None:
        """At most one leader per term (§5.2), and it holds every committed entry (§5.4)."""
        self.elections += 1
        other = self.leaders.setdefault(state.term, name)
        if other != name:
            self._violated(name, f"leads term {state.term}, which {other} led: election safety is broken")
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
        if state.role is Role.LEADER:
            self._check_quorum_stores(name, state)

    def _check_quorum_stores(self, name: NodeId, state: RaftState) -> None:
        index = state.commit
        holders = []
        for member in state.membership.everyone():
            durable = self._durable.get(member)
            if durable is not None and max(durable.last_index, self._snapshot_index(member)) >= index:
                holders.append(member)
        if not has_quorum(state.membership, holders):
            self._violated(name, f"commits index {index}, which only {holders} have on disk (B11, B13)")

    def _on_applied(self, name: NodeId, watched: _Watched, applied: Index) -> None:
        """Equal indices, equal state machines (§5.4.3)."""
        digest = watched.replica.digest
        if digest.index != applied:
            return
        known = self.digests.setdefault(applied, digest.value)
        if known != digest.value:
            self._violated(name, f"state machine differs at index {applied}")

    def _violated(self, name: NodeId, what: str) -> None:
        raise SafetyViolation(f"{name} at {self._cluster.world.now:.6f} s: {what}")
