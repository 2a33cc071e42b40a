"""How long failures of real processes stop writes: the leader killed or paused, and all nodes restarted with many keys.

    python -m benchmarks.failover --kills 20 --pauses 3 --keys 1000000 [--json]

Three servers on this machine with default settings, clients on all three that remember what was acknowledged. Ends with
exit code 1 if anything acknowledged was lost, any read was stale, or the three logs differ.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, load_now

from raftline.cli.load import Load
from raftline.cli.local_cluster import LocalCluster

__all__ = ["main", "time_line"]

PIPELINE = 2000
SLICE_S = 0.05


def main() -> int:
    """Run what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=20, help="kill the leader with SIGKILL this often [20]")
    parser.add_argument("--pauses", type=int, default=3, help="stop the leader for five seconds this often [3]")
    parser.add_argument("--keys", type=int, default=1_000_000, help="restart all nodes with this many keys [1000000]")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    parser.add_argument("--out", type=Path, help="write that document, and what was measured on, here")
    options = parser.parse_args()
    parts: list[tuple[str, int, Callable[[Path, int], dict[str, Any]]]] = [
        ("kills", options.kills, kill_leaders),
        ("pauses", options.pauses, pause_leaders),
        ("restart", options.keys, restart_with_keys),
    ]
    results: dict[str, Any] = {}
    before = load_now()
    for name, amount, run in parts:
        if amount:
            with tempfile.TemporaryDirectory(prefix="raftline-failover-") as directory:
                results[name] = run(Path(directory), amount)
            if not options.json:
                shown = {key: value for key, value in results[name].items() if key != "time_line"}
                print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in shown.items()), flush=True)
    if options.json:
        print(json.dumps(results, indent=2))
    if options.out:
        document = {"machine": describe(), "load_before": before, **results}
        options.out.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return 1 if any(result["faults"] for result in results.values()) else 0


def kill_leaders(directory: Path, kills: int) -> dict[str, Any]:
    """Kill the leader under load, again and again; return how long no write that was sent after it was acknowledged."""
    resumed: list[tuple[float, float]] = []
    with LocalCluster(directory) as cluster:
        load = started_load(cluster)
        for _ in range(kills):
            time.sleep(1.0)
            leader = cluster.wait_for_leader()
            killed_at = time.monotonic()
            cluster.kill9(leader)
            resumed.append((load.wait_acknowledged_after(killed_at, 30.0) - killed_at, killed_at))
            cluster.start(leader)
        time.sleep(1.0)
        faults = faults_of(cluster, load)
    median_at = sorted(resumed)[len(resumed) // 2][1]
    return {
        "kills": kills,
        **seconds([took for took, _ in resumed]),
        **counts(load),
        "faults": faults,
        "resumed_s": [round(took, 3) for took, _ in resumed],
        "time_line": time_line(load.acknowledged_times(), median_at),
    }


def time_line(acknowledged: list[float], killed_at: float) -> list[tuple[float, float]]:
    """Return (seconds since the kill, acknowledged writes per second there) from one second before to two after."""
    slices = dict.fromkeys(range(round(-1 / SLICE_S), round(2 / SLICE_S)), 0)
    for at in acknowledged:
        number = math.floor((at - killed_at) / SLICE_S)
        if number in slices:
            slices[number] += 1
    return [(round((number + 0.5) * SLICE_S, 3), count / SLICE_S) for number, count in slices.items()]


def pause_leaders(directory: Path, pauses: int) -> dict[str, Any]:
    """Stop the leader for five seconds under load, again and again."""
    resumed = []
    with LocalCluster(directory) as cluster:
        load = started_load(cluster, timeout_s=20.0)
        for _ in range(pauses):
            time.sleep(1.0)
            leader = cluster.wait_for_leader()
            paused_at = time.monotonic()
            cluster.pause(leader)
            resumed.append(load.wait_acknowledged_after(paused_at, 30.0) - paused_at)
            time.sleep(max(0.0, paused_at + 5.0 - time.monotonic()))
            cluster.resume(leader)
        time.sleep(1.0)
        faults = faults_of(cluster, load)
    return {"pauses": pauses, **seconds(resumed), **counts(load), "faults": faults}


def restart_with_keys(directory: Path, keys: int) -> dict[str, Any]:
    """Fill the store, kill all three nodes at once, start them; return how long until the keys can be read."""
    with LocalCluster(directory) as cluster:
        cluster.start()
        with cluster.client(cluster.wait_for_leader(), timeout_s=60) as client:
            for start in range(0, keys, PIPELINE):
                pipeline = client.pipeline(transaction=False)
                for number in range(start, min(start + PIPELINE, keys)):
                    pipeline.set(f"key:{number}", f"value {number}")
                pipeline.execute()
        cluster.wait_until_level(60)
        cluster.kill9()
        began = time.monotonic()
        cluster.start(wait=False)
        for name in cluster.nodes:
            cluster.wait_until_serving(name, 120)
        with cluster.client(cluster.wait_for_leader(60), timeout_s=60) as client:
            found = client.dbsize()
        took = time.monotonic() - began
        one_began = time.monotonic()
        cluster.restart("n1")
        one_took = time.monotonic() - one_began
        faults = [] if found == keys else [f"{found} keys of {keys} are there"]
    return {"keys": keys, "all_three_s": round(took, 2), "one_s": round(one_took, 2), "faults": faults}


def started_load(cluster: LocalCluster, timeout_s: float = 8.0) -> Load:
    """Start the nodes and a load on all of them."""
    cluster.start()
    cluster.wait_for_leader()
    load = Load([node.port for node in cluster.nodes.values()], timeout_s=timeout_s)
    load.start()
    return load


def faults_of(cluster: LocalCluster, load: Load) -> list[str]:
    """Stop the load and return every broken promise."""
    load.stop()
    level = cluster.wait_until_level(30)
    faults = list(load.wrong)
    if len({info.digest for info in level.values()}) > 1:
        faults.append(f"the logs differ: { ({name: info.digest for name, info in level.items()}) }")
    for node in cluster.nodes.values():
        faults += load.check_node(node.port)
    return faults


def seconds(resumed: list[float]) -> dict[str, float]:
    """Return median and maximum of how long writes stopped."""
    return {"resumed_s_median": round(statistics.median(resumed), 2), "resumed_s_max": round(max(resumed), 2)}


def counts(load: Load) -> dict[str, int]:
    """Return what the load has done."""
    return {"writes": load.writes, "interrupted": load.unknown, "reads": load.reads}


if __name__ == "__main__":
    sys.exit(main())
