"""Eight busy groups beside one, through servers and real clients: `python -m benchmarks.busy`.

Two sharded clusters of three nodes, one with one group, one with eight, take exactly the same load in turns: eight
redis-benchmarks, each with an eighth of the clients, that SET random keys with one hash tag. The tags lie in the eight
groups of the one cluster, so all of them are busy; each redis-benchmark is connected to the leader of its slot. Told
are commands per second as the servers count them, the ratio, and the CPU time of all three servers for each command.
Not with `redis-benchmark --cluster`: that takes one slot of each node (seen with 7.0.15), so only three of eight groups
would be busy. `benchmarks.groups` measures the same for the library, without servers and clients.
"""

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from benchmarks.machine import describe, load_now
from benchmarks.systems import cpu_of

from raftline.cli.local_cluster import LocalCluster
from raftline.cli.shard import ask_shards
from raftline.kv.slots import slot_of

__all__ = ["main"]

GROUPS = (1, 8)
LOADS = {"64 clients": (64, 1), "256 clients": (256, 1), "64 clients, pipeline 16": (64, 16)}
_SETTLE_S = 3.0
_WARM_S = 0.7
_COMMANDS_MAX = 1_000_000_000
_KEYS = 100_000
_VALUE = b"x" * 128

Slots = list[tuple[int, int, int]]
"""Ranges of slots: the first and the last one of each, and the port of the node that leads its group."""


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each cluster takes each load [5]")
    parser.add_argument("--seconds", type=float, default=3.0, help="for how long each load is measured [3]")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds must be at least 1, --seconds more than 0")
    if shutil.which("redis-benchmark") is None:
        raise SystemExit("redis-benchmark is missing: apt-get install redis-tools")
    before = load_now()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        result = _measure(Path(scratch), options.rounds, options.seconds)
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


def _measure(scratch: Path, rounds: int, seconds: float) -> dict[str, Any]:
    clusters = {groups: _start(scratch / str(groups), groups) for groups in GROUPS}
    found: dict[str, Any] = {load: {str(groups): {"per_s": [], "cpu": []} for groups in GROUPS} for load in LOADS}
    try:
        tags = _tags(_slots(clusters[max(GROUPS)]))
        for number in range(rounds + 1):
            for load, (clients, pipeline) in LOADS.items():
                for groups in GROUPS if number % 2 else GROUPS[::-1]:
                    rate, cpu_us = _load(clusters[groups], tags, clients, pipeline, seconds)
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


def _slots(cluster: LocalCluster) -> Slots:
    rows = redis.Redis(port=cluster.nodes["n1"].port).execute_command("CLUSTER", "SLOTS")
    return [(first, last, int(leader[1])) for first, last, leader, *_others in rows]


def _tags(slots: Slots) -> list[bytes]:
    """Return a hash tag for each range."""
    tags = {}
    for number in itertools.count():
        tag = b"t%d" % number
        tags.setdefault(next(first for first, last, _port in slots if first <= slot_of(tag) <= last), tag)
        if len(tags) == len(slots):
            return list(tags.values())
    raise AssertionError("numbers do not end")


def _load(cluster: LocalCluster, tags: list[bytes], clients: int, pipeline: int, seconds: float) -> tuple[float, float]:
    """Return commands per second, and the CPU time of all servers for each, in µs."""
    nodes = [redis.Redis(port=node.port) for node in cluster.nodes.values()]
    slots = _slots(cluster)
    pids = [node.pid for node in cluster.nodes.values()]
    loads = [_benchmark(slots, tag, clients // len(tags), pipeline, _KEYS // len(tags)) for tag in tags]
    try:
        time.sleep(_WARM_S)
        before, before_s, began_s = _commands(nodes), sum(map(cpu_of, pids)), time.monotonic()
        time.sleep(seconds)
        done, spent_s, took_s = _commands(nodes), sum(map(cpu_of, pids)), time.monotonic()
        for load in loads:
            if load.poll() is not None:
                assert load.stderr is not None, "a pipe"
                raise SystemExit(f"redis-benchmark failed:\n{load.stderr.read().decode()}")
    finally:
        for load in loads:
            load.kill()
        for load in loads:
            load.wait()
    done -= before
    return done / (took_s - began_s), 1e6 * (spent_s - before_s) / done


def _benchmark(slots: Slots, tag: bytes, clients: int, pipeline: int, keys: int) -> "subprocess.Popen[bytes]":
    """Start a redis-benchmark for the slot of a tag."""
    port = next(port for first, last, port in slots if first <= slot_of(tag) <= last)
    options = f"-p {port} -c {clients} -n {_COMMANDS_MAX} -P {pipeline} -r {keys}".split()
    command = ["redis-benchmark", *options, "SET", b"key:{%b}:__rand_int__" % tag, _VALUE]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _commands(nodes: list[redis.Redis]) -> int:
    """Return how many commands the nodes have carried out by now."""
    return sum(int(node.info("stats")["total_commands_processed"]) for node in nodes)


if __name__ == "__main__":
    sys.exit(main())
