"""Commands about the cluster: RAFTLINE.BACKUP. Replies come when the work is done; refusals say what to do."""

from raftline.kv.client import Client
from raftline.kv.commands.arguments import require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.ports import KvNode
from raftline.kv.resp.replies import OK, bulk, error, integer, mapping
from raftline.runtime.backup import Backup

__all__ = ["backup_begin", "backup_end", "backup_read"]

_BACKUPS_MAX = 4


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
