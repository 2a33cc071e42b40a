"""A client's connection to a sharded store: each command goes to the group of its keys, wherever that is.

Writes to different groups are under way side by side, and so are reads; still no read overtakes a write, nor a write a
read, and writes to one slot take effect in the order in which they were sent. What a group does not serve any more, or
not yet, is held and tried again until it is served or the time is over.
"""

import asyncio
from collections.abc import Callable

from raftline.core.ids import GroupId
from raftline.kv.client import Client
from raftline.kv.commands.arguments import SYNTAX_ERROR
from raftline.kv.commands.command import Arguments, ReadFunction, Refused
from raftline.kv.connection import Connection
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.plans import PLANS, Plan, find_plan, version_refusal
from raftline.kv.ports import KvNode
from raftline.kv.queueing import new_entry
from raftline.kv.reply_slots import Executed, Read, Write
from raftline.kv.resp.items import items_of
from raftline.kv.resp.replies import EMPTY_ARRAY, NULL_ARRAY, array, bulk
from raftline.kv.sharded.blocked import wait_in_shard
from raftline.kv.sharded.errands import Errand, MarksRead, ScanRead, ShardRead, WatchRead
from raftline.kv.sharded.everywhere import everywhere
from raftline.kv.sharded.incoming import Incoming
from raftline.kv.sharded.outgoing import Outgoing
from raftline.kv.sharded.router import CLUSTER_DOWN, Router
from raftline.kv.sharded.routes import ALL_GROUPS, NOT_HERE, NOT_IN_SESSION, WALKS, bundle_of, slot_of_command
from raftline.kv.slots import SLOT_COUNT
from raftline.kv.store import Store
from raftline.runtime.requests import Consistency
from raftline.shards.ranges import NOBODY

__all__ = ["ShardedConnection"]

_OLDER: frozenset[Consistency] = frozenset({"bounded", "stale"})
_AT_THE_END = array([bulk(b"0"), EMPTY_ARRAY])


class ShardedConnection(Connection):
    """Invariant: between the look for a command's place and its start, and only then, `_slot` and `_group` are set."""

    __slots__ = ("_group", "_hold_s_max", "_incoming", "_outgoing", "_router", "_slot", "_watched_in")

    def __init__(
        self,
        client: Client,
        node: KvNode,
        limits: Limits,
        on_ready: Callable[[Connection], None],
        router: Router,
        hold_s_max: float,
    ) -> None:
        """Prepare; a command whose slot is not served is held for `hold_s_max`."""
        self._router = router
        self._hold_s_max = hold_s_max
        self._slot = -1
        self._group: GroupId = NOBODY
        self._watched_in: set[GroupId] = set()
        self._outgoing = Outgoing(router, client, node)
        super().__init__(client, node, limits, on_ready)
        self._incoming = Incoming(router, client, node, limits, self._on_read)

    def abandon(self) -> None:
        """Forget everything: the socket is gone. Writes under way take their course."""
        super().abandon()
        self._outgoing.abandon()
        self._incoming.abandon()

    # Where to.

    def _finds(self, plan: Plan, args: Arguments, *, may_be_old: bool = False) -> bool:
        """Look for the place of a command; return False if there is none, and it is answered."""
        try:
            slot = slot_of_command(plan, args)
        except Refused as refused:
            self._reply(refused.reply)
            return False
        if slot is not None:
            return self._finds_slot(plan, args, slot, may_be_old=may_be_old)
        self._slot, self._group = -1, NOBODY
        command = plan.command
        if command.numkeys or command.keys[0] > 0:
            function = command.write or command.read
            if function is not None and not plan.slot:
                self._reply(_refusal_of_nothing(function, args))
                return False
        return True

    def _finds_slot(self, plan: Plan, args: Arguments, slot: int, *, may_be_old: bool = False) -> bool:
        router = self._router
        group = router.group_for(slot, 0)
        refusal: bytes | None = None
        if group == NOBODY:
            refusal = CLUSTER_DOWN
        elif router.redirects != "never":
            refusal = router.redirect(slot, group, finds_slots=self.client.finds_slots, may_be_old=may_be_old)
        if refusal is None:
            here = router.here(group)
            if here is not None and here.group.command_version < KvMachine.version:
                refusal = version_refusal(plan, args, here.group.command_version)
        if refusal is not None:
            self._reply(refusal)
            return False
        self._slot, self._group = slot, group
        return True

    # Starting.

    def _start(self, args: Arguments) -> bool:
        if self._slots and self.client.transaction is None:
            plan = PLANS.get(args[0]) or find_plan(args)
            if plan is not None and plan.name in ALL_GROUPS:
                return False
        return super()._start(args)

    def _start_special(self, plan: Plan, args: Arguments) -> bool:
        if plan.name in NOT_HERE:
            self._reply(NOT_HERE[plan.name])
        elif plan.waits:
            self._start_waiting(plan, args)
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
            slot, self._slot = self._slot, -1
            self._start_task(wait_in_shard(self._router, plan.command, slot, self._hold_s_max, session, sequence), args)

    def _propose(self, plan: Plan, args: Arguments, session: int | None = None, sequence: int = 0) -> None:
        if plan.name in ALL_GROUPS:
            if session is not None:
                self._reply(NOT_IN_SESSION)
            else:
                self._start_task(everywhere(self._router, plan.wire_name, self._hold_s_max), args)
        elif self._finds(plan, args):
            super()._propose(plan, args, session, sequence)

    def _submit(self, command: bytes, slot: Write, args: Arguments, session: int | None, sequence: int) -> None:
        if self._slot < 0:
            super()._submit(command, slot, args, session, sequence)
            return
        self._send(command, slot, args, session, sequence)

    def _send(self, command: bytes, write: Write, args: Arguments, session: int | None, sequence: int) -> Errand:
        """Send a write to the place that was found."""
        if not self._slow.is_marked:
            self._slow.mark(write, args, is_large=self.intake.is_large)
        self._slots.append(write)
        self._writes += 1
        self._held_bytes += len(command)
        deadline_s = asyncio.get_running_loop().time() + self._hold_s_max
        errand = Errand(self._outgoing, write, command, self._slot, deadline_s, session, sequence)
        self._slot = -1
        self._outgoing.submit(errand, self._group)
        return errand

    def _start_transaction(self, args: Arguments, session: int | None = None, sequence: int = 0) -> bool:
        if self._reads or self._reading:
            return False
        watched_in, history_group = self._watched_in, NOBODY
        if len(args) > 1:
            history, _, number = args[1].rpartition(b"/")
            if number.isdigit():
                args = [args[0], history, *args[2:]]
                history_group = int(number)
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
        if bundle.is_marked and watched_in != {self._group}:
            self._slot = -1
            self._reply(entry.finish(NULL_ARRAY))  # marks of another group's log say nothing about this one's
            return True
        write = Executed(self, entry.finish, is_silent=self._is_silent())
        if bundle.slot is None:
            self._submit(entry.command, write, args[:1], session, sequence)
        else:
            self._send(entry.command, write, args[:1], session, sequence).is_marked = bundle.is_marked
        return True

    # Reads.

    def _start_read(self, plan: Plan | None, function: ReadFunction, args: Arguments) -> None:
        if plan is None:
            super()._start_read(plan, function, args)
        elif plan.name in ALL_GROUPS:
            self._start_task(everywhere(self._router, plan.wire_name, self._hold_s_max), args)
        elif plan.name in WALKS:
            self._start_walk(plan, args)
        elif plan.bound is not None or self._finds(plan, args, may_be_old=self.client.reads in _OLDER):
            slot, self._slot = self._slot, -1
            if slot < 0:
                super()._start_read(plan, function, args)
            else:
                self._queue_read(self._new_read(plan, function, args, slot))

    def _new_read(self, plan: Plan, function: ReadFunction, args: Arguments, slot: int) -> ShardRead:
        is_silent = self._is_silent()
        if plan.name == "watch":
            return WatchRead(function, args, slot, self.client.transaction, self._watched_in, is_silent=is_silent)
        if plan.name == "raftline.watch":
            return MarksRead(self.client.server.status().cluster_id.encode(), args, slot, is_silent=is_silent)
        return ShardRead(function, args, slot, is_silent=is_silent)

    def _queue_read(self, read: ShardRead) -> None:
        read.group = self._group
        read.deadline_s = asyncio.get_running_loop().time() + self._hold_s_max
        if not self._slow.is_marked:
            self._slow.mark(read, read.args, is_large=self.intake.is_large)
        self._slots.append(read)
        self._reads.append(read)
        if self.intake.is_large:
            self._held_bytes += sum(map(len, read.args))

    def _start_walk(self, plan: Plan, args: Arguments) -> None:
        """Begin a step of SCAN; who finds slots himself is told of what this node leads, others of everything."""
        try:
            slot = slot_of_command(plan, args)
        except Refused as refused:
            self._reply(refused.reply)
            return
        assert slot is not None, "it goes on in some slot"
        own_only = self._router.is_for_finders(finds_slots=self.client.finds_slots)
        first = self._router.next_led(slot) if own_only else slot
        if first == SLOT_COUNT:
            self._reply(_AT_THE_END)
            return
        if first > slot:
            args = [*args]
            args[1 if plan.name == "scan" else 2] = b"%d" % (first << 32)
        self._slot, self._group = first, self._router.group_for(first, 0)
        if self._group == NOBODY:
            self._reply(CLUSTER_DOWN)
            return
        finish = self._led_only if own_only else _as_it_is
        read = ScanRead(args, first, finish, is_silent=self._is_silent())
        self._slot = -1
        self._queue_read(read)

    def _led_only(self, reply: bytes) -> bytes:
        """Let a walk go on at the next slot that this node leads."""
        cursor, found = items_of(reply)
        after = int(cursor[cursor.index(b"\r\n") + 2 : -2])
        if not after:
            return reply
        slot = self._router.next_led(after >> 32)
        if slot > after >> 32:
            after = slot << 32 if slot < SLOT_COUNT else 0
        return array([bulk(b"%d" % after), found])

    def _begin_reads(self) -> None:
        self._incoming.begin(self._reading)

    def _on_read(self, later: list[Read]) -> None:
        """Go on: what was to be read now is read, but for what comes later."""
        self._reading = []
        self._reads = later + self._reads
        self._be_ready()


def _as_it_is(reply: bytes) -> bytes:
    return reply


def _refusal_of_nothing(function: ReadFunction, args: Arguments) -> bytes:
    """Return what a command is refused with whose keys cannot be told: what it would be by a store without keys."""
    try:
        reply = function(Store(), list(args), 0)
    except Refused as refused:
        return refused.reply
    return reply if reply[:1] == b"-" else SYNTAX_ERROR
