"""SLOWLOG: the commands of this node that took long, as Redis shows them."""

from raftline.kv.client import Client
from raftline.kv.commands.arguments import require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.resp.replies import OK, array, bulk, error, integer
from raftline.kv.slowlog import SlowEntry

__all__ = ["slowlog_get", "slowlog_len", "slowlog_reset"]

_COUNT_USUAL = 10
_BAD_COUNT = error("ERR count should be greater than or equal to -1")
_BAD_ARITY = error("ERR wrong number of arguments for 'slowlog|get' command")


def slowlog_get(client: Client, args: Arguments) -> bytes:
    """SLOWLOG GET [count]: entries, the newest first; -1 for all of them."""
    if len(args) > 3:
        raise Refused(_BAD_ARITY)
    count = require_integer(args[2]) if len(args) == 3 else _COUNT_USUAL
    if count < -1:
        raise Refused(_BAD_COUNT)
    entries = list(client.server.slowlog.entries)
    return array([_entry(entry) for entry in (entries if count == -1 else entries[:count])])


def slowlog_len(client: Client, _args: Arguments) -> bytes:
    """SLOWLOG LEN."""
    return integer(len(client.server.slowlog))


def slowlog_reset(client: Client, _args: Arguments) -> bytes:
    """SLOWLOG RESET."""
    client.server.slowlog.reset()
    return OK


def _entry(entry: SlowEntry) -> bytes:
    return array(
        [
            integer(entry.number),
            integer(entry.time_s),
            integer(entry.duration_us),
            array([bulk(argument) for argument in entry.arguments]),
            bulk(entry.address.encode()),
            bulk(entry.client_name),
        ]
    )
