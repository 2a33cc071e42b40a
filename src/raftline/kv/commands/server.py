"""Commands about the server: CONFIG, as far as clients and tools ask. INFO has a file of its own."""

from functools import partial

from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, Deferred
from raftline.kv.commands.glob import compile_glob
from raftline.kv.commands.info import resident_bytes
from raftline.kv.events import flags_text, parse_flags
from raftline.kv.memory import parse_memory
from raftline.kv.ports import KvNode
from raftline.kv.proposals import propose, when_readable
from raftline.kv.resp.replies import OK, bulk, double, error, integer, mapping, shown, verbatim
from raftline.kv.slots import SLOT_COUNT
from raftline.kv.store import Store

__all__ = [
    "NOTIFY_NAME",
    "config_get",
    "config_resetstat",
    "config_rewrite",
    "config_set",
    "memory_doctor",
    "memory_stats",
    "set_notify",
]

_FAILED = "ERR CONFIG SET failed (possibly related to argument '{}') - {}"
_FIXED = "this setting is given to each server when it starts (raftline server --help lists them)"
_NEAR = 0.9
_NOTIFY = b"notify-keyspace-events"
NOTIFY_NAME = b"RAFTLINE.NOTIFY"
"""In the log: sets `notify-keyspace-events`; proposed by CONFIG SET, never taken from a client."""
_NO_EVENT = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
_NO_MEMORY = "argument must be a memory value"
_ONLY_POLICY = "only noeviction is supported: no key is ever removed to make room"
_WRONG_COUNT = error("ERR wrong number of arguments for 'config|set' command")
_NO_FILE = error("ERR The server is running without a config file")


def config_get(client: Client, args: Arguments) -> bytes:
    """CONFIG GET pattern [pattern ...]."""
    parameters = _parameters(client)
    names = dict.fromkeys(
        name
        for pattern in args[2:]
        for matches in [compile_glob(pattern.lower())]
        for name in parameters
        if matches(name.encode())
    )
    return mapping((bulk(name.encode()), bulk(parameters[name].encode())) for name in names)


def config_set(client: Client, args: Arguments) -> bytes:
    """CONFIG SET name value [name value ...]: all of them or none; `notify-keyspace-events` holds on every node."""
    if len(args) % 2:
        return _WRONG_COUNT
    chosen: dict[bytes, bytes] = {}
    for position in range(2, len(args), 2):
        name = args[position].lower()
        if name.decode(errors="replace") not in _parameters(client):
            return error(f"ERR Unknown option or number of arguments for CONFIG SET - '{shown(args[position])}'")
        if name in chosen:
            return error(_FAILED.format(shown(name), "duplicate parameter"))
        chosen[name] = args[position + 1]
    for name, value in chosen.items():
        if (reason := _wrong(name, value)) is not None:
            return error(_FAILED.format(shown(name), reason))
    limit = parse_memory(chosen.get(b"maxmemory", b""))
    if limit is not None:
        client.server.memory.bytes_max = limit
    if _NOTIFY in chosen:
        raise Deferred(partial(_propose_notify, chosen[_NOTIFY]))
    return OK


async def _propose_notify(flags: bytes, node: KvNode, client: Client, _args: Arguments) -> bytes:
    """Return when the group has it and, if that can be made sure, this node's own copy: CONFIG GET shows that."""
    reply = await propose(node, client, [NOTIFY_NAME, flags])
    await when_readable(node)
    return reply


def set_notify(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """RAFTLINE.NOTIFY flags: which events every node tells those who listen."""
    flags = parse_flags(args[1])
    if flags is None:
        return error(_FAILED.format(_NOTIFY.decode(), _NO_EVENT))
    store.notify = flags
    return OK


def _wrong(name: bytes, value: bytes) -> str | None:
    """Say why a setting cannot have this value at run time, None if it can."""
    if name == b"maxmemory":
        return None if parse_memory(value) is not None else _NO_MEMORY
    if name == b"maxmemory-policy":
        return None if value.lower() == b"noeviction" else _ONLY_POLICY
    if name == _NOTIFY:
        return None if parse_flags(value) is not None else _NO_EVENT
    return _FIXED


def config_rewrite(_client: Client, _args: Arguments) -> bytes:
    """CONFIG REWRITE; refused."""
    return _NO_FILE


def config_resetstat(client: Client, _args: Arguments) -> bytes:
    """CONFIG RESETSTAT."""
    statistics = client.server.statistics
    for name in statistics.__struct_fields__:
        if name != "calls":
            setattr(statistics, name, 0)
    statistics.calls.clear()
    return OK


def memory_stats(client: Client, _args: Arguments) -> bytes:
    """MEMORY STATS: keys, values and what the process takes beside them."""
    held = client.server.keyspace()
    facts = {
        "total.allocated": integer(held.used_bytes),
        "keys.count": integer(held.keys),
        "keys.bytes-per-key": integer(held.used_bytes // max(1, held.keys)),
        "dataset.bytes": integer(held.used_bytes),
        "dataset.percentage": double(100.0),
        "allocator.resident": integer(resident_bytes()),
    }
    return mapping((bulk(name.encode()), value) for name, value in facts.items())


def memory_doctor(client: Client, _args: Arguments) -> bytes:
    """MEMORY DOCTOR: what is wrong, or that nothing is."""
    memory, used = client.server.memory, client.server.keyspace().used_bytes
    if memory.is_exceeded:
        words = (
            f"Keys and values take {used} bytes, maxmemory is {memory.bytes_max}: commands that may need more are "
            "refused on this node. Remove keys, let them expire, or raise maxmemory on every node."
        )
    elif used > _NEAR * memory.bytes_max > 0:
        words = f"Keys and values take {used} bytes of the {memory.bytes_max} that maxmemory allows: little is left."
    else:
        words = "Nothing is wrong with the memory that keys and values take."
    return verbatim(words)


def _parameters(client: Client) -> dict[str, str]:
    """Return what tools ask for, in Redis's names; the store is durable, so `appendonly` is `yes`."""
    limits, facts = client.server.limits, client.server.facts
    return {
        "appendfsync": "always",
        "appendonly": "yes",
        "bind": facts.host,
        "client-query-buffer-limit": str(limits.request_bytes_max),
        "cluster-enabled": "no" if client.server.cluster is None else "yes",
        "cluster-slots": str(SLOT_COUNT),
        "databases": "1",
        "maxclients": str(limits.clients_max),
        "maxmemory": str(client.server.memory.bytes_max),
        "maxmemory-policy": "noeviction",
        "notify-keyspace-events": flags_text(client.server.store.notify).decode(),
        "port": str(facts.port),
        "proto-max-bulk-len": str(limits.value_bytes_max),
        "save": "",
        "slowlog-log-slower-than": str(limits.slowlog_log_slower_than),
        "slowlog-max-len": str(limits.slowlog_max_len),
        "timeout": str(int(limits.idle_s_max)),
    }
