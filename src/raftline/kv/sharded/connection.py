"""A client's connection to a sharded store: each command goes to the group of its keys, wherever that is.

Writes to different groups are under way side by side, and so are reads; still no read overtakes a write, nor a write a
read, and writes to one slot take effect in the order in which they were sent. What a group does not serve any more, or
not yet, is held and tried again until it is served or the time is over.
"""

from collections.abc import Callable

from raftline.core.ids import GroupId
from raftline.errors import SessionClosed
from raftline.kv.bundles import BUNDLED_BYTES_MAX
from raftline.kv.client import Client
from raftline.kv.commands.arguments import SYNTAX_ERROR, parse_integer
from raftline.kv.commands.command import Arguments, ReadFunction, Refused
from raftline.kv.connection import Connection
from raftline.kv.limits import ARGUMENT_BYTES, Limits
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.plans import PLANS, Plan, may_share, version_refusal
from raftline.kv.ports import KvNode
from raftline.kv.queueing import new_entry
from raftline.kv.reading import OLDER
from raftline.kv.reply_slots import Executed
from raftline.kv.resp.replies import EMPTY_ARRAY, NULL_ARRAY, array, bulk
from raftline.kv.sharded.blocked import wait_in_shard
from raftline.kv.sharded.errands import Errand, MarksRead, ScanRead, ShardRead, WatchRead
from raftline.kv.sharded.everywhere import everywhere
from raftline.kv.sharded.incoming import Incoming
from raftline.kv.sharded.outgoing import Outgoing
from raftline.kv.sharded.router import Here, Place, Router
from raftline.kv.sharded.routes import (
    ALL_GROUPS,
    NOT_HERE,
    NOT_IN_SESSION,
    ONE_KEY,
    WALKS,
    bundle_of,
    out_of_date,
    slot_of_command,
)
from raftline.kv.sharded.sessions import session_task
from raftline.kv.slots import SLOT_COUNT, slot_of
from raftline.kv.store import Store
from raftline.shards.ranges import NOBODY

__all__ = ["ShardedConnection"]

_AT_THE_END = array([bulk(b"0"), EMPTY_ARRAY])


class ShardedConnection(Connection):
    """Invariant: between the look for a command's place and its start, and only then, `_place` is set."""

    __slots__ = ("_hold_s_max", "_outgoing", "_place", "_router", "_slot", "_watched_in")

    def __init__(
        self,
        client: Client,
        node: KvNode,
        limits: Limits,
        on_ready: Callable[[], object],
        router: Router,
        hold_s_max: float,
    ) -> None:
        """Prepare; a command whose slot is not served is held for `hold_s_max`."""
        self._router = router
        self._hold_s_max = hold_s_max
        self._slot = -1
        self._place: Place | None = None
        self._watched_in: set[GroupId] = set()
        super().__init__(client, node, limits, on_ready)
        self._outgoing = Outgoing(router, client, node, self._slots, hold_s_max)
        self._answering = Incoming(router, client, node, limits, hold_s_max, self._on_read)

    def abandon(self) -> None:
        """Forget everything: the socket is gone. Writes under way take their course."""
        super().abandon()
        self._outgoing.abandon()

    # Where to.

    def _finds(self, plan: Plan, args: Arguments, *, may_be_old: bool = False) -> bool:
        """Look for the place of a command; return False if there is none, and it is answered."""
        if plan.name in ONE_KEY:
            return self._finds_slot(plan, args, slot_of(args[1]), may_be_old=may_be_old)
        try:
            slot = slot_of_command(plan, args)
        except Refused as refused:
            self._reply(refused.reply)
            return False
        if slot is not None:
            return self._finds_slot(plan, args, slot, may_be_old=may_be_old)
        command = plan.command
        if command.numkeys or command.keys[0] > 0:
            function = command.write or command.read
            if function is not None and not plan.slot:
                self._reply(_refusal_of_nothing(function, args))
                return False
        return True

    def _finds_here(self, plan: Plan, args: Arguments) -> bool:
        """Find the place of most commands: what `_finds` does, and less; False says nothing."""
        router = self._router
        if plan.name not in ONE_KEY or router.is_strict or self.client.finds_slots:
            return False
        slot = slot_of(args[1])
        place = router.find(slot)
        if not isinstance(place, Here) or not place.is_current:
            return False
        self._slot, self._place = slot, place
        return True

    def _finds_slot(self, plan: Plan, args: Arguments, slot: int, *, may_be_old: bool = False) -> bool:
        """Find the place; reply and return False if there is none, or the command is not for this node, or too new.

        Of a group that is not hosted nobody tells here which version its members know. It need not be asked: the
        members of every group are members of group 0, whose version was looked at before, as in any store. A hosted
        group is asked too, as what it notes for transactions depends on the version in its own log.
        """
        router = self._router
        place = router.find(slot)
        finds_slots = self.client.finds_slots
        refusal: bytes | None = None
        if place is None:
            refusal = router.redirect(slot, router.owner(slot), finds_slots=finds_slots) or router.nobody()
        elif finds_slots or router.is_strict:
            refusal = router.redirect(slot, place.id, finds_slots=finds_slots, may_be_old=may_be_old)
        if refusal is None and isinstance(place, Here) and not place.is_current:
            place.is_current = place.group.command_version >= KvMachine.version
            refusal = version_refusal(plan, args, place.group)
        if refusal is not None:
            self._reply(refusal)
            return False
        self._slot, self._place = slot, place
        return True

    # Starting.

    def _start(self, plan: Plan | None, args: Arguments) -> bool:
        if self._slots and plan is not None and plan.name in ALL_GROUPS and self.client.transaction is None:
            return False
        return super()._start(plan, args)

    def _share(self, plan: Plan, args: Arguments) -> bool:
        if not self._finds_here(plan, args):
            return False
        args[0] = plan.wire_name
        command = encode_command(args)
        if len(command) > BUNDLED_BYTES_MAX:
            self._place = None
            return False
        self._send(command, args, None, 0, is_shared=True)
        return True

    def _start_special(self, plan: Plan, args: Arguments) -> bool:
        if plan.name in NOT_HERE:
            self._reply(NOT_HERE[plan.name])
        elif plan.waits:
            self._start_waiting(plan, args)
        elif (task := session_task(self._router, plan.name)) is not None:
            self._start_task(task, args)
        elif plan.bound is not None:
            if plan.name == "watch" and self.client.transaction is None:
                self._watched_in = set()
            if self._finds(plan, args):
                self._start_read(plan, plan.bound(self.client, args), args)
        else:
            return super()._start_special(plan, args)
        return True

    def _start_waiting_once(self, plan: Plan, args: Arguments, session: int, sequence: int) -> None:
        self._start_waiting(plan, args, session, sequence)

    def _start_waiting(self, plan: Plan, args: Arguments, session: int | None = None, sequence: int = 0) -> None:
        if self._finds(plan, args):
            self._flush_place()
            self._place = None
            wait = wait_in_shard(self._router, plan.command, self._slot, self._hold_s_max, session, sequence)
            self._start_task(wait, args)

    def _propose(self, plan: Plan, args: Arguments, session: int | None = None, sequence: int = 0) -> None:
        if self._finds_here(plan, args):
            self._send_one(plan, args, session, sequence)
        elif plan.name in ALL_GROUPS:
            if session is not None:
                self._reply(NOT_IN_SESSION)
            else:
                self._start_task(everywhere(self._router, plan.wire_name, self._hold_s_max), args)
        elif self._finds(plan, args):
            if self._place is None:
                super()._propose(plan, args, session, sequence)
            else:
                self._send_one(plan, args, session, sequence)

    def _send_one(self, plan: Plan, args: Arguments, session: int | None, sequence: int) -> None:
        args[0] = plan.wire_name
        command = encode_command(args)
        is_shared = session is None and len(command) <= BUNDLED_BYTES_MAX and may_share(plan, args)
        self._send(command, args, session, sequence, is_shared=is_shared)

    def _flush_place(self) -> None:
        """Let what goes by itself to the place that was found go behind what this connection has sent there."""
        if isinstance(self._place, Here):
            self._place.bundles.flush()

    def _send(
        self,
        command: bytes,
        args: Arguments,
        session: int | None,
        sequence: int,
        finish: Callable[[bytes], bytes] | None = None,
        *,
        is_marked: bool = False,
        is_shared: bool = False,
    ) -> None:
        """Send a write to the place that was found; `args` is what SLOWLOG may show of it.

        `is_shared`: it may share an entry of the log with others.
        """
        if not is_shared:
            self._flush_place()
        place, self._place = self._place, None
        assert place is not None, "it was found"
        slot = self._slot
        errand = Errand(self, command, slot, place, session, sequence)
        client = self.client
        if client.muted or client.skip_reply:
            errand.is_silent = self._is_silent()
        errand.finish, errand.is_marked = finish, is_marked
        if not self._slow.is_marked:
            self._slow.mark(errand, args, is_large=self.intake.is_large)
        self._slots.append(errand)
        self._writes += 1
        self._held_bytes += len(command)
        if self._outgoing.has_to_wait(errand):
            self._outgoing.hold(errand)
        elif is_shared and isinstance(place, Here):
            place.bundles.add(command, errand.done)
        else:
            place.group.submit(command, errand.done, session, sequence)

    def on_write_done(self) -> None:
        """Note that a write is answered."""
        super().on_write_done()
        if not self._writes:
            self._outgoing.on_all_done()

    # What the writes call.

    def on_not_served(self, errand: Errand) -> None:
        """Hold a write that was not carried out, and look for who serves it."""
        if not self.is_abandoned:
            self._outgoing.on_not_served(errand)

    def on_served_elsewhere(self, errand: Errand) -> None:
        """Remember where."""
        self._router.note_served(errand.hash_slot, errand.place.id)

    def on_session_closed(self, errand: Errand, reason: SessionClosed) -> None:
        """Open the session where it is used for the first time."""
        if not self.is_abandoned:
            self._outgoing.on_session_closed(errand, reason)

    def _start_transaction(self, args: Arguments, session: int | None = None, sequence: int = 0) -> bool:
        if self._reads or self._reading:
            return False
        watched_in, history_group = self._watched_in, NOBODY
        if len(args) > 1:
            history, _, number = args[1].rpartition(b"/")
            if (group := parse_integer(number)) is not None:
                args = [args[0], history, *args[2:]]
                history_group = group
            watched_in = {history_group}
        entry = new_entry(self.client, args, self._limits, is_large=self.intake.is_large)
        if entry.command is None:
            self._reply(entry.finish(EMPTY_ARRAY))
            return True
        try:
            bundle = bundle_of(entry.command)
        except Refused as refused:
            self._reply(refused.reply)
            return True
        plan = PLANS[b"EXEC"]
        if bundle.slot is not None and not self._finds_slot(plan, args, bundle.slot):
            return True
        place = self._place
        if bundle.is_marked and (place is None or watched_in != {place.id}):
            # Marks of another group's log say nothing about this one's; but it may have been carried out before.
            if session is None or place is None:
                self._place = None
                self._reply(entry.finish(NULL_ARRAY))
            else:
                self._send(out_of_date(entry.command), args[:1], session, sequence, entry.finish)
            return True
        if place is None:
            write = Executed(self, entry.finish, is_silent=self._is_silent())
            self._submit(entry.command, write, args[:1], session, sequence)
        else:
            self._send(entry.command, args[:1], session, sequence, entry.finish, is_marked=bundle.is_marked)
        return True

    # Reads.

    def _start_read(self, plan: Plan | None, function: ReadFunction, args: Arguments) -> None:
        if plan is None:
            super()._start_read(plan, function, args)
        elif plan.name in ALL_GROUPS:
            self._start_task(everywhere(self._router, plan.wire_name, self._hold_s_max), args)
        elif plan.name in WALKS:
            self._start_walk(plan, args)
        elif plan.bound is not None or self._finds(plan, args, may_be_old=self.client.reads in OLDER):
            place, self._place = self._place, None
            if place is None:
                super()._start_read(plan, function, args)
            else:
                self._queue_read(self._new_read(plan, function, args, place))

    def _new_read(self, plan: Plan, function: ReadFunction, args: Arguments, place: Place) -> ShardRead:
        slot, is_silent = self._slot, self._is_silent()
        if plan.bound is not None:
            if plan.name == "watch":
                transaction = self.client.transaction
                return WatchRead(function, args, slot, place, transaction, self._watched_in, is_silent=is_silent)
            if plan.name == "raftline.watch":
                history = self.client.server.status().cluster_id.encode()
                return MarksRead(history, args, slot, place, is_silent=is_silent)
        return ShardRead(function, args, slot, place, is_silent=is_silent)

    def _queue_read(self, read: ShardRead) -> None:
        if not self._slow.is_marked:
            self._slow.mark(read, read.args, is_large=self.intake.is_large)
        self._slots.append(read)
        self._reads.append(read)
        if self.intake.is_large:
            self._held_bytes += sum(map(len, read.args)) + ARGUMENT_BYTES * len(read.args)

    def _start_walk(self, plan: Plan, args: Arguments) -> None:
        """Begin a step of SCAN, which goes on in the slot of its cursor, whoever serves that.

        So it does for whoever asks: a client that asks every node that it takes for a primary knows of those that were
        leaders when it last asked for the slots, and would leave out what others lead.
        """
        try:
            slot = slot_of_command(plan, args)
        except Refused as refused:
            self._reply(refused.reply)
            return
        assert slot is not None, "it goes on in some slot"
        if slot == SLOT_COUNT:
            self._reply(_AT_THE_END)
            return
        place = self._router.find(slot)
        if place is None:
            self._reply(self._router.nobody())
            return
        self._queue_read(ScanRead(args, slot, place, is_silent=self._is_silent()))


def _refusal_of_nothing(function: ReadFunction, args: Arguments) -> bytes:
    """Return what a command is refused with whose keys cannot be told: what it would be by a store without keys."""
    try:
        reply = function(Store(), list(args), 0)
    except Refused as refused:
        return refused.reply
    return reply if reply[:1] == b"-" else SYNTAX_ERROR
