"""RAFTLINE.SHARD: what a sharded cluster is like, and changes of it.

A change is answered with the number of the configuration in which it stands; slots are on their way from then on, and
STATUS shows how far they are. The names of nodes are looked at when all that was acknowledged before is known here. A
server whose store is in one group refuses all of it.
"""

import msgspec

from raftline.core.ids import NodeId
from raftline.errors import ChangeRefused, ConfigError, ProposalError
from raftline.kv.client import Client
from raftline.kv.commands.arguments import require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.ports import KvNode
from raftline.kv.proposals import until_readable
from raftline.kv.refusals import write_refusal
from raftline.kv.resp.replies import bulk, error
from raftline.kv.sharded.requests import Request
from raftline.kv.shards_view import ShardsAdmin
from raftline.shards.configuration import Leave, Move, Place, Rebalance, check_slots

__all__ = ["add_group", "move", "place", "rebalance", "remove_group", "replace_node", "status"]

_DISABLED = error("ERR this server is not sharded: start a cluster with `raftline server --sharded`")
_SYNTAX_ADD = error("ERR syntax error: RAFTLINE.SHARD ADDGROUP [count] [ON id [id ...]]")
_NO_ROOM = error("ERR no group has room elsewhere, or the node holds none: nothing was changed")


def status(client: Client, _args: Arguments) -> bytes:
    """RAFTLINE.SHARD STATUS: a JSON document."""
    return bulk(msgspec.json.encode(_admin(client).report()))


async def add_group(node: KvNode, client: Client, args: Arguments) -> bytes:
    """RAFTLINE.SHARD ADDGROUP [count] [ON id ...]."""
    admin = _admin(client)
    words = args[2:]
    count = 1
    if words and words[0].upper() != b"ON":
        count = require_integer(words.pop(0))
    if words and (words[0].upper() != b"ON" or len(words) == 1):
        raise Refused(_SYNTAX_ADD)
    names = _names(words[1:])
    await until_readable(node)
    try:
        report = admin.report()
        report.check_founders(names or report.founders())
    except (ConfigError, ChangeRefused) as wrong:
        raise Refused(error(f"ERR {wrong}")) from None
    return await _change(admin, admin.adding(count, names))


async def remove_group(_node: KvNode, client: Client, args: Arguments) -> bytes:
    """RAFTLINE.SHARD REMOVEGROUP group ...."""
    return await _change(_admin(client), Leave(tuple(require_integer(group) for group in args[2:])))


async def move(_node: KvNode, client: Client, args: Arguments) -> bytes:
    """RAFTLINE.SHARD MOVE first last group: slots from `first` to `last`, both included."""
    first, last, group = (require_integer(word) for word in args[2:])
    try:
        check_slots(first, last)
    except ChangeRefused as refused:
        raise Refused(error(f"ERR {refused}")) from None
    return await _change(_admin(client), Move(first, last + 1, group))


async def place(node: KvNode, client: Client, args: Arguments) -> bytes:
    """RAFTLINE.SHARD PLACE group id ...: the group's replicas on these nodes, led by the first if it can."""
    admin = _admin(client)
    request = Place(require_integer(args[2]), _names(args[3:]))
    await until_readable(node)
    try:
        admin.report().check_place(request)
    except (ConfigError, ChangeRefused) as wrong:
        raise Refused(error(f"ERR {wrong}")) from None
    return await _change(admin, request)


async def rebalance(_node: KvNode, client: Client, _args: Arguments) -> bytes:
    """RAFTLINE.SHARD REBALANCE."""
    return await _change(_admin(client), Rebalance())


async def replace_node(node: KvNode, client: Client, args: Arguments) -> bytes:
    """RAFTLINE.SHARD REPLACENODE id: the last configuration that it took, after one for each group.

    If one of the changes was refused, that is the answer; the others are made all the same.
    """
    admin = _admin(client)
    (gone,) = _names(args[2:])
    await until_readable(node)
    try:
        admin.report().check_known([gone])
        replies = await admin.replace_node(gone)
    except ConfigError as wrong:
        raise Refused(error(f"ERR {wrong}")) from None
    except ProposalError as failure:
        raise Refused(write_refusal(failure)) from failure
    refused = [reply for reply in replies if reply[:1] == b"-"]
    if refused:
        why = refused[0].decode(errors="replace").removeprefix("-ERR ").rstrip()
        return error(f"ERR {len(refused)} of {len(replies)} groups could not be placed elsewhere, ask again: {why}")
    return replies[-1] if replies else _NO_ROOM


async def _change(admin: ShardsAdmin, request: Request) -> bytes:
    try:
        return await admin.change(request)
    except ProposalError as failure:
        raise Refused(write_refusal(failure)) from failure


def _admin(client: Client) -> ShardsAdmin:
    admin = client.server.shards
    if admin is None:
        raise Refused(_DISABLED)
    return admin


def _names(words: list[bytes]) -> tuple[NodeId, ...]:
    return tuple(word.decode("ascii", "replace") for word in words)
