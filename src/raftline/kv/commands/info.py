"""INFO: what the node knows of itself, in sections of `name:value` lines that Redis's tools can read."""

import os
import platform
import resource
from collections.abc import Callable
from typing import Any

import msgspec

from raftline.kv.channels import CHANNEL, PATTERN, SHARD
from raftline.kv.client import Client, Server
from raftline.kv.commands.command import Arguments
from raftline.kv.resp.replies import verbatim
from raftline.kv.version import RAFTLINE_VERSION, REDIS_VERSION
from raftline.runtime.histogram import Histogram, quantile
from raftline.runtime.stages import STAGES

__all__ = ["info", "resident_bytes"]

_UNITS = ("B", "K", "M", "G", "T")


def info(client: Client, args: Arguments) -> bytes:
    """INFO [section ...]; without one, or with `all`, `everything` or `default`, all of them."""
    wanted = {section.decode("utf-8", "surrogateescape").lower() for section in args[1:]}
    everything = not wanted or wanted & {"all", "everything", "default"}
    texts = []
    for name, section in _SECTIONS.items():
        if name == "cluster" and client.server.cluster is None:
            continue
        if everything or name in wanted:
            lines = [f"{key}:{_text(value)}\r\n" for key, value in section(client.server).items()]
            texts.append(f"# {name.capitalize()}\r\n{''.join(lines)}")
    return verbatim("\r\n".join(texts))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(value)


def _server(server: Server) -> dict[str, object]:
    facts = server.facts
    now_ms = server.now_ms()
    uptime_s = max(0, now_ms - facts.started_ms) // 1000
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "standalone" if server.cluster is None else "cluster",
        "raftline_version": RAFTLINE_VERSION,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "arch_bits": 64,
        "python_version": platform.python_version(),
        "process_id": facts.process_id,
        "tcp_port": facts.port,
        "server_time_usec": now_ms * 1000,
        "uptime_in_seconds": uptime_s,
        "uptime_in_days": uptime_s // 86_400,
    }


def _clients(server: Server) -> dict[str, object]:
    clients = server.clients.values()
    return {
        "connected_clients": len(clients),
        "maxclients": server.limits.clients_max,
        "blocked_clients": sum(1 for client in clients if client.blocked is not None),
        "pubsub_clients": sum(1 for client in clients if client.is_subscribed),
        "clients_with_pending_replies": sum(1 for client in clients if client.pending),
    }


def _memory(server: Server) -> dict[str, object]:
    used = server.keyspace().used_bytes
    rss = resident_bytes()
    limit = server.memory.bytes_max
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "used_memory": used,
        "used_memory_human": _human(used),
        "used_memory_rss": rss,
        "used_memory_rss_human": _human(rss),
        "used_memory_dataset": used,
        "used_memory_dataset_perc": "100.00%",
        "total_system_memory": machine,
        "total_system_memory_human": _human(machine),
        "maxmemory": limit,
        "maxmemory_human": _human(limit),
        "maxmemory_policy": "noeviction",
        "mem_fragmentation_ratio": f"{rss / max(1, used):.2f}",
    }


def _stats(server: Server) -> dict[str, object]:
    statistics = server.statistics
    return {
        "total_connections_received": statistics.connections,
        "total_commands_processed": statistics.commands,
        "total_net_input_bytes": statistics.input_bytes,
        "total_net_output_bytes": statistics.output_bytes,
        "rejected_connections": statistics.rejected_connections,
        "protocol_errors": statistics.protocol_errors,
        "slow_clients_closed": statistics.slow_clients_closed,
        "client_output_buffer_limit_disconnections": statistics.output_limit_disconnections,
        "failed_requests": statistics.failed_requests,
        "expired_keys": server.keyspace().expired,
        "pubsub_channels": len(server.channels.names(CHANNEL)),
        "pubsub_patterns": len(server.channels.names(PATTERN)),
        "pubsubshard_channels": len(server.channels.names(SHARD)),
    }


def _replication(server: Server) -> dict[str, object]:
    status = server.status()
    lines: dict[str, object] = {"role": "master" if server.is_master else "slave"}
    if server.is_master:
        others = [member for member in status.members if member.node_id != status.node_id]
        lines["connected_slaves"] = len(others)
    else:
        host, _, port = (status.leader_address or "").partition("@")[0].rpartition(":")
        lines["master_host"] = host
        lines["master_port"] = port
        lines["master_link_status"] = "up" if status.leader_id else "down"
    lines["master_repl_offset"] = status.commit_index
    return lines


def _cpu(_server: Server) -> dict[str, object]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"used_cpu_sys": f"{usage.ru_stime:.6f}", "used_cpu_user": f"{usage.ru_utime:.6f}"}


def _keyspace(server: Server) -> dict[str, object]:
    held = server.keyspace()
    return {"db0": f"keys={held.keys},expires={held.expires},avg_ttl=0"} if held.keys else {}


def _cluster(server: Server) -> dict[str, object]:
    return {"cluster_enabled": server.cluster is not None}


def _raft(server: Server) -> dict[str, object]:
    """Return every field of the node's status, and a line for each member."""
    measured = server.measure()
    status = msgspec.structs.asdict(measured.status)
    members: tuple[Any, ...] = status.pop("members")
    lines: dict[str, object] = {f"raft_{name}": value for name, value in status.items()}
    lines |= {
        "raft_sharded": server.shards is not None,
        "raft_ready": not measured.not_ready,
        "raft_not_ready": measured.not_ready,
        "raft_elections": measured.elections,
        "raft_pre_votes": measured.pre_votes,
        "raft_leader_changes": measured.leader_changes,
        "raft_snapshot_bytes": measured.snapshot_bytes,
        "raft_restoring": measured.restoring,
        "raft_queued_proposals": measured.proposals_queued,
        "raft_queued_messages": measured.messages_queued,
        "raft_queued_apply": measured.apply_queued,
        "raft_queued_writes": measured.writes_queued,
        "raft_unwritten_bytes": measured.unwritten_bytes,
    }
    lines["raft_members"] = len(members)
    for number, member in enumerate(members):
        fields = msgspec.structs.asdict(member)
        lines[f"raft_member{number}"] = ",".join(f"{name}={_text(value)}" for name, value in fields.items())
    return lines


def _latency(server: Server) -> dict[str, object]:
    """Return the histograms of the stages of a write: count, sum, percentiles since the start, and the buckets.

    Buckets are those of `raftline.runtime.histogram.BOUNDS_S`, and one for what took longer.
    """
    stages = {**server.measure().stages, "reply": server.reply_latency}
    return {f"latency_{name}": _histogram(stages[name]) for name in STAGES}


def _histogram(histogram: Histogram) -> str:
    counts = list(histogram.counts)
    fields = {"count": sum(counts), "sum_us": round(histogram.sum_s * 1e6)}
    for name, fraction in (("p50_us", 0.5), ("p99_us", 0.99)):
        seconds = quantile(counts, fraction)
        if seconds is not None:
            fields[name] = round(seconds * 1e6)
    return ",".join([*(f"{name}={value}" for name, value in fields.items()), f"buckets={'|'.join(map(str, counts))}"])


def _commandstats(server: Server) -> dict[str, object]:
    return {f"cmdstat_{name}": f"calls={calls}" for name, calls in sorted(server.statistics.calls.items())}


_SECTIONS: dict[str, Callable[[Server], dict[str, object]]] = {
    "server": _server,
    "clients": _clients,
    "memory": _memory,
    "stats": _stats,
    "replication": _replication,
    "cpu": _cpu,
    "cluster": _cluster,
    "keyspace": _keyspace,
    "raft": _raft,
    "latency": _latency,
    "commandstats": _commandstats,
}


def _human(count: int) -> str:
    """Write a number of bytes as Redis does: `1.43M`."""
    amount = float(count)
    for unit in _UNITS[:-1]:
        if amount < 1024:
            return f"{count}B" if unit == "B" else f"{amount:.2f}{unit}"
        amount /= 1024
    return f"{amount:.2f}{_UNITS[-1]}"


def resident_bytes() -> int:
    """Return the memory this process has in RAM, 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  a path object says no more
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
