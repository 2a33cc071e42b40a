"""How current the reads of a connection are: READONLY, READWRITE and CLIENT READS, each promise by its name.

Writes are the same whatever is chosen here. Reads that promise less ask nobody, so they are answered also where no
leader can be reached; they go by the log's own time.
"""

from raftline.kv.client import Client
from raftline.kv.commands.arguments import SYNTAX_ERROR, require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.resp.replies import OK, error

__all__ = ["client_reads", "readonly", "readwrite"]

_BAD_BOUND = error("ERR the bound must be a number of milliseconds, at least 1")
_NO_BOUND = error("ERR a bound is missing: CLIENT READS BOUNDED milliseconds")


def readonly(client: Client, _args: Arguments) -> bytes:
    """READONLY: this node's own copy will do, however old it is."""
    client.reads = "stale"
    client.finds_slots = True
    return OK


def readwrite(client: Client, _args: Arguments) -> bytes:
    """READWRITE: back to what the server's settings promise."""
    client.reads = client.default_reads
    client.finds_slots = True
    return OK


def client_reads(client: Client, args: Arguments) -> bytes:
    """CLIENT READS LINEARIZABLE | LEASE | BOUNDED ms | STALE."""
    mode = args[2].upper()
    if mode == b"BOUNDED" and len(args) == 4:
        bound_ms = require_integer(args[3])
        if bound_ms < 1:
            raise Refused(_BAD_BOUND)
        client.reads = "bounded"
        client.staleness_s_max = bound_ms / 1000
    elif mode == b"BOUNDED" and len(args) == 3:
        return _NO_BOUND
    elif len(args) != 3:
        return SYNTAX_ERROR
    elif mode == b"LINEARIZABLE":
        client.reads = "linearizable"
    elif mode == b"LEASE":
        client.reads = "lease"
    elif mode == b"STALE":
        client.reads = "stale"
    else:
        return SYNTAX_ERROR
    return OK
