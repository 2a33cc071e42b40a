"""THE LOOP of one group: drain → step* → take_ready → persist beside send → apply → reply.

Everything that happens to a replica happens in `_turn`, on the event loop, one writer, no locks. Whatever comes in
between turns waits in the inbox; a hundred proposals that arrive together leave as one message per peer.
"""

import asyncio
from collections.abc import Callable, Sequence

from raftline.core.events import DiskBehind, Event, Persisted, Received, TimerDue, Woken
from raftline.core.ids import GroupId, NodeId, Term
from raftline.core.messages import AppendReply, ForwardReply, ForwardRequest, Message, VoteRequest
from raftline.core.ready import Ready
from raftline.core.state import Role
from raftline.errors import Stopped
from raftline.replica.replica import Replica
from raftline.runtime.applying import Applying
from raftline.runtime.arrivals import Arrival
from raftline.runtime.compaction import Compaction
from raftline.runtime.disk_watch import DiskWatch
from raftline.runtime.draining import Drain
from raftline.runtime.feeding import Feeding
from raftline.runtime.forwarding import (
    ForwardedBatch,
    Forwarding,
    SeenFrames,
    refused,
    reply_bytes_max,
    without_values,
)
from raftline.runtime.host import Host
from raftline.runtime.lost_majority import LostMajority
from raftline.runtime.peers import Peers
from raftline.runtime.persistence import Persistence
from raftline.runtime.proposing import Proposing
from raftline.runtime.reading import Reading
from raftline.runtime.requests import Consistency, Deadlines, Proposal, Read, Request, too_large
from raftline.runtime.role_log import RoleLog
from raftline.runtime.room import Tenant
from raftline.runtime.snapshotting import Snapshotting
from raftline.runtime.stages import Stages
from raftline.runtime.strangers import Strangers
from raftline.transport.codec import Stranger

__all__ = ["GroupLoop"]

_MESSAGES_PER_TURN = 512
_APPLY_SLICE_MIN = 32
_SWEEP_S = 0.05


class GroupLoop:
    """Drives one replica.

    Invariants: `_turn` runs at most once per loop iteration and never nested; no request is answered twice or never.
    """

    __slots__ = (  # and room for what a test puts in the place of a method
        "__dict__", "_applying", "_config", "_core", "_deadlines", "_disk", "_events", "_first_term", "_group",
        "_leaving", "_loop", "_messages", "_peers", "_proposing", "_reading", "_request_timeout_s", "_scheduled",
        "_seen", "_seen_frames", "_stopped", "_sweeper", "_timer", "_timer_at", "_transport", "_turns",
        "compaction", "ended_by", "feeding", "forwarding", "host", "lost_majority", "persistence", "replica", "roles",
        "snapshotting", "stages", "strangers", "tenant",
    )  # fmt: skip

    def __init__(self, group: GroupId, host: Host, replica: Replica, *, origin: int, stages: Stages) -> None:
        config, loop, wal, snapshot_disk = host.config, host.loop, host.wal, host.snapshot_disk
        self._group = group
        self.host = host
        self._config = config
        self._request_timeout_s = config.request_timeout_s
        self.replica = replica
        self._core = replica.core
        self._loop = loop
        self._transport, self._turns = host.transport, host.turns
        self._messages: list[tuple[NodeId, Message]] = []  # no deques: each empty one takes 600 bytes
        self._events: list[Event] = []
        self._reading = Reading(replica, host.clock.wall_ms)
        self._peers = Peers(group, replica.core.state, host.addresses)
        self.strangers = Strangers(group, replica.core.state, host.transport)
        self.lost_majority = LostMajority(group, replica.core.state)
        self._applying = Applying(replica, loop.time, config.apply_slice)
        self._deadlines = Deadlines(host.admission)
        self._leaving = Drain(replica.core, config.core)
        self._scheduled = True  # until `start`: what comes before waits for that
        self._stopped = False
        self.ended_by: Stopped | None = None
        """What they were told who waited here; None while turns are taken."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # kept here: what uvloop returns for a time that is (almost) now has no when()
        self._sweeper: asyncio.TimerHandle | None = None
        self._seen: tuple[Term, NodeId | None, Role | None] = (0, None, None)
        self._first_term: Term = replica.core.term
        self.roles = RoleLog(group, replica.core)
        self.stages = stages
        self.forwarding = Forwarding(origin, self._send_forward, config.core)
        self._seen_frames = SeenFrames()
        post, fail = self.post, self.fail
        self.persistence = Persistence(group, host.writer, self._on_durable, fail, replica.core.state.handed_log)
        self._disk = DiskWatch(host, replica.core.state, self.persistence)
        self._proposing = Proposing(
            host, replica, self.persistence, self._disk, self.forwarding, stages, self._schedule
        )  # fmt: skip
        self.feeding = Feeding(
            group, replica.core.state, host.log_memory, wal, host.log_disk, snapshot_disk, post=post, fail=fail
        )  # fmt: skip
        self.snapshotting = Snapshotting(
            group, replica, wal.snapshots, snapshot_disk, post=post, fail=fail, now=loop.time,
            pace=host.snapshot_pace, chunk_bytes=config.core.snapshot_chunk_bytes,
        )  # fmt: skip
        self.compaction = Compaction(
            group, host, replica, self.snapshotting,
            on_released=host.look_for_room, wake=self._schedule, post=post, fail=fail,
        )  # fmt: skip
        self.tenant = Tenant(replica.core.state, self.persistence, self.compaction, self._schedule)

    # What others may call.

    @property
    def group_id(self) -> GroupId:
        """Return whose replica this is."""
        return self._group

    def on_message(self, sender: NodeId, message: Message) -> None:
        """Take a peer's message in."""
        self._messages.append((sender, message))
        if not (self._scheduled or (type(message) is AppendReply and self._core.reply_may_wait(sender, message))):
            self._schedule()

    def on_stranger(self, sender: NodeId, word: Stranger) -> None:
        """Take in that a peer does not hold this node for a member; whoever waits here for a leader is told."""
        if self.strangers.on_word(sender, word):
            self._schedule()

    def ask_others(self, nodes: Sequence[NodeId]) -> None:
        """Ask nodes that may hold the group whether this replica is a member still, as it knows none of them itself."""
        if not self._stopped and self.strangers.ask(nodes):
            self._turns.flush_soon()

    def post(self, event: Event) -> None:
        """Take in that some work is finished."""
        self._events.append(event)
        self._schedule()

    def submit(self, command: bytes, done: Callable[[bytes | Exception], None], *, term: Term | None = None) -> None:
        """Propose a wrapped command; `done` is called once, in a later turn, with its result or the reason.

        With `term` it may only be appended by the leader of that term.
        """
        proposal = Proposal(command, done, self._loop.time() + self._request_timeout_s, term)
        if self._admit(proposal) and self._proposing.add(proposal) and not self._scheduled:
            self._schedule()

    def before_turn(self, call: Callable[[], None]) -> None:
        """Call this once, soon, right before proposals are taken next; what it submits is taken with them."""
        if self._stopped:
            self._loop.call_soon(call)
        elif self._proposing.before(call):
            self._schedule()

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        """Call `done(None)` at a moment when the local state is what `consistency` says, or `done(error)`; once."""
        read = Read(done, self._loop.time() + self._request_timeout_s, consistency, staleness_s_max)
        if self._admit(read):
            self._reading.add(read)
            if not (self._scheduled or (consistency == "linearizable" and self._core.read_may_wait)):
                self._schedule()

    def start(self) -> None:
        """Begin to take turns: there is a state to answer from."""
        self._peers.follow()
        self._scheduled = False
        self._schedule()

    async def drain(self, seconds_max: float) -> None:
        """Hand over, then wait until everybody here has an answer, nothing more can come, or so long (thesis 3.10)."""
        if not (self._stopped or self._leaving.is_under_way):
            drained = self._leaving.begin(self._proposing.controls.next_id(), self._loop, self.post)
            self._schedule()
            await asyncio.wait([drained], timeout=seconds_max)

    def stop(self, error: Stopped) -> None:
        """Answer everybody who waits with `error`, as far as it may have begun, and take no further turn."""
        if self._stopped:
            return
        self._stopped = True
        self.ended_by = error
        self.host.beats.note_awake(self._group)
        self.snapshotting.stop()
        self.feeding.stop()
        self.compaction.stop()
        for timer in (self._timer, self._sweeper):
            if timer is not None:
                timer.cancel()
        self.replica.waiters.fail_all(error)
        of_nothing = error.of_nothing()
        self._deadlines.fail_all(lambda request: error if request.may_take_effect else of_nothing)
        self._proposing.stop()
        self._leaving.end()

    def fail(self, error: BaseException) -> None:
        """Stop for good: the disk, the state machine or Raft itself can no longer be relied on."""
        if not self._stopped:
            self.stop(Stopped(f"this node stopped: {error}"))
            self.host.on_failure(error)

    @property
    def pending_count(self) -> int:
        """Return how many requests wait for an outcome (or were answered and not swept yet)."""
        return len(self._deadlines)

    @property
    def queued_proposals(self) -> int:
        """Return how many commands wait to be appended or passed on."""
        return self._proposing.count

    @property
    def queued_messages(self) -> int:
        """Return how many messages of peers wait for a turn."""
        return len(self._messages)

    # The turn.

    def _schedule(self) -> None:
        if not self._scheduled and not self._stopped:
            self._scheduled = True
            self._turns.add(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        try:
            now = self._loop.time()
            self._drain(now)
            stages = self.stages
            if stages.is_following:
                stages.look(self._core.state, self.replica.applied)
            if now >= self._timer_at and now >= self._core.next_deadline:
                self.replica.step(TimerDue(), now)
            self._note_leadership()
            now = self._loop.time()  # a read on a lease counts from after it was asked for
            self._route(now)
            self._work(now)
            if stages.is_following:
                stages.look(self._core.state, self.replica.applied)
            self._note_leadership()
            self._peers.follow()
            self.compaction.step()
            if self.snapshotting.readers:
                self.snapshotting.follow(self._core.state)
            self.feeding.bound_memory()
            self._arm_timer(now)
            if self._core.state.can_sleep and (self._core.is_asleep or self._group in self.host.beats.sleepers):
                self.host.beats.follow(self._group, self._core, self.post)
            if self._leaving.is_under_way and self._leaving.is_over(now, is_idle=self._is_idle):
                self._leaving.end()
        except Exception as error:  # noqa: BLE001  a broken promise must not be carried on
            self.fail(error)

    def _drain(self, now: float) -> None:
        """Step everything that came in since the last turn."""
        step = self.replica.step
        events, self._events = self._events, []
        for event in events:
            step(event, now)
        messages = self._messages[:_MESSAGES_PER_TURN]
        del self._messages[:_MESSAGES_PER_TURN]
        for sender, message in messages:
            kind = type(message)
            if kind is ForwardRequest:
                self._on_forward(sender, message)  # type: ignore[arg-type]
            elif kind is ForwardReply:
                if self.forwarding.on_reply(message):  # type: ignore[arg-type]
                    self._proposing.release_held()
            else:
                if kind is VoteRequest:
                    self.strangers.answer(sender)
                    self.lost_majority.note(sender, message)  # type: ignore[arg-type]
                step(Received(sender, message), now)
        if self._messages:
            self._schedule()

    def _work(self, now: float) -> None:
        """Hand out what the core wants done, apply what is committed, answer reads."""
        while (ready := self.replica.take_ready()) is not None:
            self._handle(ready)
            if not self._core.has_more or self.replica.backlog >= self._core.state.config.committed_max:
                break  # apply some first; the rest of what is ready is there in the next turn
        self._turns.flush_early()
        if self.replica.has_work:
            apply_slice = self._turns.share_of(self._config.apply_slice, _APPLY_SLICE_MIN)
            self._applying.go_on(now, self._turns.apply_s, apply_slice)
            if self.replica.has_work or self.replica.has_proposed or self._core.has_more:
                self._schedule()
        self._reading.answer(now)

    def _handle(self, ready: Ready) -> None:
        """Carry out one `Ready` in the order it asks for."""
        send, group = self._transport.send, self._group
        for outgoing in ready.messages:
            send(outgoing.to, group, outgoing.message)
        if self.persistence.persist(ready):
            for outgoing in ready.messages_after_persist:
                send(outgoing.to, group, outgoing.message)
        if ready.install is not None:
            self.snapshotting.restore(ready.install, self._schedule)
            self.compaction.on_installed(ready.install.index)
        for outcome in ready.reads:
            self._reading.on_outcome(outcome.read_id, outcome.index)
        for answer in ready.answers:
            self._proposing.controls.on_answer(answer)
            self._leaving.on_answer(answer)
        if ready.entries_wanted:
            self.feeding.read(ready.entries_wanted)
        if ready.chunks_wanted or ready.chunks_received:
            self.snapshotting.move_chunks(ready.chunks_wanted, ready.chunks_received)

    def _on_durable(self, batch: list[Ready]) -> None:
        """A write is on disk: say what depended on it, and count it."""
        if self._stopped:
            return
        for ready in batch:
            for outgoing in ready.messages_after_persist:
                self._transport.send(outgoing.to, self._group, outgoing.message)
        self._turns.flush_early()
        numbers = [ready.number for ready in batch if ready.must_persist]
        if numbers:
            self._events.append(Persisted(numbers[-1], self._loop.time()))
        elif not batch:
            return  # only what was there already was written, once more
        if not self._scheduled and self._needs_turn():  # else a turn is due, which serves for this, too
            self._turn()

    def _needs_turn(self) -> bool:
        """Say whether something goes on now that a write is done; else the next turn takes note of it."""
        return self._proposing.is_waiting or self._leaving.is_under_way or not self._core.disk_may_wait

    @property
    def _is_idle(self) -> bool:
        """Say whether nobody waits for an answer."""
        return self._deadlines.is_idle and not self._proposing.has_callers

    # Proposals and reads.

    def _admit(self, request: Request) -> bool:
        """Refuse what cannot be held; everything admitted has a deadline."""
        bytes_max = self._config.command_bytes_max
        if self.ended_by is not None:
            self._refuse(request, self.ended_by.of_nothing())
        elif request.size_bytes > bytes_max and (refusal := too_large(request, bytes_max)) is not None:
            self._refuse(request, refusal)
        elif self._deadlines.add(request) or self._deadlines.add_after_all(request, self._loop.time()):
            if self._sweeper is None:
                self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
            return True
        else:
            self._refuse(request, self._deadlines.refusal())
        return False

    def _refuse(self, request: Request, error: Exception) -> None:
        self._loop.call_soon(request.finish, error)

    def _sweep(self) -> None:
        now = self._loop.time()
        self._deadlines.sweep(now)
        self.forwarding.give_up_late(now)
        self.forwarding.stop_waiting(now)
        self._proposing.release_held()
        self._reading.refuse_too_old(now)
        if self._core.leader is None:
            self._proposing.forget_answered()
            self._reading.forget_answered()
        pending = len(self._deadlines)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep) if pending else None
        if self._proposing.is_waiting or self._reading.is_waiting or self._leaving.is_under_way:
            self._schedule()

    def _route(self, now: float) -> None:
        """Propose as leader, pass on to the leader, or keep waiting until there is one."""
        proposing, reading = self._proposing, self._reading
        if not (proposing.is_waiting or reading.is_waiting):
            return
        proposing.fetch()
        if reading.is_waiting:
            reading.route(now)
        if not self._core.is_leader:
            proposing.refuse_forwarded()
            if (error := self.strangers.error()) is not None:
                reading.refuse(error)
                proposing.refuse(error)
        if proposing.route(now):
            self._schedule()

    def _send_forward(self, leader: NodeId, request: ForwardRequest) -> None:
        if self._core.is_asleep:
            self.replica.step(Woken(), self._loop.time())  # the timer sees to it that there is a leader to pass on to
        self._transport.send(leader, self._group, request)

    def _on_forward(self, sender: NodeId, request: ForwardRequest) -> None:
        """Take what a follower passed on, once, if this node leads that term; else refuse it for good.

        Of a term that an earlier life of this node may have led nothing can be said, so nothing is.
        """

        def reply(message: ForwardReply) -> None:
            self.host.answers.send(sender, self._group, message, lambda: without_values(message))
            self._schedule()  # so that it is flushed in this turn or the next

        if not self._first_term < request.term <= self._core.term:
            return
        arrival = self._seen_frames.arrive(sender, request)
        if arrival is Arrival.OVERTAKEN:
            reply(refused(request))
        if arrival is not Arrival.NEW:
            return
        batch = ForwardedBatch(request, reply, reply_bytes_max(self._config))
        for position, command in enumerate(request.commands):
            self.submit(command, batch.slot(position), term=request.term)

    # Housekeeping.

    def _note_leadership(self) -> None:
        """React to a change of term, leader or role: say so, and settle what depended on the old one."""
        core, state = self._core, self._core.state
        if state.role_changes:
            self.roles.follow()
        old_term, old_leader, old_role = self._seen
        if state.term == old_term and state.leader == old_leader and state.role is old_role:
            return
        self._seen = (state.term, state.leader, state.role)
        if core.leader is not None:
            self.strangers.forget()
            self.lost_majority.forget()
        if core.leader != old_leader or core.term != old_term:
            is_gone = old_leader is not None and old_role is not Role.LEADER and not self._transport.reaches(old_leader)
            handed_over = state.handover_term == state.term
            self.forwarding.on_leader_changed(self._loop.time(), handed_over=handed_over, is_gone=is_gone)
            self._proposing.release_held()
        if old_role is Role.LEADER:
            self.snapshotting.close_readers()
        if core.leader is not None and (self._proposing.is_waiting or self._reading.is_waiting):
            self._schedule()

    def _arm_timer(self, now: float) -> None:
        """Make sure that a turn is taken when the core needs one; an early wake-up costs less than re-arming."""
        deadline = self._core.next_deadline
        if self._timer is not None:
            if not self._timer.cancelled() and now < self._timer_at <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline != float("inf"):
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._disk.hangs:
            self._events.append(DiskBehind())
        self._schedule()
