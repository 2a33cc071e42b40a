"""Commands about the cluster: RAFTLINE.MEMBER, RAFTLINE.TRANSFER and RAFTLINE.BACKUP.

Replies come when the work is done, on whichever node was asked; refusals are the leader's words.
"""

import re

from raftline.core.changes import AddLearner, MembershipChange, Move, Promote, Remove, SetPriority
from raftline.errors import ChangeRefused, ConfigError
from raftline.kv.client import Client
from raftline.kv.commands.arguments import require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.ports import KvNode
from raftline.kv.proposals import until_readable
from raftline.kv.resp.replies import NULL, OK, array, bulk, bulk_or_null, error, integer, mapping
from raftline.kv.sharded.requests import KNOWS_MEMBERS
from raftline.kv.shards_view import why_not_removed
from raftline.runtime.backup import Backup
from raftline.runtime.status import MemberStatus
from raftline.transport.address import parse_address

__all__ = [
    "NAME",
    "backup_begin",
    "backup_end",
    "backup_read",
    "member_add",
    "member_list",
    "member_move",
    "member_priority",
    "member_promote",
    "member_remove",
    "transfer",
]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a node may be called."""

_BACKUPS_MAX = 4
_SYNTAX_ADD = error("ERR syntax error: RAFTLINE.MEMBER ADD id host:port[@busport] [LEARNER]")


async def member_add(node: KvNode, _client: Client, args: Arguments) -> bytes:
    """RAFTLINE.MEMBER ADD id address [LEARNER]: it votes as soon as it has caught up, unless told not to."""
    learner = len(args) > 4
    if learner and (len(args) > 5 or args[4].upper() != b"LEARNER"):
        raise Refused(_SYNTAX_ADD)
    return await _change(node, AddLearner(_name(args[2]), _address(args[3]), promote=not learner))


async def member_remove(node: KvNode, client: Client, args: Arguments) -> bytes:
    """RAFTLINE.MEMBER REMOVE id: refused in a sharded cluster as long as a group is to have a replica there.

    It is the leader that refuses; for one that may not know of it yet, this node does.
    """
    name = _name(args[2])
    if client.server.shards is not None and node.command_version < KNOWS_MEMBERS:
        await until_readable(node)
        groups = client.server.shards.report().groups
        reason = why_not_removed(name, [(each.group, each.nodes) for each in groups])
        if reason is not None:
            raise ChangeRefused(reason)
    return await _change(node, Remove(name))


async def member_promote(node: KvNode, _client: Client, args: Arguments) -> bytes:
    """RAFTLINE.MEMBER PROMOTE id."""
    return await _change(node, Promote(_name(args[2])))


async def member_move(node: KvNode, _client: Client, args: Arguments) -> bytes:
    """RAFTLINE.MEMBER MOVE id address."""
    return await _change(node, Move(_name(args[2]), _address(args[3])))


async def member_priority(node: KvNode, _client: Client, args: Arguments) -> bytes:
    """RAFTLINE.MEMBER PRIORITY id number."""
    return await _change(node, SetPriority(_name(args[2]), require_integer(args[3])))


def member_list(client: Client, _args: Arguments) -> bytes:
    """RAFTLINE.MEMBER LIST: a map for each member, as this node knows it."""
    return array([_member(member) for member in client.server.status().members])


async def transfer(node: KvNode, _client: Client, args: Arguments) -> bytes:
    """RAFTLINE.TRANSFER [id]."""
    await node.transfer_leadership(_name(args[1]) if len(args) > 1 else None)
    return OK


async def backup_begin(node: KvNode, client: Client, _args: Arguments) -> bytes:
    """RAFTLINE.BACKUP BEGIN: number, size in bytes and log position of a backup that can be read."""
    if len(client.backups) >= _BACKUPS_MAX:
        raise Refused(error(f"ERR this connection reads {_BACKUPS_MAX} backups: end one first"))
    backup = await node.open_backup()
    number = max(client.backups, default=0) + 1
    client.backups[number] = backup
    facts = {"backup": number, "size": backup.size_bytes, "index": backup.meta.index, "term": backup.meta.term}
    return mapping((bulk(name.encode()), integer(value)) for name, value in facts.items())


async def backup_read(_node: KvNode, client: Client, args: Arguments) -> bytes:
    """RAFTLINE.BACKUP READ backup offset: the next piece of the file, empty behind its end."""
    backup, offset = _backup(client, args[2]), require_integer(args[3])
    if offset < 0:
        raise Refused(error("ERR offset is out of range"))
    return bulk(await backup.read(offset))


def backup_end(client: Client, args: Arguments) -> bytes:
    """RAFTLINE.BACKUP END backup; closing the connection does the same."""
    _backup(client, args[2]).close()
    del client.backups[require_integer(args[2])]
    return OK


def _backup(client: Client, number: bytes) -> Backup:
    backup = client.backups.get(require_integer(number))
    if backup is None:
        raise Refused(error("ERR no such backup on this connection: RAFTLINE.BACKUP BEGIN makes one"))
    return backup


async def _change(node: KvNode, change: MembershipChange) -> bytes:
    await node.change_membership(change)
    return OK


def _name(written: bytes) -> str:
    """Read a node's name; the rules for it are those of the settings."""
    name = written.decode("ascii", "replace")
    if not NAME.fullmatch(name):
        raise Refused(error(f"ERR {name[:80]!r} is no name: use 1 to 64 letters, digits, '.', '_' or '-'"))
    return name


def _address(written: bytes) -> str:
    """Read an address and write it in full; raises `Refused`."""
    try:
        return str(parse_address(written.decode("ascii", "replace")))
    except ConfigError as wrong:
        raise Refused(error(f"ERR {wrong}")) from None


def _member(member: MemberStatus) -> bytes:
    lag = NULL if member.lag_entries is None else integer(member.lag_entries)
    facts = {
        "id": bulk(member.node_id.encode()),
        "address": bulk(member.address.encode()),
        "voter": integer(int(member.voter)),
        "role": bulk_or_null(member.role.encode() if member.role else None),
        "lag": lag,
    }
    return mapping((bulk(name.encode()), value) for name, value in facts.items())
