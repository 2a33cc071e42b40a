"""What many groups cost: idle ones in CPU and memory, busy ones in throughput; `python -m benchmarks.groups`.

Three nodes, each a process of its own, host the same groups. Idle: so many groups on each, CPU of each process while
nothing happens and resident memory for each group. Busy: the same load on one group and on eight, one after the other
in the same run, several rounds; the ratio of their throughputs, and the CPU of all three for each command.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from benchmarks.machine import describe, load_now

from raftline import CoreConfig, GroupConfig, Node, NodeConfig
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.sharded.machine import ShardMachine
from raftline.sim.quiet import quiet

__all__ = ["main"]

NODES = ("n1", "n2", "n3")
BUSY_GROUPS = 8
VALUE_BYTES = 128
_BUSY_FIRST = 1_000_000
"""Busy groups have numbers from here on."""
_SETTLE_S = 5.0


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--groups", type=int, default=1000, help="idle groups on each node [1000]")
    parser.add_argument("--idle-s", type=float, default=20.0, help="for how long nothing happens [20]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the busy part [3]")
    parser.add_argument("--busy-s", type=float, default=5.0, help="seconds of each half of a round [5]")
    parser.add_argument("--in-flight", type=int, default=256, help="commands under way, over all groups [256]")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--node", help=argparse.SUPPRESS)
    parser.add_argument("--members", help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        with quiet():
            asyncio.run(_serve(options.node, json.loads(options.members), options.directory))
        return 0
    before = load_now()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        if options.groups:
            result["idle"] = _measure_idle(Path(scratch) / "idle", options.groups, options.idle_s)
        if options.rounds:
            result["busy"] = _measure_busy(Path(scratch) / "busy", options.rounds, options.busy_s, options.in_flight)
    _tell(result)
    if options.json:
        document = {"machine": describe(), "load_before": before, **result}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _tell(result: dict[str, Any]) -> None:
    if idle := result.get("idle"):
        print(f"{idle['groups']} idle groups on each of three nodes, {idle['seconds']:g} s:")
        for name, node in idle["nodes"].items():
            print(
                f"  {name}: {100 * node['cpu_share']:.1f} % of a core, {node['bytes_per_group'] / 1000:.1f} KB a "
                f"group, leads {node['leads']}, {node['asleep']} asleep"
            )
    if busy := result.get("busy"):
        for name in ("one", "eight"):
            each = ", ".join(f"{rate:,.0f}" for rate in busy[name]["per_s"])
            print(f"{name:>5}: {each} commands/s, {busy[name]['cpu_us']:.0f} µs of CPU each on all three nodes")
        print(f"eight groups have {busy['ratio']:.2f} of the throughput of one")


# The processes.


class _Process:
    """A node in a process of its own, which does what it is told line by line."""

    def __init__(self, name: str, members: dict[str, str], directory: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.groups", "--node", name, "--members", json.dumps(members)]
        command += ["--directory", str(directory / name)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words: Any) -> None:
        """Tell it what to do."""
        assert self._process.stdin is not None, "a pipe"
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return what came of it."""
        assert self._process.stdout is not None, "a pipe"
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None, "a pipe"
        self._process.stdin.close()
        self._process.wait(30)


class _Cluster:
    """Three of them."""

    def __init__(self, directory: Path) -> None:
        ports = _free_ports(2 * len(NODES))
        members = {name: f"127.0.0.1:{ports[2 * n]}@{ports[2 * n + 1]}" for n, name in enumerate(NODES)}
        self._processes = {name: _Process(name, members, directory) for name in NODES}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.stop()

    def all(self, *words: Any) -> dict[str, Any]:
        """Tell all of them at once; return their answers."""
        for process in self._processes.values():
            process.ask(*words)
        return {name: process.answer() for name, process in self._processes.items()}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _measure_idle(directory: Path, groups: int, idle_s: float) -> dict[str, Any]:
    with _Cluster(directory) as cluster:
        cluster.all("add", 1, 2, "shards")
        time.sleep(_SETTLE_S)
        empty = cluster.all("measure")
        cluster.all("add", 2, groups + 2, "shards")
        time.sleep(_SETTLE_S + groups / 100)
        first = cluster.all("measure")
        time.sleep(idle_s)
        last = cluster.all("measure")
    nodes = {
        name: {
            "cpu_share": (last[name]["cpu_s"] - first[name]["cpu_s"]) / (last[name]["at_s"] - first[name]["at_s"]),
            "bytes_per_group": (last[name]["resident"] - empty[name]["resident"]) / groups,
            "leads": last[name]["leads"],
            "asleep": last[name]["asleep"],
        }
        for name in NODES
    }
    return {"groups": groups, "seconds": idle_s, "nodes": nodes}


def _measure_busy(directory: Path, rounds: int, busy_s: float, in_flight: int) -> dict[str, Any]:
    """Load one group and eight in turn, from all three nodes."""
    numbers = {"one": [_BUSY_FIRST], "eight": list(range(_BUSY_FIRST + 1, _BUSY_FIRST + 1 + BUSY_GROUPS))}
    rates: dict[str, list[float]] = {"one": [], "eight": []}
    cpu: dict[str, list[float]] = {"one": [], "eight": []}
    with _Cluster(directory) as cluster:
        cluster.all("add", _BUSY_FIRST, _BUSY_FIRST + 1 + BUSY_GROUPS, "store")
        time.sleep(_SETTLE_S)
        for number in range(rounds + 1):
            for name in ("one", "eight") if number % 2 else ("eight", "one"):
                before = cluster.all("measure")
                done = cluster.all("load", numbers[name], busy_s, max(1, in_flight // len(NODES)))
                after = cluster.all("measure")
                if number:  # the first round warms up
                    commands = sum(one["commands"] for one in done.values())
                    rates[name].append(commands / busy_s)
                    spent_s = sum(after[node]["cpu_s"] - before[node]["cpu_s"] for node in NODES)
                    cpu[name].append(1e6 * spent_s / commands)
    found: dict[str, Any] = {
        name: {"per_s": rates[name], "cpu_us": statistics.median(cpu[name])} for name in ("one", "eight")
    }
    ratios = [eight / one for one, eight in zip(rates["one"], rates["eight"], strict=True)]
    return {**found, "ratio": statistics.median(ratios), "in_flight": in_flight}


# What a process does.


async def _serve(name: str, members: dict[str, str], directory: str) -> None:
    core = CoreConfig(quiesce_after_s=1.0)
    config = NodeConfig(node_id=name, members=members, data_dir=directory, core=core)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with Node(config, KvMachine()) as node:
        while line := await lines.readline():
            what, *arguments = json.loads(line)
            answer = await {"add": _add, "measure": _measure, "load": _load}[what](node, members, *arguments)
            print(json.dumps(answer), flush=True)


async def _add(node: Node, members: dict[str, str], first: int, stop: int, kind: str) -> int:
    """Host groups, their leaders spread over the nodes."""
    for number in range(first, stop):
        machine = ShardMachine(number) if kind == "shards" else KvMachine()
        prefers = NODES[number % len(NODES)]
        await node.add_group(GroupConfig(group=number, members=members, prefers=prefers), machine)
    return stop - first


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _measure(node: Node, _members: dict[str, str]) -> dict[str, Any]:
    groups = node.groups.values()
    return {
        "at_s": time.monotonic(),
        "cpu_s": time.process_time(),
        "resident": _resident_bytes(),
        "leads": sum(group.is_leader for group in groups),
        "asleep": sum(group.driver.replica.core.is_asleep for group in groups),
    }


async def _load(
    node: Node, _members: dict[str, str], numbers: list[int], seconds: float, in_flight: int
) -> dict[str, int]:
    """Keep so many commands under way, in all these groups in turn, for so long."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    ended = loop.create_future()
    groups = [node.group(number) for number in numbers]
    value = b"x" * VALUE_BYTES
    commands = [encode_command([b"SET", b"key:%d" % number, value]) for number in range(1000)]
    state = {"commands": 0, "under way": 0, "next": 0}

    def submit() -> None:
        number = state["next"]
        state["next"] = number + 1
        state["under way"] += 1
        groups[number % len(groups)].submit(commands[number % 1000], done)

    def done(outcome: bytes | Exception) -> None:
        state["under way"] -= 1
        if loop.time() < until:
            state["commands"] += isinstance(outcome, bytes)
            submit()
        elif not state["under way"]:
            ended.set_result(None)

    for _ in range(in_flight):
        submit()
    await ended
    return {"commands": state["commands"]}


if __name__ == "__main__":
    sys.exit(main())
