"""One client's connection without its socket: bytes in, commands carried out in order, replies out in order.

Consecutive writes are proposed together, consecutive reads share one check of linearizability. A read waits until all
writes before it are answered, a write until all reads before it are; so commands of one connection take effect in the
order in which they were sent. Every command has a slot for its reply, and replies leave in the order of the slots.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from raftline.kv.answers import local_reply, task_reply
from raftline.kv.blocked import once_waiting
from raftline.kv.bundles import BUNDLED_BYTES_MAX
from raftline.kv.client import Client
from raftline.kv.commands.command import (
    Arguments,
    Deferred,
    LocalFunction,
    ReadFunction,
    Refused,
    Settled,
    TaskFunction,
    Unsettled,
)
from raftline.kv.intake import Intake
from raftline.kv.limits import ARGUMENT_BYTES, Limits
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.once import unwrap
from raftline.kv.plans import PLANS, Plan, find_plan, may_share, size_refusal, unsuitable_refusal, version_refusal
from raftline.kv.ports import KvNode
from raftline.kv.queueing import new_entry, queue
from raftline.kv.reading import Reading, Reads
from raftline.kv.reply_queue import ReplyQueue
from raftline.kv.reply_slots import Executed, Read, SilentWrite, Slot, Write, Writes
from raftline.kv.resp.replies import EMPTY_ARRAY, error

__all__ = ["Connection"]

_COMMANDS_PER_TURN = 1024
_ALONE_BYTES_MAX = BUNDLED_BYTES_MAX
_ALONE_ARGS_MAX = 64
"""What comes alone and is no larger needs no look at the limits, if these are not below that."""
_STRANGERS_BYTES_MAX = 16 << 10
"""Half a request of a client that has not logged in may be this long."""


class Connection(ReplyQueue):
    """What one client asked for and was not yet told.

    Invariants: slots are in the order of the commands; while writes are under way no read runs, and the other way
    round.
    """

    __slots__ = (
        "_alone_bytes_max", "_answering", "_bundles", "_calls", "_commands", "_is_current", "_is_free", "_limits",
        "_node", "_reading", "_reads", "_settling", "_task", "intake", "is_output_blocked", "parser",
    )  # fmt: skip

    def __init__(self, client: Client, node: KvNode, limits: Limits, on_ready: Callable[[], object]) -> None:
        """`on_ready` asks for a turn."""
        super().__init__(client, on_ready)
        self._node = node
        self._limits = limits
        self._calls = client.server.statistics.calls
        self._bundles = client.server.bundles
        self.intake = Intake(limits)
        self.parser = self.intake.parser
        self._alone_bytes_max = min(_ALONE_BYTES_MAX, limits.unlooked_at_bytes_max, limits.request_bytes_max)
        if limits.args_max < _ALONE_ARGS_MAX:
            self._alone_bytes_max = 0
        self._commands: deque[Arguments] = deque()
        self._is_current = False
        self._is_free = self._is_unasked()
        self._settling: Slot | None = None
        self._reads: list[Read] = []
        self._reading: list[Read] = []
        self._answering: Reading = Reads(client, node, limits.output_pause_bytes, self._be_ready, self._on_read)
        self._task: asyncio.Task[None] | None = None
        self.is_output_blocked = False
        """The owner cannot send more at the moment; nothing further is carried out until it can."""

    # What the owner of the socket calls.

    def feed(self, data: bytes) -> bool:
        """Take bytes in and carry out what can be; the owner then sends `take_output()`, and sees to the rest.

        Return False if there is nothing to send, and nothing that `is_in_order` would say.
        """
        rest = data if self._slots or len(data) > self._alone_bytes_max else self._carry_out_alone(data)
        if rest is None:
            return bool(self._out)
        if rest:
            self.intake.feed(rest)
        self.turn()
        return True

    def turn(self) -> None:
        """Collect replies that have come, then carry out what can be."""
        self._is_ready = False
        if self.is_abandoned:
            return
        if self._slots:
            self._collect()
        if self._commands or self.intake.waiting or self.intake.refusal is not None:
            self._carry_out_commands()
        if self._reads and not self._reading and not self._writes and not self.is_output_blocked:
            self._reading, self._reads = self._reads, []
            self._answering.begin(self._reading)

    def take_lone_reply(self) -> bytes:
        """Return the reply to the only command that is under way, if nothing else has to be looked at; else nothing."""
        intake = self.intake
        if len(self._slots) != 1 or self._commands or self._out or intake.waiting or intake.refusal is not None:
            return b""
        reply = self._take_lone_reply() if self.is_in_order else b""
        if reply:
            self._is_ready = False
        return reply

    def abandon(self) -> None:
        """Forget everything: the socket is gone. Writes under way take their course."""
        self.is_abandoned = True
        self.intake.clear()
        self._commands.clear()
        self._slots.clear()
        self._reads, self._reading, self._out = [], [], []
        self.parser = self.intake.parser
        self._answering.abandon()
        if self._task is not None:
            self._task.cancel()

    @property
    def is_finished(self) -> bool:
        """Say whether everything is answered and nothing more will be: the socket can be closed."""
        if self._slots or self._out:
            return False
        return self.client.closing or (self.client.is_at_end and not self._commands and not self.intake.waiting)

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is under way: no request was received that is not answered."""
        return not (self._slots or self._out or self._commands or self.intake.waiting)

    @property
    def is_in_order(self) -> bool:
        """Say whether nothing but replies has to be looked after: no end, no backlog, nothing that is half there."""
        client = self.client
        if client.is_at_end or client.closing or client.transaction is not None:
            return False
        return not (self.parser.is_amid_request or self.intake.has_backlog)

    # What the reads call.

    def _on_read(self, later: Sequence[Read]) -> None:
        """Go on: what was to be read now is read, but for what comes later."""
        self._reading = []
        if later:
            self._reads = [*later, *self._reads]
        self._be_ready()

    # Carrying out.

    def _carry_out_commands(self) -> None:
        """Parse and start commands until one has to wait, the turn is long enough, or there are no more."""
        commands, intake = self._commands, self.intake
        client = self.client
        self._is_free = self._is_unasked()
        count = 0
        self._slow.is_marked = False
        while not client.closing:
            if not commands:
                if intake.waiting:
                    commands.extend(intake.parse())
                elif not self._has_last_word():
                    break
            elif count == _COMMANDS_PER_TURN:
                self._be_ready()
                break
            elif self._must_wait():
                break
            else:
                args = commands[0]
                plan = PLANS.get(args[0]) or find_plan(args)
                is_small = self._is_free and plan is not None and len(args) <= plan.shared_args_max
                if is_small and len(commands) > 1 and (started := self._start_shared(_COMMANDS_PER_TURN - count)):
                    count += started
                elif self._start(plan, args):
                    commands.popleft()
                    count += 1
                else:
                    break
        if not client.is_authenticated and self.parser.partial_bytes > _STRANGERS_BYTES_MAX:
            self._on_protocol_error("unauthenticated bulk length")
        client.pending = len(self._slots) + self._joined
        client.server.statistics.commands += count

    def _carry_out_alone(self, data: bytes) -> bytes | None:
        """Start one small command that comes while nothing is under way: as `turn` would, but with one look at it.

        Return None if that is done, or else what a turn has to parse: `data`, or nothing, if the command waits for it.
        """
        client, intake, parser = self.client, self.intake, self.parser
        if self._commands or self._out or intake.waiting or intake.refusal is not None or self._settling is not None:
            return data
        if self.is_output_blocked or self.is_abandoned or client.closing or client.transaction is not None:
            return data
        if client.muted or client.skip_reply or not self._is_unasked() or (args := parser.find_alone(data)) is None:
            return data
        intake.is_large = self._slow.is_marked = False
        plan = PLANS.get(args[0])
        args_count = len(args)
        if plan is not None and plan.args_min <= args_count <= plan.read_args_max and plan.read is not None:
            self._start_read(plan, plan.read, args)
        elif plan is None or not plan.args_min <= args_count <= plan.shared_args_max or not self._share(plan, args):
            self._commands.append(args)
            intake.backlog_bytes = len(data)
            return b""
        self._calls[plan.name] += 1
        client.last_command = plan.name
        client.pending = len(self._slots)
        client.server.statistics.commands += 1
        if self._reads:
            self._reading, self._reads = self._reads, []
            self._answering.begin(self._reading)
        return None

    def _has_last_word(self) -> bool:
        """Behind all input, say what the client is told before its connection ends; return False if nothing."""
        intake = self.intake
        intake.backlog_bytes = 0
        if self.parser.error is not None:
            self._on_protocol_error(self.parser.error)
        elif intake.refusal is not None:
            self._reply(intake.refusal)
            self.client.closing = True
        else:
            return False
        return True

    def _must_wait(self) -> bool:
        """Say whether enough is under way, or waits to be sent."""
        limits = self._limits
        if self.is_output_blocked or self._task is not None:
            return True
        if self._settling is not None:
            if self._settling.reply is None:
                return True
            self._settling = None
            self._is_free = self._is_unasked()
        if self._out_bytes > limits.output_pause_bytes:
            self._be_ready()
            return True
        return len(self._slots) + self._joined >= limits.pipeline_max or self._held_bytes > limits.pipeline_bytes

    def _start_shared(self, count_max: int) -> int:
        """Start small writes, with one look at all that cannot change between them; return how many."""
        client, commands, limits = self.client, self._commands, self._limits
        is_plain = client.transaction is None and not (client.muted or client.skip_reply or self.intake.is_large)
        if not is_plain or self._reads or self._reading:
            return 0
        find, count = PLANS.get, 0
        count_max = min(count_max, limits.pipeline_max - len(self._slots) - self._joined)
        while count < count_max and commands and self._held_bytes <= limits.pipeline_bytes:
            args = commands[0]
            plan = find(args[0])
            if plan is None or not plan.args_min <= len(args) <= plan.shared_args_max or not self._share(plan, args):
                break
            commands.popleft()
            count += 1
            self._calls[plan.name] += 1
            client.last_command = plan.name
        return count

    def _share(self, plan: Plan, args: Arguments) -> bool:
        """Propose a write that may share an entry of the log; return False if it has to go the long way."""
        args[0] = plan.wire_name
        command = encode_command(args)
        if len(command) > BUNDLED_BYTES_MAX:
            return False
        bundles = self._bundles
        last = self._slots[-1] if self._slots else None
        if type(last) is Writes and last is bundles.last_run:
            self._joined += 1
            self._held_bytes += len(command)
            bundles.join_run(command, last)
        elif len(self._commands) <= 1:
            slot = Write(self)
            self._note_write(command, slot, args)
            bundles.add(command, slot.done)
        else:  # those that come after it may share the place of its reply
            first = Writes(self)
            self._note_write(command, first, args)
            bundles.begin_run(command, first)
        return True

    def _start(self, plan: Plan | None, args: Arguments) -> bool:
        """Start a command, or return False if it has to wait for those before it."""
        if self.client.transaction is not None and self._queue(plan, args):
            return True
        if plan is None or not plan.args_min <= len(args) <= plan.args_max:
            self._on_unsuitable(plan, args)
        elif not self._is_free and (refusal := self._refusal(plan, args)):
            self._reply(refusal)
        elif (plan.write and (self._reads or self._reading)) or (plan.after_all and self._slots):
            return False
        elif (self.intake.is_large or plan.is_looked_at) and (refusal := size_refusal(plan, args, self._limits)):
            self._reply(refusal)
        else:
            self.client.last_command = plan.name
            is_special = not plan.write and plan.read is None and plan.local is None
            if is_special and not self._start_special(plan, args):
                return False
            self._calls[plan.name] += 1
            if plan.write:
                self._start_write(plan, args)
            elif plan.read is not None:
                self._start_read(plan, plan.read, args)
            elif plan.local is not None:
                self._answer_locally(plan.local, args)
        return True

    def _queue(self, plan: Plan | None, args: Arguments) -> bool:
        """Let a command of a transaction wait for EXEC, or refuse it; return False if it is carried out at once."""
        reply = queue(self.client, plan, args, self._limits, is_large=self.intake.is_large, node=self._node)
        if reply is not None:
            self._reply(reply)
        return reply is not None

    def _start_special(self, plan: Plan, args: Arguments) -> bool:
        """Start a task, WATCH, EXEC, or what is in RAFTLINE.ONCE; return False if it has to wait."""
        if plan.executes:
            return self._start_transaction(args)
        if plan.task is not None:
            self._start_task(plan.task, args)
        elif plan.bound is not None:
            self._start_read(plan, plan.bound(self.client, args), args)
        else:
            return self._start_once(args)
        return True

    def _is_unasked(self) -> bool:
        """Say whether nothing has to be asked about this client's commands for now."""
        self._is_current = self._is_current or self._node.command_version >= KvMachine.version
        return self._is_current and self.client.server.guard.is_free(self.client)

    def _refusal(self, plan: Plan, args: Arguments) -> bytes | None:
        """Return the reply to what the client may not use, or a member does not know."""
        refusal = self.client.server.guard.refusal(self.client, plan.command, args)
        return refusal or version_refusal(plan, args, self._node)

    def _start_transaction(self, args: Arguments, session: int | None = None, sequence: int = 0) -> bool:
        """Propose what EXEC or RAFTLINE.EXEC brings, in one entry; return False if it has to wait."""
        if self._reads or self._reading:
            return False
        entry = new_entry(self.client, args, self._limits, is_large=self.intake.is_large)
        if entry.command is None:
            self._reply(entry.finish(EMPTY_ARRAY))
        else:
            slot = Executed(self, entry.finish, is_silent=self._is_silent())
            self._submit(entry.command, slot, args[:1], session, sequence)
        return True

    def _start_once(self, args: Arguments) -> bool:
        """Start what is in RAFTLINE.ONCE: a write in its session, a read as it is; return False if it has to wait."""
        try:
            session, sequence, plan, inner = unwrap(args, self._limits, is_large=self.intake.is_large)
        except Refused as refused:
            self._reply(refused.reply)
            return True
        if not self._is_free and (refusal := self._refusal(plan, inner)):
            self._reply(refusal)
        elif plan.read is not None:
            self._start_read(plan, plan.read, inner)
        elif plan.executes:
            return self._start_transaction(inner, session, sequence)
        elif self._reads or self._reading or (plan.waits and self._slots):
            return False
        elif plan.waits:
            self._start_waiting_once(plan, inner, session, sequence)
        else:
            self._propose(plan, inner, session, sequence)
        return True

    def _start_waiting_once(self, plan: Plan, args: Arguments, session: int, sequence: int) -> None:
        self._start_task(once_waiting(plan.command, session, sequence), args)

    def _start_write(self, plan: Plan, args: Arguments) -> None:
        if plan.check is not None:
            try:
                plan.check(args)
            except Refused as refused:
                self._reply(refused.reply)
                return
        self._propose(plan, args)

    def _propose(self, plan: Plan, args: Arguments, session: int | None = None, sequence: int = 0) -> None:
        args[0] = plan.wire_name
        slot = SilentWrite(self) if self._is_silent() else Write(self) if plan.slot is None else plan.slot(self, args)
        command = encode_command(args)
        if session is None and len(command) <= BUNDLED_BYTES_MAX and may_share(plan, args):
            self._note_write(command, slot, args)
            self._bundles.add(command, slot.done)
        else:
            self._submit(command, slot, args, session, sequence)

    def _submit(self, command: bytes, slot: Write, args: Arguments, session: int | None, sequence: int) -> None:
        """Propose a command in an entry of its own; `args` is what SLOWLOG may show of it."""
        self._note_write(command, slot, args)
        self._bundles.flush()
        self._node.submit(command, slot.done, session, sequence)

    def _note_write(self, command: bytes, slot: Write, args: Arguments) -> None:
        if not self._slow.is_marked:
            self._slow.mark(slot, args, is_large=self.intake.is_large)
        self._slots.append(slot)
        self._writes += 1
        self._held_bytes += len(command)

    def _start_read(self, _plan: Plan | None, function: ReadFunction, args: Arguments) -> None:
        slot = Read(function, args, is_silent=self._is_silent())
        if not self._slow.is_marked:
            self._slow.mark(slot, args, is_large=self.intake.is_large)
        self._slots.append(slot)
        self._reads.append(slot)
        if self.intake.is_large:
            self._held_bytes += sum(map(len, args)) + ARGUMENT_BYTES * len(args)

    def _start_task(self, function: TaskFunction, args: Arguments) -> None:
        """Begin something that takes its time; what comes after it waits, because it may depend on it.

        It goes its own way to the log, so what came before it goes first.
        """
        self._bundles.flush()
        slot = Slot()
        is_silent = self._is_silent()
        self._slots.append(slot)

        async def run() -> None:
            self._be_ready()  # the owner has to know if the client waits from now on
            reply = await task_reply(function, self._node, self.client, args)
            self._task = None
            slot.reply = b"" if is_silent else reply
            self._be_ready()

        self._task = asyncio.get_running_loop().create_task(run())

    def _answer_locally(self, function: LocalFunction, args: Arguments) -> None:
        client = self.client
        skipped, client.skip_reply = client.skip_reply, False
        try:
            reply = local_reply(function, client, args)
        except Deferred as deferred:
            client.skip_reply = skipped
            self._start_task(deferred.function, args)
            return
        except Unsettled:
            client.skip_reply = skipped
            self._start_read(None, lambda _store, again, _now_ms: function(client, again), Settled(args))
            self._settling = self._slots[-1]
            return
        self._is_free = self._is_unasked()
        self._put(b"" if skipped or client.muted else reply)

    def _on_unsuitable(self, plan: Plan | None, args: Arguments) -> None:
        if plan is not None and plan.executes:
            self.client.transaction = None
        refusal = unsuitable_refusal(plan, args)
        if refusal is None:
            self.client.closing = True  # a browser was tricked: its lines must not become commands
        else:
            self._reply(refusal)

    def _on_protocol_error(self, text: str) -> None:
        self.client.server.statistics.protocol_errors += 1
        self._reply(error(f"ERR Protocol error: {text}"))
        self.client.closing = True
