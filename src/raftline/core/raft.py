"""The consensus core in two verbs: `step(event, now)` takes any input, `take_ready()` says what to do about it.

Term gate → table → rules. No clock, no I/O, no globals: the same events at the same times, with the same random
source, give the same outputs. Whoever drives it keeps the order that `Ready` asks for.
"""

from collections.abc import Callable, Sequence
from typing import Any

from raftline.core import deferral, freshness, lease, quiescence, replication, rules, snapshots, transitions
from raftline.core.changing import on_change_requested
from raftline.core.config import CoreConfig
from raftline.core.election import believes_in_leader
from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.events import (
    Applied,
    ChangeRequested,
    ChunkRead,
    ChunkStored,
    ClockDoubted,
    Compacted,
    DiskBehind,
    EntriesRead,
    Event,
    Persisted,
    Proposed,
    ReadRequested,
    Received,
    SnapshotTaken,
    TimerDue,
    TransferRequested,
    Unloaded,
    Woken,
)
from raftline.core.following import is_well_formed, refuse_append
from raftline.core.history import is_foreign, note_entries_elsewhere
from raftline.core.ids import Index, NodeId, Term
from raftline.core.membership import Membership
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    Message,
    ReadIndexReply,
    ReadIndexRequest,
    SnapshotReply,
    SnapshotRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftline.core.read_index import on_read_requested, plan_read_request, read_deadline, refuse_read
from raftline.core.ready import Outgoing, Ready
from raftline.core.role_changes import Cause, RoleChange, Why
from raftline.core.roles import HANDLED, IGNORED, IMPOSSIBLE
from raftline.core.state import RaftState, RandomSource, Role
from raftline.core.transfer import on_disk_behind, on_transfer_requested, tell_successor
from raftline.errors import SafetyViolation

__all__ = ["Raft"]

_INFINITY = float("inf")


class Raft:
    """One replica's consensus; not thread-safe, and never blocks.

    `hard_state`, `snapshot` and `entries` are what the disk gave back (C8), all empty for a new directory;
    `membership` is the first one, used until a snapshot or an entry names another. `entries_elsewhere`: somebody's log
    is known not to be blank, so that this is no first start (C14).
    """

    def __init__(
        self,
        me: NodeId,
        membership: Membership,
        *,
        random: RandomSource,
        now: float,
        config: CoreConfig | None = None,
        hard_state: HardState | None = None,
        snapshot: SnapshotMeta | None = None,
        entries: Sequence[Entry] = (),
        entries_elsewhere: bool = False,
    ) -> None:
        config = (config or CoreConfig()).check()
        if hard_state is None:
            hard_state = HardState(established=not config.guard_lost_disk)
        state = RaftState(me, config, random, hard_state, snapshot or SnapshotMeta(), list(entries), membership, now)
        state.entries_elsewhere = entries_elsewhere
        self.state = state
        self._pause_s_max = lease.pause_s_max(state)
        if state.membership.voters == (me,) and not (config.lease_reads and state.term):
            state.election_deadline = now  # nobody else to wait for, and no promise to a leader to keep
        else:
            state.restart_election_timer()

    @property
    def role(self) -> Role:
        """Return what this replica takes itself for."""
        return self.state.role

    @property
    def term(self) -> Term:
        """Return the current term."""
        return self.state.term

    @property
    def leader(self) -> NodeId | None:
        """Return the leader of this term, as far as known."""
        return self.state.leader

    @property
    def is_leader(self) -> bool:
        """Say whether this replica leads its term."""
        return self.state.role is Role.LEADER

    @property
    def next_deadline(self) -> float:
        """Return when `TimerDue` is needed next, in the caller's monotonic seconds; infinity for never."""
        state = self.state
        if state.role is not Role.LEADER:
            waits = state.leader is not None or state.may_campaign or state.must_ask
            deadline = state.election_deadline if waits else _INFINITY
            return min(deadline, read_deadline(state))
        if state.asleep:
            return _INFINITY
        deadline = replication.heartbeat_deadline(state)
        return deadline if state.transfer is None else min(deadline, state.transfer.deadline)

    @property
    def is_asleep(self) -> bool:
        """Say whether this replica needs no timer until something happens, and has to be told of nodes that fail."""
        return self.state.asleep

    def slept(self, now: float) -> bool:
        """Say whether this replica sleeps, or did up to an election timeout ago: nobody vouched for its copy then."""
        state = self.state
        return state.asleep or now < state.woken_at + state.config.election_timeout_s[0]

    @property
    def sleeps_with(self) -> tuple[NodeId, ...]:
        """Return on whose nodes this sleeping replica relies to be up: its leader's, or those of its followers."""
        state = self.state
        if not state.asleep:
            return ()
        if state.role is not Role.LEADER:
            return () if state.leader is None else (state.leader,)
        return tuple(node for node, progress in state.progress.items() if progress.asleep)

    @property
    def sleeps_without(self) -> tuple[NodeId, ...]:
        """Return the members that did not answer when this sleeping leader fell asleep: they have to catch up."""
        state = self.state
        if not state.asleep or state.role is not Role.LEADER:
            return ()
        return tuple(node for node, progress in state.progress.items() if not progress.asleep)

    @property
    def has_more(self) -> bool:
        """Say whether the last `Ready` did not hold everything: more is committed than goes into one."""
        return self.state.handed_out < self.state.commit

    @property
    def takes_proposals(self) -> bool:
        """Say whether commands can be appended here now: this replica leads, and hands over to nobody."""
        return self.state.role is Role.LEADER and self.state.transfer is None

    @property
    def has_settled(self) -> bool:
        """Say whether this replica leads and has committed an entry of its term, so that it may change members."""
        state = self.state
        return state.role is Role.LEADER and state.log.term_at(state.commit) == state.term

    @property
    def awaits_voters(self) -> bool:
        """Say whether voters did not answer this leader yet that have had no time to: whom to trust is not known."""
        state = self.state
        since = state.now - state.config.election_timeout_s[1]
        return any(
            not progress.was_heard and progress.heard_at > since and state.membership.is_voter(node)
            for node, progress in state.progress.items()
        )

    @property
    def is_changing_by_itself(self) -> bool:
        """Say whether a change of the membership is under way that nobody asked for, and that will be over soon."""
        state = self.state
        return state.change is None and (
            state.membership.is_joint or state.configuration.index > state.commit or state.transfer is not None
        )

    @property
    def level(self) -> tuple[float, Index]:
        """Return when a leader's message last left this replica nothing to be done, and up to where it said so.

        It may have been on its way for long: good enough to tell whether things go on, not how old the state is.
        """
        return self.state.level_at, self.state.level_index

    def reply_may_wait(self, sender: NodeId, reply: AppendReply) -> bool:
        """Say whether a reply that came may be stepped together with the next event, whenever that comes."""
        return deferral.reply_may_wait(self.state, sender, reply)

    @property
    def read_may_wait(self) -> bool:
        """Say whether a linearizable `ReadRequested` may be stepped together with the next event, whenever it comes."""
        return deferral.read_may_wait(self.state)

    @property
    def disk_may_wait(self) -> bool:
        """Say whether `Persisted` may be stepped together with the next event, whenever that comes."""
        return deferral.disk_may_wait(self.state)

    def freshness(self, now: float) -> tuple[float, Index]:
        """Return as of when this replica is known to lack nothing committed, and what it has to apply for that."""
        return freshness.freshness(self.state, now)

    def step(self, event: Event, now: float) -> Index:
        """Take one event in; return the index of a proposal's first command, 0 for anything else or if refused.

        Raises `SafetyViolation` when a promise of Raft turns out to be broken; the replica must not go on then.
        """
        state = self.state
        if now - state.now > self._pause_s_max:
            lease.on_clock_doubted(state)
        state.now = now
        result = 0
        if state.can_sleep:
            quiescence.note_event(state, event)
        if type(event) is Received:
            self.receive(event.sender, event.message)
        elif type(event) is Proposed:
            result = self._propose(event)
        else:
            _OTHER[type(event)](state, event)
        rules.conclude(state)
        return result

    def receive(self, sender: NodeId, message: Message) -> str | None:
        """Pass a message through the term gate and the table; return why it was ignored, None if it was not."""
        state = self.state
        if isinstance(message, AppendRequest) and not is_well_formed(message):
            return "malformed"
        if isinstance(message, SnapshotRequest) and message.membership.problem() is not None:
            return "malformed"
        if not state.log.last_index and not state.entries_elsewhere:
            note_entries_elsewhere(state, message)
        if state.history and is_foreign(state, sender, message):
            return "of another history"
        reason = _gate(state, sender, message)
        if reason is not None:
            return reason
        key = (state.role, type(message))
        handler = HANDLED.get(key)
        if handler is not None:
            return handler(state, sender, message)
        if key in IMPOSSIBLE:
            raise SafetyViolation(f"{state.me}, {state.role.value} of term {state.term}, got {message!r} from {sender}")
        return IGNORED[key]

    def take_role_changes(self) -> list[RoleChange]:
        """Return the changes of role and leader since the last call, oldest first, at most the latest 64."""
        changes, self.state.role_changes = self.state.role_changes, []
        return changes

    def take_ready(self) -> Ready | None:
        """Return everything to do since the last call, None if there is nothing."""
        state = self.state
        leading = state.role is Role.LEADER
        appends: list[Outgoing] = []
        if leading and not state.asleep:
            tell_successor(state)
            lease.renew_lease(state)
            appends = replication.plan_appends(state)
            state.chunks_wanted += snapshots.plan_chunks(state)
        elif not leading and (question := plan_read_request(state)) is not None:
            state.out.append(question)
        entries: tuple[Entry, ...] = ()
        if state.handed_to_disk < state.log.last_index:
            low = max(state.handed_to_disk, state.log.base_index) + 1
            entries = tuple(state.log.slice(low, state.log.last_index + 1)) if low <= state.log.last_index else ()
        committed: tuple[Entry, ...] = ()
        if state.handed_out < state.commit:
            high = min(state.commit, state.handed_out + state.config.committed_max)
            committed = tuple(state.log.slice(state.handed_out + 1, high + 1))
        said = appends or state.out or state.early
        if not (entries or committed or said or state.hard_state_changed or self._has_news()):
            return None
        return self._hand_out(entries, committed, appends)

    def _has_news(self) -> bool:
        state = self.state
        return bool(
            state.read_outcomes
            or state.answers
            or state.entries_wanted
            or state.chunks_wanted
            or state.chunks_received
            or state.reset is not None
            or state.install is not None
        )

    def _hand_out(self, entries: tuple[Entry, ...], committed: tuple[Entry, ...], appends: list[Outgoing]) -> Ready:
        """Move what is pending into one `Ready`, and remember what its batch will make durable."""
        state = self.state
        state.ready_number += 1
        after = state.out
        hard_state = None
        if state.hard_state_changed:
            hard_state = HardState(state.term, state.vote, state.established, state.history)
        if state.persisted_term != state.term:
            # A term is said to nobody before it is on disk, not even by its leader (C2). For anything else that is
            # written appends must not wait: those of the next turn would overtake them.
            after = after + appends
            appends = []
        else:
            appends = appends + state.early
        ready = Ready(
            number=state.ready_number,
            reset=state.reset,
            hard_state=hard_state,
            entries=entries,
            messages=tuple(appends),
            messages_after_persist=tuple(after),
            install=state.install,
            committed=committed,
            reads=tuple(state.read_outcomes),
            answers=tuple(state.answers),
            entries_wanted=tuple(state.entries_wanted),
            chunks_wanted=tuple(state.chunks_wanted),
            chunks_received=tuple(state.chunks_received),
        )
        state.handed_to_disk = state.log.last_index
        if committed:
            state.handed_out = committed[-1].index
        if hard_state is not None:
            state.hard_state_number = ready.number
        if ready.must_persist:
            if not state.unpersisted:
                state.disk_waits_since = state.now
            state.unpersisted.append((ready.number, state.log.last_index, state.log_epoch, state.term))
        state.hard_state_changed = False
        state.reset = state.install = None
        state.out = []
        state.early = []
        state.read_outcomes = []
        state.answers = []
        state.entries_wanted = []
        state.chunks_wanted = []
        state.chunks_received = []
        return ready

    def _propose(self, event: Proposed) -> Index:
        """Append clients' commands to the leader's own log (B1); consecutive indices (B33); none during a transfer."""
        state = self.state
        if not self.takes_proposals:
            return 0
        first = state.log.last_index + 1
        term = state.term
        time_ms = event.time_ms
        state.log.append([Entry(first + n, term, data, 0, time_ms) for n, data in enumerate(event.commands)])
        return first


def _gate(state: RaftState, sender: NodeId, message: Any) -> str | None:
    """Apply the term rule before everything else (§5.1, A8), and drop replies to another term's requests (E1)."""
    kind = type(message)
    if kind is VoteRequest and not message.transfer and message.term > state.term and believes_in_leader(state):
        if not message.pre_vote:
            return "a leader was heard just now (§6)"
    elif message.term > state.term and not (kind is VoteRequest and message.pre_vote):
        leader = sender if kind is AppendRequest or kind is SnapshotRequest else None
        transitions.become_follower(state, message.term, leader, _why_higher(sender, message, leader))
    if kind is AppendReply or kind is SnapshotReply or kind is VoteReply:
        # Who answers a pre-vote keeps its own term, which may be an older one.
        asked = state.term + 1 if kind is VoteReply and message.pre_vote else state.term
        if message.request_term != asked:
            return "answers a request of another term"
    elif message.term < state.term:
        return _refuse_old_term(state, sender, message)
    return None


def _why_higher(sender: NodeId, message: Any, leader: NodeId | None) -> Why:
    """A message of a higher term came: from its leader, from whoever wants to be, or from somebody who heard of it."""
    if leader is not None:
        return Why(Cause.HIGHER_TERM, f"{leader} leads the higher term {message.term}")
    if type(message) is VoteRequest:
        asked = "the old leader handed over to it" if message.transfer else "it stands for election"
        return Why(Cause.HIGHER_TERM, f"{sender} asked for a vote in the higher term {message.term}: {asked}")
    return Why(Cause.HIGHER_TERM, f"{sender} told of the higher term {message.term}")


def _refuse_old_term(state: RaftState, sender: NodeId, message: Any) -> str:
    """Answer an outdated request with the present term and no other effect (A3, A14, E6)."""
    kind = type(message)
    if kind is AppendRequest:
        refuse_append(state, sender, message)
    elif kind is SnapshotRequest:
        snapshots.refuse_snapshot(state, sender, message)
    elif kind is VoteRequest:
        reply = VoteReply(
            state.term, message.term, granted=False, pre_vote=message.pre_vote, unestablished=state.knows_no_entries
        )
        state.send(sender, reply)
    elif kind is ReadIndexRequest:
        refuse_read(state, sender, message)
    else:
        assert kind is ReadIndexReply or kind is TimeoutNow, "every kind of message is known"
    return "of an old term"


def _on_timer(state: RaftState, _event: TimerDue) -> None:
    rules.on_timer(state)


def _on_persisted(state: RaftState, event: Persisted) -> None:
    """Count for oneself only what is on disk, and only if it was not cut meanwhile (thesis 10.2.1)."""
    while state.unpersisted and state.unpersisted[0][0] <= event.number:
        _, last_index, epoch, term = state.unpersisted.pop(0)
        state.disk_waits_since = state.now if event.at is None else event.at
        state.persisted_term = term
        if epoch == state.log_epoch and last_index > state.persisted:
            state.persisted = last_index
            state.must_recount = True


def _on_unloaded(state: RaftState, event: Unloaded) -> None:
    """Only what is on disk and was handed out can go: slow followers alone need it, and are fed from the disk."""
    state.log.unload(state.unloadable, event.bytes_max, event.count_max)


def _on_applied(state: RaftState, event: Applied) -> None:
    assert event.index <= state.commit, "only what is committed is applied"
    state.applied = max(state.applied, event.index)
    state.digest_index = event.index
    state.digest = event.digest


_OTHER: dict[type, Callable[[RaftState, Any], object]] = {
    TimerDue: _on_timer,
    ChangeRequested: on_change_requested,
    TransferRequested: on_transfer_requested,
    DiskBehind: on_disk_behind,
    ClockDoubted: lease.on_clock_doubted,
    ReadRequested: on_read_requested,
    Persisted: _on_persisted,
    Applied: _on_applied,
    SnapshotTaken: snapshots.on_snapshot_taken,
    Compacted: snapshots.on_compacted,
    Unloaded: _on_unloaded,
    EntriesRead: replication.on_entries_read,
    ChunkRead: snapshots.on_chunk_read,
    ChunkStored: snapshots.on_chunk_stored,
    Woken: quiescence.on_woken,
}
