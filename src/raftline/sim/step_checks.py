"""What each single step of a core must do, worked out a second time and more simply, from the paper and the rules.

The checks look at the state before an event and after it: which events restart the election timer, what a term does,
what an AppendEntries leaves behind, whom a vote may go to, how a leader's progress moves. Production code is only
watched. Numbers in messages are those of docs/rules.md.
"""

from collections.abc import Callable
from typing import Any, NoReturn

from raftline.core.entries import KIND_MEMBERSHIP
from raftline.core.events import ChangeRequested, ChunkStored, Compacted, Event, Received, TimerDue
from raftline.core.ids import Index, NodeId, Term
from raftline.core.membership import Membership
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    SnapshotReply,
    SnapshotRequest,
    VoteReply,
    VoteRequest,
)
from raftline.core.raft import Raft
from raftline.core.state import RaftState, Role
from raftline.errors import SafetyViolation
from raftline.sim.log_rules import agrees, conflict_at, conflicts, describe_append, is_stale, next_after
from raftline.sim.majorities import can_decide
from raftline.sim.restore_checks import check_leaves_it_to_others, may_stand_back
from raftline.sim.sleep_checks import check_follower_sleeps, check_leader_sleeps

__all__ = ["StepChecks", "Timeouts"]

_EQUAL_DRAWS_MAX = 4
_SLACK_S = 1e-6
_RUNNING = (Role.PRE_CANDIDATE, Role.CANDIDATE)


class Timeouts:
    """The election timeouts that the nodes of one run drew: all different, or somebody does not draw (A6)."""

    def __init__(self) -> None:
        self._drawn: dict[NodeId, list[float]] = {}

    def note(self, node: NodeId, timeout_s: float) -> None:
        """Take in a draw; raise `SafetyViolation` if it repeats the ones before, of this node or of another."""
        mine = self._drawn.setdefault(node, [])
        mine.append(round(timeout_s, 9))
        del mine[:-_EQUAL_DRAWS_MAX]
        if len(mine) < _EQUAL_DRAWS_MAX:
            return
        if len(set(mine)) == 1:
            raise SafetyViolation(f"{node}: its election timeout is {timeout_s:.6f} s each time (A6)")
        for other, theirs in self._drawn.items():
            if other != node and theirs == mine:
                raise SafetyViolation(f"{node}: draws the same election timeouts as {other} (A6)")


class _Before:
    """What a check needs of the state before an event."""

    __slots__ = (
        "asleep",
        "commit",
        "deadline",
        "first_echo",
        "last",
        "last_term",
        "leader",
        "match",
        "next",
        "role",
        "round",
        "term",
        "vote",
    )

    def __init__(self, state: RaftState) -> None:
        self.role = state.role
        self.term: Term = state.term
        self.vote = state.vote
        self.leader = state.leader
        self.deadline = state.election_deadline
        self.asleep = state.asleep
        self.commit: Index = state.commit
        self.last: Index = state.log.last_index
        self.last_term: Term = state.log.last_term
        self.match = self.next = self.round = self.first_echo = 0


class StepChecks:
    """Stands between one incarnation's replica and its core."""

    def __init__(self, core: Raft, timeouts: Timeouts) -> None:
        self._core = core
        self._state = core.state
        self._step: Callable[[Event, float], Index] = core.step
        self._timeouts = timeouts
        self._now = float("-inf")
        self._queued = 0
        self._membership = core.state.membership
        self._membership_index: Index = 0
        self._memberships: dict[tuple[Index, Term | None], Membership] = {}
        self._check_membership()
        self.refusals: set[NodeId] = set()
        """Who refused the present probe since this was last cleared: it is to be tried again at once (B25)."""
        core.step = self.step  # type: ignore[method-assign]

    def step(self, event: Event, now: float) -> Index:
        """Pass an event to the core, and hold what it made of it against the rules."""
        self._queued = len(self._state.out)
        state = self._state
        if now < self._now:
            self._violated(f"time went back from {self._now:.6f} to {now:.6f} s: that is no monotonic clock (A26)")
        self._now = now
        before = _Before(state)
        if type(event) is Received:
            result = self._on_received(event.sender, event.message, before, now)
        elif type(event) is ChunkStored:
            result = self._on_chunk_stored(event, before, now)
        elif type(event) is Compacted:
            result = self._on_compacted(event, now)
        elif type(event) is ChangeRequested:
            result = self._on_change_requested(event, now)
        else:
            result = self._step(event, now)
        self._check_after(event, before, now)
        return result

    def _check_after(self, event: Event, before: _Before, now: float) -> None:
        """Hold timer, vote and role against what they were."""
        state = self._state
        if state.election_deadline != before.deadline:
            self._check_timer(event, before, now)
        elif before.role is Role.LEADER and state.role is not Role.LEADER:
            self._violated("stepped down without an election timer (A10)")
        if state.asleep and state.role is Role.LEADER and not before.asleep:
            check_leader_sleeps(state, now)
        if type(event) is TimerDue and before.role is not Role.LEADER:
            started = state.role is not Role.FOLLOWER and (state.role is not before.role or state.term != before.term)
            votes = any(membership.is_voter(state.me) for membership in state.configuration.possible(state.commit))
            if started and not votes:
                self._violated("starts an election, and is no voter of any membership it knows (K1)")
            if started and now < before.deadline:
                self._violated(f"starts an election {before.deadline - now:.6f} s before its time (A24)")
        begins = state.role in _RUNNING and (state.term != before.term or before.role is Role.FOLLOWER)
        check_leaves_it_to_others(state, event, begins=begins)
        if state.vote != before.vote:
            self._check_vote(before)
        if state.membership is not self._membership or state.configuration.index != self._membership_index:
            self._check_membership()
        if state.role in _RUNNING and not state.votes.get(state.me):
            self._violated(f"runs in term {state.term} and does not count its own vote (A1)")

    # Timer, term and vote.

    def _check_timer(self, event: Event, before: _Before, now: float) -> None:
        """Exactly three events restart the election timer, and a leader that steps down (A2, A3, A10)."""
        state = self._state
        if state.role is Role.LEADER:
            return
        if state.asleep:
            check_follower_sleeps(state, event, self._last_reply(AppendReply, state.leader or ""))
            return
        low, high = state.config.election_timeout_s
        timeout_s = state.election_deadline - now
        if not low - _SLACK_S <= timeout_s <= high + _SLACK_S:
            self._violated(f"waits {timeout_s:.6f} s for a leader, [{low}, {high}) was asked for (A7)")
        self._timeouts.note(state.me, timeout_s)
        is_over = type(event) is TimerDue and now >= before.deadline
        waits = is_over and (state.must_ask or may_stand_back(state))
        if before.role is Role.LEADER or state.role in _RUNNING or before.asleep or waits:
            return
        if type(event) is Received:
            message = event.message
            kind = type(message)
            if kind is AppendRequest or kind is SnapshotRequest:
                if message.term == state.term and state.leader == event.sender:  # type: ignore[union-attr]
                    return
                self._violated("an outdated AppendEntries restarted the election timer (A3)")
            if kind is VoteRequest and self._last_reply(VoteReply, event.sender, granted=True) is not None:
                return
            if message.term > before.term:  # type: ignore[union-attr]
                self._violated("a higher term restarted the election timer (A10)")
        self._violated(f"{type(event).__name__} restarted the election timer (A2)")

    def _check_vote(self, before: _Before) -> None:
        state = self._state
        if state.term == before.term and before.vote is not None:
            self._violated(f"had voted for {before.vote} in term {state.term}, now for {state.vote} (A11, A12)")

    def _check_term(self, sender: NodeId, message: Any, before: _Before) -> None:
        """Any message of a higher term: adopt it, follow, forget the vote (A8, A9)."""
        state = self._state
        kind = type(message)
        kept = before.leader is not None or self._keeps_promise()
        if kind is VoteRequest and (message.pre_vote or (kept and not message.transfer)):
            return  # a question, or kept away from a leader's followers (§6)
        if state.term < message.term:
            self._violated(f"{kind.__name__} of term {message.term} from {sender} left it in term {state.term} (A8)")
        if message.term > before.term:
            if state.role is not Role.FOLLOWER:
                self._violated(f"is {state.role.value} after {kind.__name__} of a higher term (A9)")
            if state.vote not in (None, sender):
                self._violated(f"entered term {state.term} with a vote for {state.vote} (A8)")

    def _keeps_promise(self) -> bool:
        """Say whether a leader may be reading on a lease that this replica is a part of, whatever became of it here."""
        state = self._state
        low_s = state.config.election_timeout_s[0]
        return state.config.lease_reads and state.now < state.leader_heard_at + low_s

    def _check_goes_on(self, before: _Before, *, same: bool) -> None:
        if not same or self._state.log.last_index != before.last:
            self._violated("a late vote made it take over once more in the term that it leads (A18)")

    # Messages.

    def _on_received(self, sender: NodeId, message: Any, before: _Before, now: float) -> Index:
        state = self._state
        kind = type(message)
        event = Received(sender, message)
        if kind is AppendRequest:
            result = self._on_append_request(event, message, before, now)
        elif kind is VoteRequest:
            result = self._on_vote_request(event, message, before, now)
        elif (kind is AppendReply or kind is SnapshotReply) and (progress := state.progress.get(sender)) is not None:
            before.match, before.next, before.round = progress.match_index, progress.next_index, progress.acked_round
            before.first_echo = progress.first_echo
            refuses_probe = kind is AppendReply and not is_stale(progress, message.prev_index)
            result = self._step(event, now)
            if state.role is Role.LEADER and state.term == before.term:
                self._check_progress(sender, message, before, refuses_probe=refuses_probe)
        else:
            progress_before, storing, chunks = state.progress, state.storing, len(state.chunks_received)
            result = self._step(event, now)
            if kind is SnapshotRequest and message.term < before.term:
                self._check_refused(sender, message, storing)
            elif kind is SnapshotRequest and message.term == state.term:
                self._check_follows(sender, before)
                if len(state.chunks_received) > chunks:
                    self._check_chunk(message, storing)
            if kind is VoteReply and before.role is Role.LEADER and state.role is Role.LEADER:
                self._check_goes_on(before, same=state.progress is progress_before)
        self._check_term(sender, message, before)
        return result

    def _check_follows(self, leader: NodeId, before: _Before) -> None:
        """A valid message of the leader: follower, of this leader, with a new timer (A2, A20, A28, D8)."""
        state = self._state
        if state.role is not Role.FOLLOWER:
            self._violated(f"is {state.role.value} after a message of {leader}, the leader of its term (A20)")
        if state.leader != leader:
            self._violated(f"takes {state.leader} for its leader after a message of {leader} (A28)")
        if state.election_deadline == before.deadline and not state.asleep:
            self._violated(f"did not restart its election timer on a message of {leader}, its leader (A2)")

    def _on_append_request(self, event: Received, request: AppendRequest, before: _Before, now: float) -> Index:
        """Work the outcome out from the log as it was, then compare (B2 to B10)."""
        state = self._state
        log = state.log
        matches = agrees(log, request)
        last = before.last
        if matches:
            covered = request.prev_index + len(request.entries)
            last = covered if covered > last or conflicts(log, request) else last
        result = self._step(event, now)
        if request.term < before.term:
            self._check_untouched(before, event.sender, request)
        elif request.term == state.term and state.role is not Role.LEADER:
            self._check_follows(event.sender, before)
            self._check_appended(event.sender, request, before, last=last, matches=matches)
        return result

    def _check_untouched(self, before: _Before, sender: NodeId, request: AppendRequest) -> None:
        state = self._state
        if (state.log.last_index, state.commit) != (before.last, before.commit):
            self._violated(f"an AppendEntries of the old term {request.term} changed its log or commit index (E6)")
        reply = self._last_reply(AppendReply, sender)
        if reply is None or reply.success or reply.term != state.term:
            self._violated(f"answers an AppendEntries of the old term {request.term} with {reply} (A3, L42)")

    def _check_appended(
        self, sender: NodeId, request: AppendRequest, before: _Before, *, last: Index, matches: bool
    ) -> None:
        state, log = self._state, self._state.log
        reply = self._last_reply(AppendReply, sender)
        if reply is None:
            self._violated(f"does not answer an AppendEntries of {sender} (B3)")
        if reply.success is not matches:
            verdict = "agrees" if matches else "does not agree"
            self._violated(f"its log {verdict} at {request.prev_index}, term {request.prev_term}, but it says {reply}")
        if log.last_index != last:
            self._violated(
                f"its log ends at {log.last_index} instead of {last} after {describe_append(request)} (B6 to B8)"
            )
        commit = before.commit
        if matches:
            covered = request.prev_index + len(request.entries)
            commit = max(commit, min(request.commit, covered))
            if reply.match_index != covered:
                self._violated(f"acknowledges {reply.match_index} instead of {covered} (B20)")
            for entry in request.entries:
                if entry.index > log.base_index and log.term_at(entry.index) != entry.term:
                    self._violated(f"does not hold entry {entry.index} of term {entry.term}, just accepted (B7)")
        else:
            self._check_conflict(reply, request.prev_index)
        if state.commit != commit:
            self._violated(
                f"commit index {state.commit} instead of {commit} after {describe_append(request)} (B5, B9, B10)"
            )

    def _check_conflict(self, reply: AppendReply, prev_index: Index) -> None:
        log = self._state.log
        if reply.conflict_index <= log.base_index or reply.conflict_index > log.last_index + 1:
            self._violated(
                f"points the leader to {reply.conflict_index}, outside its log from {log.base_index + 1} to "
                f"{log.last_index + 1} (B23, D19)"
            )
        if (reply.conflict_index, reply.conflict_term) != (conflict := conflict_at(log, prev_index)):
            self._violated(f"reports the conflict {reply} instead of {conflict} (B23)")

    def _on_vote_request(self, event: Received, request: VoteRequest, before: _Before, now: float) -> Index:
        """At most one vote per term, to a log at least as good, again to whom it went (A11 to A15)."""
        state = self._state
        log = state.log
        # The terms are looked up again: a cached last term may be wrong (D5).
        last_term = log.entry(log.last_index).term if log.last_index > log.base_index else log.base_term
        up_to_date = (request.last_term, request.last_index) >= (last_term, log.last_index)
        sender = event.sender
        has_leader = self._hears_leader(now) and not request.transfer
        result = self._step(event, now)
        reply = self._last_reply(VoteReply, sender)
        if has_leader and (state.term > before.term or (request.pre_vote and reply is not None and reply.granted)):
            self._violated(f"lets {sender} disturb {before.leader}, which it heard just now (K2)")
        if reply is not None and reply.term != state.term:
            self._violated(f"refuses or gives a vote with term {reply.term} instead of {state.term} (A14)")
        if reply is not None and not request.pre_vote:
            self._check_answer(sender, request, reply, before, up_to_date=up_to_date)
        return result

    def _hears_leader(self, now: float) -> bool:
        """Say whether this replica leads, sleeps, or heard its leader within the shortest election timeout (§6)."""
        state = self._state
        if state.role is Role.LEADER:
            return state.config.pre_vote
        recent = state.asleep or now < state.leader_heard_at + state.config.election_timeout_s[0]
        return state.config.pre_vote and recent and state.leader is not None

    def _check_answer(
        self, sender: NodeId, request: VoteRequest, reply: VoteReply, before: _Before, *, up_to_date: bool
    ) -> None:
        """Hold a vote, or its refusal, against what was known before."""
        state = self._state
        vote = before.vote if request.term == before.term else None
        led = before.role is Role.LEADER and request.term == before.term
        free = vote in (None, sender) and not led and request.term >= before.term
        if not reply.granted:
            kept = self._keeps_promise() and not request.transfer
            may = state.established or (request.bootstrap and not state.entries_elsewhere)
            if free and up_to_date and may and not kept:
                self._violated(f"refuses {sender} the vote of term {request.term} for no reason (A13, A15)")
            return
        if request.term < before.term:
            self._violated(f"gives a vote of the old term {request.term} (A14)")
        if not free:
            self._violated(f"votes for {sender} in term {request.term}, having voted for {vote} (A11)")
        if not up_to_date:
            ends = f"({request.last_index}, term {request.last_term})"
            self._violated(f"votes for {sender}, whose log ends at {ends}, its own is better (A13)")
        if state.vote != sender:
            self._violated(f"gives {sender} its vote and remembers {state.vote} (A11)")
        if state.election_deadline == before.deadline:
            self._violated(f"votes for {sender} and does not restart its election timer (A4)")

    # A leader's progress.

    def _check_progress(self, peer: NodeId, reply: Any, before: _Before, *, refuses_probe: bool) -> None:
        """Progress moves forward only, refusals count only for the present probe (B20 to B24, E2 to E4)."""
        state = self._state
        progress = state.progress.get(peer)
        if progress is None:
            return  # its removal is committed, and it had time to learn of it
        accepted = reply.success if type(reply) is AppendReply else reply.installed
        if progress.acked_round > max(before.round, reply.round):
            self._violated(f"takes round {progress.acked_round} of reads for confirmed by {reply} of {peer} (G3, G11)")
        match = before.match
        counts = reply.request_term == state.term and not 0 < reply.echo < before.first_echo
        if counts and accepted:
            self.refusals.discard(peer)
            reached = reply.match_index if type(reply) is AppendReply else reply.index
            match = max(match, reached)
        lost = counts and type(reply) is AppendReply and reply.unestablished and reply.conflict_index <= before.match
        if progress.match_index != match and not lost:
            self._violated(
                f"takes {peer} for matching up to {progress.match_index} instead of {match} after {reply} "
                f"(B20, D15, E3)"
            )
        if type(reply) is AppendReply and counts and not accepted and not lost:
            wanted = before.next
            if refuses_probe:
                self.refusals.add(peer)
                wanted = max(next_after(state.log, reply), match + 1)
            if progress.next_index != wanted:
                self._violated(
                    f"goes on with {peer} at {progress.next_index} instead of {wanted} after {reply} (B22, B24, E4)"
                )

    # Snapshots.

    def _check_chunk(self, request: SnapshotRequest, storing: tuple[Index, Term, int] | None) -> None:
        """Chunks are taken in order, each once (D7)."""
        same = storing is not None and storing[:2] == (request.index, request.snapshot_term)
        wanted = storing[2] if same and storing is not None else 0
        if request.offset != wanted:
            self._violated(f"takes the chunk at {request.offset} of a snapshot, {wanted} is the next one (D7, E7)")

    def _check_refused(self, sender: NodeId, request: SnapshotRequest, storing: tuple[Index, Term, int] | None) -> None:
        """A chunk of a deposed leader is answered with the present term, and not taken (D8, E6)."""
        state = self._state
        reply = self._last_reply(SnapshotReply, sender)
        if reply is None or reply.installed or reply.term != state.term or state.storing != storing:
            self._violated(f"answers a chunk of the old term {request.term} with {reply} (D8, E6)")

    def _on_chunk_stored(self, event: ChunkStored, before: _Before, now: float) -> Index:
        """A snapshot moves only forward, and leaves what agrees behind it (D9, D10)."""
        state = self._state
        meta = event.meta
        agrees = state.log.term_at(meta.index) == meta.term
        result = self._step(event, now)
        if state.commit < before.commit:
            self._violated(f"a snapshot at {meta.index} took it back from {before.commit} (D9)")
        if event.complete and state.install is not None and state.install.index == meta.index > before.commit:
            last = before.last if agrees else meta.index
            if state.log.last_index != last:
                self._violated(f"its log ends at {state.log.last_index} instead of {last} after an install (D10)")
            if state.log.term_at(meta.index) != meta.term:
                self._violated(f"has term {state.log.term_at(meta.index)} at the installed {meta.index} (D5)")
        return result

    def _on_compacted(self, event: Compacted, now: float) -> Index:
        """Compaction lets go of exactly what it is told, and keeps the term of the last one (D1, D5)."""
        log = self._state.log
        base, last, term = log.base_index, log.last_index, log.term_at(event.index)
        result = self._step(event, now)
        goes_on = self._state.role is Role.LEADER and log.last_index == last + 1
        if goes_on and log.entry(log.last_index).kind == KIND_MEMBERSHIP:
            last += 1  # a change of the members that waited for time to pass
        if event.index > base and (log.base_index, log.base_term, log.last_index) != (event.index, term, last):
            self._violated(
                f"is compacted to ({log.base_index}, term {log.base_term}), last {log.last_index}, instead of "
                f"({event.index}, term {term}), last {last} (D1)"
            )
        return result

    # Membership.

    def _check_membership(self) -> None:
        """The same entry names the same membership, also after what followed it was cut off (§6)."""
        state = self._state
        self._membership = state.membership
        index = self._membership_index = state.configuration.index
        known = self._memberships.setdefault((index, state.log.term_at(index)), self._membership)
        if known != self._membership:
            self._violated(f"goes by {self._membership}, entry {index} says {known} (K1)")
        if state.role is Role.LEADER and known.is_joint:
            for node in set(known.voters) - {*known.outgoing, state.me}:
                progress = state.progress[node]
                if not progress.was_heard or progress.match_index < state.log.base_index:
                    self._violated(f"lets {node} vote, which is known to hold {progress.match_index} (thesis 4.2.1)")

    def _on_change_requested(self, event: ChangeRequested, now: float) -> Index:
        """Those who are to vote can elect a leader and are there, as far as anybody knows (C14, K1)."""
        state = self._state
        before, has_settled = state.membership, state.log.term_at(state.commit) == state.term
        result = self._step(event, now)
        membership = state.membership
        if membership is not before and not has_settled:
            self._violated("changes the membership before it has committed an entry of its term (thesis 4.1)")
        if membership is not before and membership.is_joint:
            since = now - state.config.election_timeout_s[1]
            progress = state.progress.items()
            able = [state.me, *(node for node, its in progress if its.is_trusted and its.heard_at >= since)]
            if not can_decide(Membership(voters=membership.voters), able):
                self._violated(f"lets {membership.voters} vote, of whom only {able} answer and are able to (C14, K1)")
        return result

    # Tools.

    def _last_reply(self, kind: type, to: NodeId, *, granted: bool | None = None) -> Any:
        """Return the reply that the step has just queued for `to`."""
        out = self._state.out
        if len(out) > self._queued and out[-1].to == to and type(out[-1].message) is kind:
            message: Any = out[-1].message
            if granted is None or (message.granted is granted and not message.pre_vote):
                return message
        return None

    def _violated(self, what: str) -> NoReturn:
        raise SafetyViolation(f"{self._state.me}: {what}")
