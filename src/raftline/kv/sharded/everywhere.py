"""Commands about all keys, carried out at every group of a sharded store: counted together, named together, flushed.

Names are of all groups, whoever asks: no client knows at each moment which nodes lead any, and would leave out what the
others lead. A number is of the groups that this node leads for who finds slots himself, as cluster clients do: he asks
every node, and what he adds up is right.
"""

import asyncio
from functools import partial
from typing import Final

from raftline.core.ids import GroupId
from raftline.errors import NotMember, NotServed, ProposalError, Timeout
from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, Refused, TaskFunction
from raftline.kv.commands.keys import check_flush
from raftline.kv.machine import TICK_COMMAND
from raftline.kv.ports import KvNode
from raftline.kv.proposals import encode_command, settle, until_readable, when_readable
from raftline.kv.refusals import read_refusal, write_refusal
from raftline.kv.resp.items import items_of
from raftline.kv.resp.replies import NULL, OK, array, error, integer
from raftline.kv.sharded.all_keys import read_all_keys
from raftline.kv.sharded.machine import EXPIRY_PENDING, asked_now, flush
from raftline.kv.sharded.router import Here, Place, Router
from raftline.kv.store import ExpiryPending
from raftline.kv.values.draws import Draws

__all__ = ["everywhere"]

_AGAIN_S: Final = 0.05
_STILL_MOVING: Final = error("TRYAGAIN slots are moving: some groups were flushed, others not")


def everywhere(router: Router, name: bytes, hold_s_max: float) -> TaskFunction:
    """Return what carries out a command, by its name in upper case; slots that move are waited for `hold_s_max`."""
    if name in {b"FLUSHALL", b"FLUSHDB"}:
        return partial(_flush, router, name, hold_s_max)
    return partial(_read, router, name, hold_s_max)


async def _read(router: Router, name: bytes, hold_s_max: float, node: KvNode, client: Client, args: Arguments) -> bytes:
    """DBSIZE, KEYS or RANDOMKEY; raises `Refused`."""
    args = [name, *args[1:]]
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + hold_s_max
    # What is known here of groups may be old, or nothing: one would be left out.
    await until_readable(node, client.reads, client.staleness_s_max)
    while True:
        groups = _counted(router, client) if name == b"DBSIZE" else list(router.groups.group_ids)
        here = [router.here(group) for group in groups]
        try:
            return await _read_at(router, client, groups, args)
        except Refused as refused:
            known = router.groups.group_ids
            if any(group not in known for group in groups) or here != [router.here(group) for group in groups]:
                continue  # a group is gone, or its replica here: what it held is to be found elsewhere
            if not _has_left_a_group(router, refused) or loop.time() > deadline_s:
                raise
            await asyncio.sleep(_AGAIN_S)


def _has_left_a_group(router: Router, refused: Refused) -> bool:
    """Say whether a group goes on without its replica here, which this member of the cluster is about to notice."""
    return isinstance(refused.__cause__, NotMember) and router.groups.outside() is None


async def _read_at(router: Router, client: Client, groups: list[GroupId], args: Arguments) -> bytes:
    """Carry a read out at some groups; raises `Refused`."""
    name = args[0]
    if name == b"RANDOMKEY":
        return await _draw(router, client, args, groups)
    replies = await asyncio.gather(*(_ask(router, client, group, args) for group in groups))
    for reply in replies:
        if reply[:1] == b"-":
            return reply
    if name == b"DBSIZE":
        return integer(sum(int(reply[1:-2]) for reply in replies))
    return array([item for reply in replies for item in items_of(reply)])


async def _draw(router: Router, client: Client, args: Arguments, groups: list[GroupId]) -> bytes:
    """Ask one group after the other, in an order that is drawn, until one has a key."""
    draws = Draws.fresh()
    left = list(groups)
    while left:
        reply = await _ask(router, client, left.pop(draws.below(len(left))), args)
        if reply != NULL:
            return reply
    return NULL


def _counted(router: Router, client: Client) -> list[GroupId]:
    """Return the groups whose keys this client is to be told the number of."""
    groups = list(router.groups.group_ids)
    if not router.is_for_finders(finds_slots=client.finds_slots):
        return groups
    return [group for group in groups if router.groups.leader_of(group) == router.groups.node_id]


async def _ask(router: Router, client: Client, group: GroupId, args: Arguments) -> bytes:
    """Return what one group answers; raises `Refused`."""
    place = router.place(group)
    try:
        if not isinstance(place, Here):
            query = encode_command(args)
            reply = await place.group.ask(asked_now(query), client.reads, client.staleness_s_max)
            if reply == EXPIRY_PENDING:
                await _submit(place, TICK_COMMAND)
                reply = await place.group.ask(query, client.reads, client.staleness_s_max)
            return reply
        await until_readable(place.group, client.reads, client.staleness_s_max)
        try:
            return read_all_keys(place.machine.holdings, place.store, args, client.server.now_ms())
        except ExpiryPending:
            await _submit(place, TICK_COMMAND)
            await until_readable(place.group, client.reads, client.staleness_s_max)
            return read_all_keys(place.machine.holdings, place.store, args, 0)
    except ProposalError as failure:
        raise Refused(read_refusal(failure)) from failure


async def _flush(
    router: Router, name: bytes, hold_s_max: float, node: KvNode, _client: Client, args: Arguments
) -> bytes:
    """FLUSHALL or FLUSHDB at every group, each when it is done with one and the same configuration; raises `Refused`.

    A group that is not yet, or no longer, is tried again, and so are the others then, with whatever is newest.
    """
    check_flush(args)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + hold_s_max
    failure = await when_readable(node)
    if failure is not None:
        raise Refused(write_refusal(Timeout(str(failure), may_take_effect=False)))
    is_first = True
    while True:
        configuration = router.configuration
        command = flush(configuration.number, [name, *args[1:]])
        places = [router.place(group) for group in configuration.group_ids]
        outcomes = await asyncio.gather(*(_submit(place, command) for place in places))
        if (failure := _failure_of(outcomes, is_first=is_first)) is not None:
            raise Refused(write_refusal(failure))
        is_first = False
        if not any(isinstance(outcome, NotServed) for outcome in outcomes):
            return OK
        if loop.time() > deadline_s:
            return _STILL_MOVING
        await asyncio.sleep(_AGAIN_S)


def _failure_of(outcomes: list[bytes | Exception], *, is_first: bool) -> Exception | None:
    """Return why not every group carried out a command; that says that nothing took effect only if nothing did."""
    failures = [found for found in outcomes if isinstance(found, Exception) and not isinstance(found, NotServed)]
    if not failures:
        return None
    if is_first and all(isinstance(found, Exception) and _took_nothing(found) for found in outcomes):
        return failures[0]
    return Timeout(f"some groups carried it out, others not: {failures[0]}")


def _took_nothing(reason: Exception) -> bool:
    return isinstance(reason, NotServed) or (isinstance(reason, ProposalError) and not reason.may_take_effect)


async def _submit(place: Place, command: bytes) -> bytes | Exception:
    answered: asyncio.Future[bytes | Exception] = asyncio.get_running_loop().create_future()
    place.group.submit(command, partial(settle, answered))
    return await answered
