"""What a node may say, checked at the moment a message leaves: nothing that its disk does not hold, nothing twice.

Knows what each disk holds by watching batches succeed, and who voted for whom since the beginning, lost disks
included. Numbers in messages are those of docs/rules.md.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from raftline.core.entries import Entry, HardState
from raftline.core.ids import Index, NodeId, Term
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    SnapshotReply,
    SnapshotRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftline.core.ready import Ready
from raftline.core.state import RaftState
from raftline.errors import SafetyViolation
from raftline.sim.leader_checks import LeaderChecks
from raftline.wal.wal import Write

__all__ = ["Durable", "LogRecord", "MessageChecks"]

_RESENT_MIN = 0.7
"""In heartbeat intervals: the last message may be repeated with a heartbeat, not sooner; entries before it only if
somebody asked."""


class LogRecord:
    """Every entry that any disk ever held: same index and term, same entry, same predecessor (Log Matching, §5.3)."""

    def __init__(self) -> None:
        self._entries: dict[tuple[Index, Term], tuple[bytes, int]] = {}
        self._before: dict[tuple[Index, Term], Term] = {}

    def note(self, node: NodeId, entries: Iterable[Entry]) -> None:
        """Take in what a node made durable; raise `SafetyViolation` if another entry is known there."""
        previous: Entry | None = None
        for entry in entries:
            key = (entry.index, entry.term)
            content = (entry.data, entry.kind)
            if self._entries.setdefault(key, content) != content:
                raise SafetyViolation(
                    f"{node}: stores {content} at index {entry.index} of term {entry.term}, where another node stored "
                    f"{self._entries[key]}: log matching is broken (B2)"
                )
            if previous is not None and self._before.setdefault(key, previous.term) != previous.term:
                raise SafetyViolation(
                    f"{node}: stores entry {entry.index} of term {entry.term} behind one of term {previous.term}, "
                    f"another node behind term {self._before[key]}: log matching is broken (B2)"
                )
            previous = entry


class Durable:
    """What a node's disk is known to hold, by watching its log's batches succeed."""

    def __init__(self) -> None:
        self.term: Term = 0
        self.vote: NodeId | None = None
        self.last_index: Index = 0
        self.snapshot_index: Index = 0
        self.reached: Index = 0
        """Where the log ended at the furthest within the batch that is being reported: a later part may have cut it."""
        self.floor: Index = 0
        """Where the log may end after the last crash, at the least."""
        self.appended: deque[Write] = deque()
        """What the log took and was not reported yet, in this incarnation."""
        self._hard_state: HardState | None = None

    def note(self, name: NodeId, batch: list[Ready]) -> None:
        """Take in what a node counts as durable: it must have been written (C2), and worth it (C7)."""
        for ready in batch:
            if ready.must_persist:
                self._check_written(name, ready)
            if ready.reset is not None:
                self.last_index = ready.reset.index
            if ready.hard_state is not None:
                self.term = ready.hard_state.term
                self.vote = ready.hard_state.vote
                self._hard_state = ready.hard_state
            if ready.entries:
                self.last_index = ready.entries[-1].index
            self.reached = max(self.reached, self.last_index)

    def _check_written(self, name: NodeId, ready: Ready) -> None:
        written = self.appended.popleft() if self.appended else None
        if written is None or (written.entries, written.hard_state) != (ready.entries, ready.hard_state):
            raise SafetyViolation(f"{name}: counts on what its log has not been given yet (C2)")
        if not ready.entries and ready.reset is None and ready.hard_state == self._hard_state:
            raise SafetyViolation(f"{name}: writes {ready.hard_state}, which is on its disk already (C7)")

    def note_crash(self, under_way: Iterable[Ready]) -> None:
        """A crash came while these batches were being written: the disk may hold any part of them."""
        self.floor = self.last_index
        for ready in under_way:
            if ready.reset is not None:
                self.floor = min(self.floor, ready.reset.index)
            if ready.entries:
                self.floor = min(self.floor, ready.entries[0].index - 1)

    def check_recovered(self, state: RaftState) -> None:
        """Hold what a start found against what was on disk before (C3 to C5, C13)."""
        name, found = state.me, state.log.last_index
        if state.term < self.term:
            raise SafetyViolation(f"{name}: term went back from {self.term} to {state.term} over a restart (C4)")
        if state.term == self.term and self.vote is not None and state.vote != self.vote:
            raise SafetyViolation(f"{name}: forgot its vote of term {state.term} for {self.vote}: {state.vote} (C3)")
        if state.snapshot.index < self.snapshot_index:
            raise SafetyViolation(f"{name}: its snapshot went back from {self.snapshot_index} over a restart (D12)")
        newer = state.snapshot.index > self.snapshot_index
        if found < self.floor and not (newer and found >= state.snapshot.index):
            raise SafetyViolation(f"{name}: its log ends at {found} after a restart, {self.floor} was on disk (C5)")


class _Stream:
    """What one leader has sent to one follower in its present term."""

    __slots__ = ("at", "highest", "prev", "term")

    def __init__(self, term: Term) -> None:
        self.term = term
        self.highest: Index = 0
        self.prev: Index = 0
        self.at = float("-inf")


class MessageChecks:
    """Sees every message as it leaves its sender."""

    def __init__(self, clock: Callable[[NodeId], float], state_of: Callable[[NodeId], RaftState | None]) -> None:
        self._clock = clock
        self._state_of = state_of
        self.leading = LeaderChecks(clock, state_of)
        self.durable: dict[NodeId, Durable] = {}
        self.leaders: dict[Term, NodeId] = {}
        self.announced: dict[tuple[NodeId, Term], set[NodeId]] = {}
        self.failed: set[NodeId] = set()
        """Nodes whose disk failed and that are to be silent."""
        self.lost: dict[NodeId, Index] = {}
        """Nodes that lost their disk, and what was committed then."""
        self._votes: dict[tuple[NodeId, Term], NodeId] = {}
        self._cast: dict[Term, dict[NodeId, NodeId]] = {}
        self._streams: dict[tuple[NodeId, NodeId], _Stream] = {}
        self._of_kind: dict[type, Callable[[NodeId, NodeId, Any, Durable], None]] = {
            AppendRequest: self._on_append_request,
            AppendReply: self._on_append_reply,
            VoteRequest: self._on_vote_request,
            VoteReply: self._on_vote_reply,
            SnapshotRequest: self._on_snapshot_request,
            TimeoutNow: self._on_timeout_now,
        }

    def forget_votes_of(self, node: NodeId) -> None:
        """A disk was lost, and with it the votes it remembered."""
        for key in [key for key in self._votes if key[0] == node]:
            del self._votes[key]

    def voters_for(self, candidate: NodeId, term: Term) -> set[NodeId]:
        """Return everybody whose vote for `candidate` in `term` left, the candidate included if it voted."""
        return {voter for voter, chosen in self._cast.get(term, {}).items() if chosen == candidate}

    def on_delivered(self, source: NodeId, target: NodeId, message: Any) -> None:
        """A follower answered: what was sent to it may be sent again."""
        kind = type(message)
        if kind is AppendReply or kind is SnapshotReply:
            stream = self._streams.get((target, source))
            if stream is not None:
                stream.at = float("-inf")
                stream.highest = 0
        if kind is AppendReply and message.unestablished and not message.success:
            self.leading.on_doubted(target, source)

    def on_sent(self, source: NodeId, target: NodeId, message: Any) -> None:
        """Nothing is said that is not on disk (C2), and nobody votes twice in a term (A11)."""
        if source in self.failed:
            self._violated(source, f"sends {type(message).__name__} after its disk failed (E8)")
        durable = self.durable.get(source)
        if durable is None:
            return
        check = self._of_kind.get(type(message))
        if check is not None:
            check(source, target, message, durable)

    def _on_append_reply(self, source: NodeId, _target: NodeId, reply: AppendReply, durable: Durable) -> None:
        if durable.term < reply.term:
            self._violated(source, f"speaks of term {reply.term} before it is on disk (C2)")
        if reply.success and reply.match_index > durable.last_index:
            reached = max(durable.last_index, durable.reached, self._snapshot_index(source))
            if reply.match_index > reached:
                self._violated(source, f"acknowledges {reply.match_index}, but {reached} is on disk (C2, C5)")

    def _on_vote_request(self, source: NodeId, _target: NodeId, request: VoteRequest, durable: Durable) -> None:
        if not request.pre_vote:
            # A later term may be on disk by now: what waits for one write goes to the disk, and is said, together.
            if durable.term < request.term or (durable.term == request.term and durable.vote != source):
                self._violated(source, f"asks for votes in term {request.term}, its disk says otherwise (C2, E11)")
            self._on_vote(source, source, request.term, durable)

    def _on_vote_reply(self, source: NodeId, target: NodeId, reply: VoteReply, durable: Durable) -> None:
        if reply.granted and not reply.pre_vote:
            self._on_vote(source, target, reply.request_term, durable)

    def _on_snapshot_request(
        self, source: NodeId, _target: NodeId, request: SnapshotRequest, _durable: Durable
    ) -> None:
        if self.leaders.get(request.term) != source:
            self._violated(source, f"sends a snapshot in term {request.term}, which it did not win (A21, E12)")

    def _on_timeout_now(self, source: NodeId, target: NodeId, _message: TimeoutNow, _durable: Durable) -> None:
        """Whoever is to take over holds all that its leader does (thesis 3.10)."""
        state, durable = self._state_of(source), self.durable.get(target)
        if state is None or durable is None or target in self.lost:
            return
        held = max(durable.last_index, self._snapshot_index(target))
        if held < state.log.last_index:
            self._violated(source, f"hands {state.log.last_index} entries over to {target}, which holds {held}")

    def _on_append_request(self, source: NodeId, target: NodeId, request: AppendRequest, durable: Durable) -> None:
        """Only the winner of a term sends AppendEntries, each entry about once (A21, B25, B29)."""
        if durable.term < request.term:
            self._violated(source, f"leads term {request.term} before it is on disk (C2)")
        key = (source, request.term)
        told = self.announced.get(key)
        if told is None:
            told = self.announced[key] = set()
        told.add(target)
        if self.leaders.get(request.term) != source:
            state = self._state_of(source)
            if state is None or state.leader != source or state.term != request.term:
                self._violated(source, f"sends AppendEntries of term {request.term}, which it did not win (A21)")
        self.leading.on_append_request(source, target, request)
        self._check_view(source, request)
        if not request.entries:
            return
        stream = self._streams.get((source, target))
        if stream is None or stream.term != request.term:
            stream = self._streams[source, target] = _Stream(request.term)
        now = self._clock(source)
        state = self._state_of(source)
        resent_s_min = _RESENT_MIN * state.config.heartbeat_interval_s if state is not None else 0.0
        repeats_probe = request.prev_index == stream.prev and now - stream.at >= resent_s_min
        if request.prev_index < stream.highest and not repeats_probe:
            self._violated(
                source,
                f"sends {target} entries from {request.prev_index + 1} again, {1000 * (now - stream.at):.1f} ms after "
                f"it had sent up to {stream.highest}, and nobody asked (B25, B29, E5)",
            )
        stream.prev = request.prev_index
        stream.highest = request.prev_index + len(request.entries)
        stream.at = now

    def _check_view(self, source: NodeId, request: AppendRequest) -> None:
        """What is before the entries, and they themselves, come from one view of the sender's log (B31)."""
        state = self._state_of(source)
        if state is None or state.term != request.term:
            return
        if request.entries and request.entries[0].index != request.prev_index + 1:
            self._violated(source, f"sends entries from {request.entries[0].index} behind {request.prev_index} (B31)")
        term = state.log.term_at(request.prev_index)
        if term is not None and term != request.prev_term:
            self._violated(
                source, f"says term {request.prev_term} of entry {request.prev_index}, it holds term {term} (B31)"
            )

    def _on_vote(self, voter: NodeId, candidate: NodeId, term: Term, durable: Durable) -> None:
        if durable.term < term or (durable.term == term and durable.vote != candidate):
            self._violated(voter, f"gives its vote of term {term} to {candidate} before it is on disk (C3)")
        given = self._votes.setdefault((voter, term), candidate)
        if given != candidate:
            self._violated(voter, f"votes for {given} and for {candidate} in term {term} (A11)")
        self._cast.setdefault(term, {})[voter] = candidate
        lost = self.lost.get(voter, 0)
        if lost:
            state = self._state_of(voter)
            if state is not None and state.log.last_index < lost:
                self._violated(voter, f"votes with a log up to {state.log.last_index}, having lost {lost} (C14)")

    def _snapshot_index(self, name: NodeId) -> Index:
        state = self._state_of(name)
        return state.snapshot.index if state is not None else self.durable[name].snapshot_index

    def _violated(self, name: NodeId, what: str) -> NoReturn:
        raise SafetyViolation(f"{name}: {what}")
