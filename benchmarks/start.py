"""How long servers need to start from a long log: `python -m benchmarks.start --entries 1000000`.

Three servers that take no snapshots are filled, each key by an entry of its own, killed, and started again: all three
at once until every key can be read through the leader, and then one of them alone beside the running others, until it
has applied what they have.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from benchmarks.machine import describe, load_now
from benchmarks.systems import Raftline
from rich.progress import Progress

from raftline.cli.local_cluster import LocalCluster

__all__ = ["main"]

NO_SNAPSHOTS = {"snapshot_log_entries": 1 << 40, "snapshot_log_bytes": 1 << 50}
_START_S_MAX = 300.0
_AT_ONCE = 1000


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--entries", type=int, default=1_000_000, help="keys, and entries in the log [1000000]")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each kind [3]")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.entries < 1 or options.rounds < 1:
        parser.error("--entries and --rounds must be 1 or more")
    before = load_now()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        result = measure(Path(scratch), options.entries, options.rounds)
    print(", ".join(f"{key} {value}" for key, value in result.items()))
    if options.json:
        document = {"machine": describe(), "load_before": before, **result}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(scratch: Path, entries: int, rounds: int) -> dict[str, Any]:
    """Fill, kill, start; again and again."""
    with Raftline(scratch / "raftline", settings=NO_SNAPSHOTS) as system:
        cluster = system.cluster
        fill(system.leader, entries)
        cluster.wait_until_level(120.0)
        in_log = cluster.infos()[cluster.wait_for_leader()].applied_index
        together, alone = [], []
        for _ in range(rounds):
            cluster.kill9()
            together.append(start_all(cluster, entries))
            follower = cluster.followers()[0]
            cluster.kill9(follower)
            alone.append(start_one(cluster, follower))
    return {
        "keys": entries,
        "entries": in_log,
        "together_s": round(statistics.median(together), 2),
        "together_s_all": [round(each, 2) for each in together],
        "one_s": round(statistics.median(seconds for seconds, _ in alone), 2),
        "one_cpu_s": round(statistics.median(cpu_s for _, cpu_s in alone), 2),
        "one_s_all": [round(seconds, 2) for seconds, _ in alone],
    }


def fill(port: int, count: int) -> None:
    """Write `count` keys with 128 bytes each, by commands that never share an entry (`kv.bundles`)."""
    value = b"v" * 128
    with redis.Redis(port=port, socket_timeout=_START_S_MAX) as client, Progress() as progress:
        task = progress.add_task("filling", total=count)
        for first in range(0, count, _AT_ONCE):
            batch = client.pipeline(transaction=False)
            for number in range(first, min(first + _AT_ONCE, count)):
                batch.setrange(f"key:{number:012}", 0, value)
            batch.execute()
            progress.update(task, completed=first + _AT_ONCE)


def start_all(cluster: LocalCluster, entries: int) -> float:
    """Start all nodes; return the seconds until the leader has every key."""
    began = time.monotonic()
    cluster.start(wait=False)
    for name in cluster.nodes:
        cluster.wait_until_serving(name, _START_S_MAX)
    found: list[int] = []
    with cluster.client(cluster.wait_for_leader(_START_S_MAX), timeout_s=_START_S_MAX) as client:

        def is_read() -> bool:
            """Ask; a node that still applies its log refuses after a while."""
            with contextlib.suppress(redis.RedisError):
                found.append(int(client.dbsize()))
            return bool(found)

        cluster.wait_for(is_read, "the keys can be read", _START_S_MAX)
    took = time.monotonic() - began
    if found[0] < entries:
        raise SystemExit(f"{entries} keys were written and {found[0]} are there")
    return took


def start_one(cluster: LocalCluster, name: str) -> tuple[float, float]:
    """Start one node beside the others; return the seconds, and its CPU time, until it is level with them."""
    leader = cluster.infos()[cluster.wait_for_leader()]
    began = time.monotonic()
    cluster.start(name, wait=False)
    cluster.wait_until_serving(name, _START_S_MAX)

    def is_level() -> bool:
        info = cluster.info(name)
        return info is not None and info.applied_index >= leader.applied_index

    cluster.wait_for(is_level, f"{name} is level", _START_S_MAX)
    took = time.monotonic() - began
    fields = Path(f"/proc/{cluster.nodes[name].pid}/stat").read_text().rpartition(")")[2].split()
    return took, (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    sys.exit(main())
