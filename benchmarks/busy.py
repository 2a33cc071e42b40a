"""Eight busy groups beside one, through servers and real clients: `python -m benchmarks.busy`.

Two sharded clusters of three nodes, one with one group, one with eight, take the same load in turns: redis-benchmark
with SETs of random keys, for eight groups with --cluster, so that each command goes to the leader of its slot. Told are
commands per second, the ratio, and the CPU time of all three servers for each command. `benchmarks.groups` measures the
same for the library, without servers and clients.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, load_now
from benchmarks.systems import cpu_of

from raftline.cli.local_cluster import LocalCluster
from raftline.cli.shard import ask_shards

__all__ = ["main"]

GROUPS = (1, 8)
LOADS = {"64 clients": (64, 1), "256 clients": (256, 1), "64 clients, pipeline 16": (64, 16)}
_SETTLE_S = 3.0


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each cluster takes each load [5]")
    parser.add_argument(
        "--commands", type=int, default=60_000, help="SETs of each load [60000]; piped, four times as many"
    )
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.rounds < 1 or options.commands < 1:
        parser.error("--rounds and --commands must be at least 1")
    if shutil.which("redis-benchmark") is None:
        raise SystemExit("redis-benchmark is missing: apt-get install redis-tools")
    before = load_now()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        result = _measure(Path(scratch), options.rounds, options.commands)
    for load, found in result.items():
        for groups in GROUPS:
            one = found[str(groups)]
            rates = ", ".join(f"{rate:,.0f}" for rate in one["per_s"])
            print(f"{load}, {groups} groups: {rates} SETs/s, {one['cpu_us']:.0f} µs of CPU each on all three nodes")
        print(f"{load}: eight groups have {found['ratio']:.2f} of the throughput of one")
    if options.json:
        document = {"machine": describe(), "load_before": before, "loads": result}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _measure(scratch: Path, rounds: int, commands: int) -> dict[str, Any]:
    clusters = {groups: _start(scratch / str(groups), groups) for groups in GROUPS}
    found: dict[str, Any] = {load: {str(groups): {"per_s": [], "cpu": []} for groups in GROUPS} for load in LOADS}
    try:
        for number in range(rounds + 1):
            for load, (clients, pipeline) in LOADS.items():
                for groups in GROUPS if number % 2 else GROUPS[::-1]:
                    count = commands * (4 if pipeline > 1 else 1)
                    rate, cpu_us = _load(clusters[groups], groups, clients, pipeline, count)
                    if number:  # the first round warms up
                        found[load][str(groups)]["per_s"].append(rate)
                        found[load][str(groups)]["cpu"].append(cpu_us)
    finally:
        for cluster in clusters.values():
            cluster.close()
    for of_load in found.values():
        for one in of_load.values():
            one["cpu_us"] = statistics.median(one.pop("cpu"))
        pairs = zip(of_load["1"]["per_s"], of_load["8"]["per_s"], strict=True)
        of_load["ratio"] = statistics.median(eight / one for one, eight in pairs)
    return found


def _start(directory: Path, groups: int) -> LocalCluster:
    directory.mkdir()
    cluster = LocalCluster(directory, settings={"sharded": "on", "groups": groups})
    cluster.start()
    target = f"127.0.0.1:{cluster.nodes['n1'].port}"
    cluster.wait_for(lambda: len(ask_shards(target).groups) == groups, "groups", 30)
    time.sleep(_SETTLE_S)
    return cluster


def _load(cluster: LocalCluster, groups: int, clients: int, pipeline: int, count: int) -> tuple[float, float]:
    """Return commands per second, and the CPU time of all servers for each, in µs."""
    port = cluster.nodes["n1"].port  # the first node of a group leads it
    command = ["redis-benchmark", "-p", port, "-c", clients, "-n", count, "-P", pipeline, "-t", "set", "-d", 128]
    command += ["-r", 100_000, "--csv", *(["--cluster"] if groups > 1 else [])]  # of one master it says: no cluster
    pids = [node.pid for node in cluster.nodes.values()]
    before_s = sum(map(cpu_of, pids))
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    found = re.search(r'^"SET","([0-9.]+)"', done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise SystemExit(f"redis-benchmark failed:\n{done.stdout}{done.stderr}")
    return float(found[1]), 1e6 * (sum(map(cpu_of, pids)) - before_s) / count


if __name__ == "__main__":
    sys.exit(main())
