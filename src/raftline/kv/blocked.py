"""The life of one command that waits: look, wait, pop; on its own, or once in a session.

It runs as a task, so what the connection sends after it waits, and when the connection is gone it ends: then nothing
is popped for it, unless the pop is on its way already.
"""

from functools import partial

from raftline.kv.client import Client
from raftline.kv.commands.blocking import FORMS, Form, require_timeout_s
from raftline.kv.commands.command import Arguments, Command, Refused, TaskFunction
from raftline.kv.ports import KvNode
from raftline.kv.proposals import propose, until_readable
from raftline.kv.refusals import read_refusal
from raftline.kv.resp.replies import NULL, NULL_ARRAY
from raftline.kv.waiting import Waiter

__all__ = ["once_waiting", "waiting_task"]

_NOTHING = frozenset({NULL, NULL_ARRAY})
_MAY_LOOK = frozenset({None, NULL_ARRAY})
"""Ends of a waiter with which it still makes sure, once, that there is nothing: its time alone may be over."""


def waiting_task(command: Command) -> TaskFunction:
    """Return what carries out a command that waits."""
    return partial(_carry_out, command)


def once_waiting(command: Command, session: int, sequence: int) -> TaskFunction:
    """Return what waits for, and then carries out once, a command in a session."""
    return partial(_carry_out_once, command, session, sequence)


async def _carry_out(command: Command, node: KvNode, client: Client, args: Arguments) -> bytes:
    """Return what was popped, null if the time was over; raises `Refused`."""
    form, waiter = _begin(command, client, args)
    waiting = client.server.waiting
    try:
        found = await _look(node, client, args, waiter)
        if found is not None:
            return found
        waiting.add(waiter, is_pointless=client.is_at_end)
        while True:
            await waiter.until_filled()
            if waiter.end is not None:
                return waiter.end
            waiter.is_woken = False
            keys = waiting.filled(waiter)
            if not keys:
                continue
            waiter.is_popping, waiter.was_filled = True, False
            reply = await propose(node, client, form.narrowed(args, keys))
            if reply not in _NOTHING:
                return reply
            waiter.is_popping = False
            if waiter.was_filled:
                waiter.wake()
    finally:
        _end(client, waiter)


async def _look(node: KvNode, client: Client, args: Arguments, waiter: Waiter) -> bytes | None:
    """Return what was popped at once; None if there was certainly nothing, or it is to end; raises `Refused`."""
    waiting = client.server.waiting
    is_certain = False
    while waiter.end in _MAY_LOOK:
        if waiting.is_worth_trying(waiter):
            reply = await propose(node, client, args)
            if reply not in _NOTHING:
                return reply
            if waiter.end is not None:
                return None
            is_certain = False
        elif is_certain:
            return None
        else:
            await until_readable(node)
            is_certain = True
    return None


async def _carry_out_once(
    command: Command, session: int, sequence: int, node: KvNode, client: Client, args: Arguments
) -> bytes:
    """Wait, then propose the pop under this number, whose reply is remembered, whatever it is; raises `Refused`.

    At the end of the time it is proposed, too: from then on no copy of it that is still on its way can pop anything.
    """
    form, waiter = _begin(command, client, args)
    waiting = client.server.waiting
    try:
        try:
            known = await node.find_session(session)
        except Exception as failure:
            raise Refused(read_refusal(failure)) from failure
        if known is not None and known.sequence < sequence:
            if not waiting.is_worth_trying(waiter):
                waiting.add(waiter, is_pointless=client.is_at_end)
                await waiter.until_filled()
                if waiter.end not in {None, NULL_ARRAY}:
                    raise Refused(waiter.end or NULL)
            if waiter.end is None and (keys := waiting.filled(waiter)):
                args = form.narrowed(args, keys)
        return await propose(node, client, args, session, sequence)
    finally:
        _end(client, waiter)


def _begin(command: Command, client: Client, args: Arguments) -> tuple[Form, Waiter]:
    if command.check is not None:
        command.check(args)
    args[0] = command.wire_name
    form = FORMS[command.name]
    waiter = Waiter(form, form.keys(args), require_timeout_s(args[form.timeout]))
    client.blocked = waiter
    return form, waiter


def _end(client: Client, waiter: Waiter) -> None:
    client.blocked = None
    client.server.waiting.remove(waiter)
