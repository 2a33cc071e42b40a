"""One command into the log, from a task: the form in which it stands there, and what became of it."""

import asyncio
from functools import partial
from typing import Any

import msgspec

from raftline.kv.client import Client
from raftline.kv.commands.command import Refused
from raftline.kv.ports import KvNode
from raftline.kv.refusals import write_refusal

__all__ = ["encode_command", "propose", "settle"]

_encode = msgspec.msgpack.Encoder().encode


def encode_command(args: list[bytes]) -> bytes:
    """Return the form in which a command stands in the log."""
    return _encode(args)


async def propose(
    node: KvNode, client: Client, args: list[bytes], session: int | None = None, sequence: int = 0
) -> bytes:
    """Return what a write came to; raises `Refused` if that is not known, or it was not taken."""
    answered: asyncio.Future[bytes | Exception] = asyncio.get_running_loop().create_future()
    node.submit(encode_command(args), partial(settle, answered), session, sequence)
    outcome = await answered
    if isinstance(outcome, Exception):
        client.server.statistics.failed_requests += 1
        raise Refused(write_refusal(outcome))
    return outcome


def settle(answered: "asyncio.Future[Any]", outcome: object) -> None:
    """Let whoever awaits it have the outcome, if anybody still does."""
    if not answered.done():
        answered.set_result(outcome)
