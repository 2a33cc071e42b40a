"""Commands about the server: CONFIG, as far as clients and tools ask. INFO has a file of its own."""

from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments
from raftline.kv.commands.glob import compile_glob
from raftline.kv.resp.replies import OK, bulk, error, mapping
from raftline.kv.slots import SLOT_COUNT

__all__ = ["config_get", "config_resetstat", "config_rewrite", "config_set"]

_READ_ONLY = error(
    "ERR CONFIG SET is not supported: settings are given to each server when it starts "
    "(raftline server --help lists them)"
)
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


def config_set(_client: Client, _args: Arguments) -> bytes:
    """CONFIG SET; refused."""
    return _READ_ONLY


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


def _parameters(client: Client) -> dict[str, str]:
    """Return what tools ask for, in Redis's names; the store is durable, so `appendonly` is `yes`."""
    limits, facts = client.server.limits, client.server.facts
    return {
        "appendfsync": "always",
        "appendonly": "yes",
        "bind": facts.host,
        "client-query-buffer-limit": str(limits.request_bytes_max),
        "cluster-enabled": "no",
        "cluster-slots": str(SLOT_COUNT),
        "databases": "1",
        "maxclients": str(limits.clients_max),
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
        "port": str(facts.port),
        "proto-max-bulk-len": str(limits.value_bytes_max),
        "save": "",
        "slowlog-log-slower-than": str(limits.slowlog_log_slower_than),
        "slowlog-max-len": str(limits.slowlog_max_len),
        "timeout": str(int(limits.idle_s_max)),
    }
