"""Proposals on their way into the log: a leader appends them, anybody else passes them on, or keeps them until it can.

While a leader writes, what comes waits until that write is done, and all of it then takes one record, one message to
each follower and one turn everywhere (group commit). It could not be on this disk any sooner. The followers could have
it before: so nothing waits for a disk that the others do without, and nothing for long (thesis 10.2.1).
"""

import asyncio
from collections.abc import Callable, Sequence

from raftline.core.events import DiskBehind
from raftline.core.ids import NodeId
from raftline.errors import NotLeader
from raftline.replica.replica import Replica
from raftline.runtime.controls import Controls
from raftline.runtime.disk_watch import DiskWatch
from raftline.runtime.forwarding import Forwarding
from raftline.runtime.host import Host
from raftline.runtime.persistence import Persistence
from raftline.runtime.requests import Proposal, head_of
from raftline.runtime.stages import Stages

__all__ = ["Proposing"]

_PER_TURN = 8192
_SHARE_MIN = 256
_PASSED_ON_BYTES = 1 << 20
"""So much is passed on at a time where a single command is not more."""
_ROOM_S = 0.005
"""How soon it is looked again whether there is room on the way to the leader."""
_UNCOMMITTED_S_MAX = 0.01
_COMMITTED_S_MAX = 0.002
"""For how long after a write began proposals are held back, before and after the followers have committed it."""


class Proposing:
    """The proposals of one replica that are not in the log yet.

    Invariants: what is in `_held` came before all of `_queue`; the driver takes a turn whenever `add` or `before` said
    that one is needed, and when a write is done or an entry committed; while something is held back an alarm is set.
    """

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_callers",
        "_core",
        "_disk",
        "_forwarding",
        "_held",
        "_is_calling",
        "_is_crowded",
        "_loop",
        "_persistence",
        "_queue",
        "_replica",
        "_stages",
        "_transport",
        "_turns",
        "_wake",
        "_wall_ms",
        "controls",
    )

    def __init__(
        self,
        host: Host,
        replica: Replica,
        persistence: Persistence,
        disk: DiskWatch,
        forwarding: Forwarding,
        stages: Stages,
        wake: Callable[[], None],
    ) -> None:
        """`wake` asks the driver for a turn."""
        self._wake = wake
        self._loop, self._turns, self._transport = host.loop, host.turns, host.transport
        self._wall_ms = host.clock.wall_ms
        self._replica = replica
        self._core = replica.core
        self._persistence = persistence
        self._disk = disk
        self._forwarding = forwarding
        self._stages = stages
        self._queue: list[Proposal] = []
        self._held: list[Proposal] = []
        self._callers: list[Callable[[], None]] = []
        self._is_calling = False
        self._is_crowded = False
        """Something came while what was proposed before it was not committed."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0  # kept here: what uvloop returns for a time that is (almost) now has no when()
        self.controls = Controls(replica, self._held.append)

    @property
    def is_waiting(self) -> bool:
        """Say whether proposals wait, or somebody who wants to make some."""
        return bool(self._queue or self._callers)

    @property
    def has_callers(self) -> bool:
        """Say whether somebody waits to make proposals."""
        return bool(self._callers)

    @property
    def count(self) -> int:
        """Return how many commands wait to be appended or passed on."""
        return len(self._queue) + len(self._held)

    def add(self, proposal: Proposal) -> bool:
        """Take a proposal in; return whether it needs a turn: not while it is held back, or a turn takes it anyway."""
        queue = self._queue
        if queue or self._is_calling:  # of what is there already the first one has asked for a turn, or an alarm is set
            queue.append(proposal)
            return False
        self._stages.on_queued()
        queue.append(proposal)
        return not self._holds_back()

    def before(self, call: Callable[[], None]) -> bool:
        """Call this right before proposals are taken next, soon: what it proposes goes with them; return as `add`."""
        if not (self._queue or self._callers):
            self._stages.on_queued()
        self._callers.append(call)
        return not self._holds_back()

    def fetch(self) -> None:
        """Let them propose now who wanted to, unless that is held back; what they raise is their owners' trouble."""
        if self._callers and not self._holds_back():
            self._call()

    def stop(self) -> None:
        """Let them propose who wanted to, so that they hear that this node takes nothing any more."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._call()

    def route(self, now: float) -> bool:
        """Append what waits as leader, or pass it on, if now is the time; return whether another turn is needed."""
        core = self._core
        if not self._queue or core.leader is None or self._forwarding.is_holding:
            return False
        if core.is_leader:
            if not core.takes_proposals or self._holds_back():
                return False
        elif not self._transport.reaches(core.leader):
            return False  # what is passed on to a leader whose process is gone would be lost: it waits for the next
        else:
            return self._pass_on(core.leader)
        return self._take(now)

    def release_held(self) -> None:
        """Let proposals that a node refused because it did not lead try again, before everything that came later.

        Only at a sweep or a change of leader, so that two nodes do not play ball with them.
        """
        held = self._held + self._forwarding.take_held()
        self._held.clear()
        self._queue[:0] = held

    def refuse(self, error: Exception) -> None:
        """Answer everything that waits with `error`."""
        queue, self._queue = self._queue, []
        for proposal in queue:
            proposal.finish(error)

    def refuse_forwarded(self) -> None:
        """This node does not lead: what was passed on to it goes back, and is never appended here."""
        if any(proposal.term is not None for proposal in self._queue):
            for proposal in self._queue:
                if proposal.term is not None:
                    proposal.finish(NotLeader(self._core.leader))
            self._queue = [proposal for proposal in self._queue if proposal.term is None]

    def forget_answered(self) -> None:
        """Let go of proposals whose deadline passed while they waited for a leader."""
        self._queue = [proposal for proposal in self._queue if proposal.done is not None]

    def _call(self) -> None:
        callers, self._callers = self._callers, []
        self._is_calling = True
        for caller in callers:
            try:
                caller()
            except Exception as error:  # noqa: BLE001  somebody else's code
                context = {"message": "a call before a turn raised", "exception": error}
                self._loop.call_exception_handler(context)
        self._is_calling = False

    def _holds_back(self) -> bool:
        """Say whether what comes waits for this leader's own write, and see to it that it does not wait for long.

        Once the followers have committed without this disk they have nothing to do: then a little longer at most, and
        only where several clients write at a time, which shows by what came before the commit.
        """
        state = self._core.state
        if not self._persistence.is_writing or not self._core.is_leader:
            return False
        until = self._persistence.write_began_at
        if state.commit < state.log.last_index:
            self._is_crowded = True
            until += _UNCOMMITTED_S_MAX
        elif self._is_crowded:
            until += _COMMITTED_S_MAX
        if self._loop.time() >= until:
            return False
        self._set_alarm(until)
        return True

    def _set_alarm(self, when: float) -> None:
        """See to it that it is looked again then, or sooner; it may be sooner than was thought before."""
        if self._alarm is not None:
            if self._alarm_at <= when:
                return
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self._loop.call_at(when, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        if self.is_waiting:
            self._wake()

    def _pass_on(self, leader: NodeId) -> bool:
        """Send the leader a turn's share, as far as there is room on the way: what a full queue drops is lost."""
        queue = self._queue
        count, size_bytes = head_of(queue, self._turns.share_of(_PER_TURN, _SHARE_MIN), _PASSED_ON_BYTES)
        if not self._transport.has_room(leader, size_bytes):
            self._set_alarm(self._loop.time() + _ROOM_S)
            return False
        batch = queue[:count]
        del queue[:count]
        self._is_crowded = False
        self._stages.on_taken(count, remaining=len(queue))
        batch = [proposal for proposal in batch if proposal.done is not None]
        if batch:
            self._forwarding.forward(leader, self._core.term, batch)
        return bool(queue)

    def _take(self, now: float) -> bool:
        """Append a turn's share; during a transfer the leader's proposals wait for its successor."""
        core, queue = self._core, self._queue
        take = self._turns.share_of(_PER_TURN, _SHARE_MIN)
        batch = queue[:take]
        del queue[:take]
        is_more = bool(queue)
        self._is_crowded = False
        taken_at = self._stages.on_taken(len(batch), remaining=len(queue))
        batch = [proposal for proposal in batch if proposal.done is not None]
        # Lists and not any(): a generator's step costs three times as much, and this is done for every command.
        if [True for proposal in batch if proposal.term is not None]:
            batch = self._of_this_term(batch)
        if [True for proposal in batch if proposal.is_control]:
            batch = self.controls.take(batch, now)
            if not core.takes_proposals:
                self._queue[:0] = batch
                return is_more
        if self._disk.is_full and batch:
            self._refuse_for_disk(batch, now)
            return is_more
        for proposal in batch:
            proposal.may_take_effect = True
        if any(proposal.term is None for proposal in batch):
            self._forwarding.on_appended_here()
        dones = [proposal.finish for proposal in batch]
        self._replica.propose([proposal.command for proposal in batch], dones, now, self._wall_ms())
        self._stages.on_appended(core.state, len(batch), taken_at)
        return is_more

    def _refuse_for_disk(self, batch: Sequence[Proposal], now: float) -> None:
        """Refuse what would be too much for this leader's disk; the others may do without it (B13)."""
        error = self._disk.refusal()
        for proposal in batch:
            proposal.finish(error)
        self._replica.step(DiskBehind(), now)

    def _of_this_term(self, batch: Sequence[Proposal]) -> list[Proposal]:
        """Refuse, for good, what was passed on to the leader of an earlier term."""
        core = self._core
        for proposal in batch:
            if proposal.term not in (None, core.term):
                proposal.finish(NotLeader(core.leader))
        return [proposal for proposal in batch if proposal.done is not None]
