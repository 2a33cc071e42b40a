"""What planned changes of a cluster cost its clients: a leader that is stopped, all nodes restarted, 3 to 5 to 3 nodes.

    python -m benchmarks.changes --stops 5 --restarts 2 --growths 2 [--json]

Real servers on this machine with default settings. Ends with exit code 1 if a client of a node that stays was refused
anything, a read was wrong, or something acknowledged is missing.

SIGTERM of the leader and rolling restarts: clients that remember what was acknowledged, on the other nodes or on all;
printed is the longest time without any acknowledged write. (Whoever is connected to the node that stops sees its
connection end; that is no refusal.) 3 to 5 to 3: redis-benchmark and such clients on the three nodes that stay, while
two nodes are added, one of them is made the leader, and both are removed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalCluster
from raftline.cli.redis_benchmark import RedisBenchmark

__all__ = ["main"]

CONNECTION_ENDS = ("Connection closed by server", "Connection refused", "Connection reset by peer", "Broken pipe")


def main() -> int:
    """Run what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--stops", type=int, default=5, help="stop the leader with SIGTERM this often [5]")
    parser.add_argument("--restarts", type=int, default=2, help="restart all nodes one by one this often [2]")
    parser.add_argument("--growths", type=int, default=2, help="grow from 3 to 5 nodes and back this often [2]")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    options = parser.parse_args()
    parts: list[tuple[str, int, Callable[[LocalCluster], dict[str, Any]]]] = [
        ("SIGTERM of the leader", options.stops, stop_the_leader),
        ("rolling restart", options.restarts, restart_all),
        ("3 to 5 to 3", options.growths, grow_and_shrink),
    ]
    results: dict[str, list[dict[str, Any]]] = {}
    for name, times, run in parts:
        for _ in range(times):
            with (
                tempfile.TemporaryDirectory(prefix="raftline-changes-") as directory,
                LocalCluster(Path(directory)) as cluster,
            ):
                cluster.start()
                cluster.wait_for_leader()
                results.setdefault(name, []).append(run(cluster))
            if not options.json:
                print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in results[name][-1].items()), flush=True)
        if times and not options.json:
            pauses = [result["pause_ms_max"] for result in results[name]]
            print(f"{name}: longest pauses {min(pauses)} to {max(pauses)} ms, median {statistics.median(pauses)}")
    if options.json:
        print(json.dumps(results, indent=2))
    return 1 if any(result["faults"] for runs in results.values() for result in runs) else 0


def stop_the_leader(cluster: LocalCluster) -> dict[str, Any]:
    """Stop the leader with SIGTERM while clients of the others write."""
    leader = cluster.wait_for_leader()
    load = started(cluster, [name for name in cluster.nodes if name != leader])
    began = time.monotonic()
    code = cluster.terminate(leader)
    after_change(load)
    cluster.start(leader)
    faults = [] if code == 0 else [f"{leader} ended with exit code {code}"]
    return figures(cluster, load, began, faults)


def restart_all(cluster: LocalCluster) -> dict[str, Any]:
    """Restart every node in turn while clients of all of them write."""
    load = started(cluster, list(cluster.nodes))
    began = time.monotonic()
    for name in list(cluster.nodes):
        cluster.restart(name)
        after_change(load)
    return figures(cluster, load, began, [])


def grow_and_shrink(cluster: LocalCluster) -> dict[str, Any]:
    """Add n4 and n5, let n5 lead, remove both, under redis-benchmark."""
    benchmarks = []
    if RedisBenchmark.installed():
        benchmarks = [RedisBenchmark(node.port) for node in cluster.nodes.values()]
    load = started(cluster, list(cluster.nodes))
    for benchmark in benchmarks:
        benchmark.start()
    began = time.monotonic()
    for name in ("n4", "n5"):
        node = cluster.grow(name, joins="n1")
        cluster.start(name)
        ask(cluster, "RAFTLINE.MEMBER", "ADD", name, node.address)
        cluster.wait_for(lambda name=name: is_voter(cluster, name), f"{name} votes", 60.0)
    ask(cluster, "RAFTLINE.TRANSFER", "n5")
    cluster.wait_for(lambda: cluster.leader() == "n5", "n5 leads")
    faults = []
    for name in ("n5", "n4"):
        ask(cluster, "RAFTLINE.MEMBER", "REMOVE", name)
        after_change(load)
        if (code := cluster.terminate(name)) != 0:
            faults.append(f"{name} ended with exit code {code}")
        del cluster.nodes[name]
    took = time.monotonic() - began
    for benchmark in benchmarks:
        benchmark.stop()
        faults += benchmark.troubles
    found = figures(cluster, load, began, faults)
    return {"took_s": round(took, 1), "requests": sum(benchmark.requests for benchmark in benchmarks), **found}


def ask(cluster: LocalCluster, *command: str) -> None:
    """Send a command about the cluster to n1 and wait for its outcome."""
    with cluster.client("n1", timeout_s=60.0) as client:
        client.execute_command(*command)  # type: ignore[no-untyped-call]


def is_voter(cluster: LocalCluster, name: str) -> bool:
    """Say whether n1 knows a node as a voter."""
    info = cluster.info("n1")
    return info is not None and any(member.node_id == name and member.voter for member in info.members)


def started(cluster: LocalCluster, names: list[str]) -> Load:
    """Start clients of some nodes and wait until they are at work."""
    load = Load([cluster.nodes[name].port for name in names], writers=3, readers=1)
    load.start()
    cluster.wait_for(lambda: load.writes > 100, "100 writes")
    return load


def after_change(load: Load) -> None:
    """Wait until a write is acknowledged that was sent after this moment."""
    load.wait_acknowledged_after(time.monotonic(), 30.0)


def figures(cluster: LocalCluster, load: Load, began: float, faults: list[str]) -> dict[str, Any]:
    """Stop the load and return the longest pause of writes since `began`, what was done, and every broken promise."""
    load.stop()
    times = [at for at in load.acknowledged_times() if at >= began]
    pause_s = max((after - before for before, after in pairwise(times)), default=0.0)
    refused = {text: count for text, count in load.refusals.items() if not any(end in text for end in CONNECTION_ENDS)}
    faults += [f"{count} times {text}" for text, count in refused.items()]
    faults += load.wrong
    if len({info.digest for info in cluster.wait_until_level(30).values()}) > 1:
        faults.append("the logs differ")
    for node in cluster.nodes.values():
        faults += load.check_node(node.port)
    return {"pause_ms_max": round(1000 * pause_s, 1), "writes": load.writes, "reads": load.reads, "faults": faults}


if __name__ == "__main__":
    sys.exit(main())
