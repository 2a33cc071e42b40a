"""What tasks ask of a group: a command into the log, and what became of it; when its copy here can be read."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from raftline.kv.client import Client
from raftline.kv.commands.command import Refused
from raftline.kv.ports import KvNode, ReadableGroup
from raftline.kv.refusals import read_refusal, write_refusal
from raftline.runtime.requests import Consistency

__all__ = ["encode_command", "propose", "settle", "until_readable", "when_readable"]

encode_command: Final[Callable[[list[bytes]], bytes]] = msgspec.msgpack.Encoder().encode
"""Return the form in which a command stands in the log."""


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


async def when_readable(
    group: ReadableGroup, promise: Consistency = "linearizable", staleness_s_max: float = 0.0
) -> Exception | None:
    """Return once this node's copy of a group is what is promised, or why it will not be."""
    answered: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    group.submit_read(partial(settle, answered), promise, staleness_s_max)
    return await answered


async def until_readable(
    group: ReadableGroup, promise: Consistency = "linearizable", staleness_s_max: float = 0.0
) -> None:
    """Return once this node's copy of a group is what is promised; raises `Refused`."""
    failure = await when_readable(group, promise, staleness_s_max)
    if failure is not None:
        raise Refused(read_refusal(failure)) from failure


def settle(answered: "asyncio.Future[Any]", outcome: object) -> None:
    """Let whoever awaits it have the outcome, if anybody still does."""
    if not answered.done():
        answered.set_result(outcome)
