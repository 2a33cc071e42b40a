"""What idle groups cost, and how long they have no leader after a kill: `python -m benchmarks.sleepers`.

Three processes host every group, a third of which prefers each of them. When all groups sleep, the CPU time of each
process is taken over a while; then one is killed, and the two others are asked again and again which groups they lead.
How long an event loop was held is the worst delay of a timer of 10 ms.
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog
from benchmarks.machine import load_now

from raftline import GroupConfig, Node, NodeConfig
from raftline.core.config import CoreConfig
from raftline.kv.machine import KvMachine

__all__ = ["cpu_share", "main"]

_NAMES = ("n1", "n2", "n3")
_TICK_S = 0.01
_ADDED_AT_ONCE = 50
_READY_S_MAX = 180.0


def cpu_share(before_s: float, after_s: float, seconds: float) -> float:
    """Return the share of a core that a process used."""
    return (after_s - before_s) / seconds


async def _serve(name: str, groups: int, members: dict[str, str], directory: str) -> None:
    """Host the groups, and answer each line on standard input with a line of what is so now."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    core = CoreConfig(quiesce_after_s=1.0, priority_handover_s=2.0)
    config = NodeConfig(node_id=name, members=members, data_dir=directory, core=core)
    node = Node(config, KvMachine())
    held = [0.0]

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_TICK_S)
            held[0] = max(held[0], loop.time() - before - _TICK_S)

    def state() -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cores = [group.driver.replica.core for group in node.groups.values()]
        held_s, held[0] = held[0], 0.0
        return {
            "leads": [number for number, group in node.groups.items() if group.is_leader],
            "leaderless": sum(core.leader is None for core in cores),
            "asleep": sum(core.is_asleep for core in cores),
            "hosted": len(cores),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "resident_kib": _resident_kib(),
            "held_ms": 1000 * held_s,
        }

    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with node:
        watching = asyncio.create_task(watch())
        empty_kib = _resident_kib()
        numbers = list(range(1, groups + 1))
        for start in range(0, groups, _ADDED_AT_ONCE):
            await asyncio.gather(
                *(
                    node.add_group(
                        GroupConfig(group=number, members=members, prefers=_NAMES[number % len(_NAMES)]), KvMachine()
                    )
                    for number in numbers[start : start + _ADDED_AT_ONCE]
                )
            )
        while await reader.readline():
            print(json.dumps(state() | {"empty_kib": empty_kib}), flush=True)
        watching.cancel()


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


class _Process:
    """One node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ask(self) -> dict[str, Any]:
        assert self.process.stdin is not None, "a pipe"
        assert self.process.stdout is not None, "a pipe"
        self.process.stdin.write(b"\n")
        return dict(json.loads(await self.process.stdout.readline()))


async def _measure(groups: int, seconds: float, scratch: Path) -> dict[str, Any]:
    ports = [_free_port() for _ in _NAMES]
    members = {
        name: f"127.0.0.1:{client}@{port}" for client, (name, port) in enumerate(zip(_NAMES, ports, strict=True), 1)
    }
    nodes = {}
    for name in _NAMES:
        arguments = ["-m", "benchmarks.sleepers", "--serve", name, "--groups", str(groups)]
        arguments += ["--members", json.dumps(members), "--directory", str(scratch / name)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
        nodes[name] = _Process(process)
    try:
        began = time.monotonic()
        while True:
            states = {name: await node.ask() for name, node in nodes.items()}
            if all(state["asleep"] == groups + 1 for state in states.values()):
                break
            if time.monotonic() > began + _READY_S_MAX:
                raise TimeoutError(f"not all asleep after {_READY_S_MAX} s: {states}")
            await asyncio.sleep(0.5)
        ready_s = time.monotonic() - began
        before = {name: await node.ask() for name, node in nodes.items()}
        await asyncio.sleep(seconds)
        after = {name: await node.ask() for name, node in nodes.items()}
        idle = {
            name: {
                "leads": len(after[name]["leads"]),
                "cpu_share": cpu_share(before[name]["cpu_s"], after[name]["cpu_s"], seconds),
                "kib_per_group": (after[name]["resident_kib"] - after[name]["empty_kib"]) / groups,
            }
            for name in _NAMES
        }
        lost = set(after["n1"]["leads"])
        nodes["n1"].process.kill()
        killed = time.monotonic()
        await nodes.pop("n1").process.wait()
        held_ms, first_s = 0.0, None
        while lost:
            await asyncio.sleep(0.05)
            for node in nodes.values():
                state = await node.ask()
                held_ms = max(held_ms, state["held_ms"])
                if first_s is None and lost & set(state["leads"]):
                    first_s = time.monotonic() - killed
                lost -= set(state["leads"])
        led_s = time.monotonic() - killed
        return {
            "groups": groups, "ready_s": ready_s, "idle": idle, "first_led_s": first_s, "all_led_s": led_s,
            "held_ms_max": held_ms,
        }  # fmt: skip
    finally:
        for node in nodes.values():
            node.process.kill()
            await node.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--groups", type=int, default=1000, help="how many groups, each on all three nodes [1000]")
    parser.add_argument("--seconds", type=float, default=20.0, help="for how long they are left alone [20]")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--members", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.groups < 1 or options.seconds <= 0:
        parser.error("--groups must be 1 or more, and --seconds above 0")
    if options.serve:
        asyncio.run(_serve(options.serve, options.groups, options.members, options.directory))
        return 0
    load = load_now()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        result = asyncio.run(_measure(options.groups, options.seconds, Path(scratch)))
    print(f"{result['groups']} groups on three nodes: all asleep {result['ready_s']:.1f} s after the start")
    for name, node in result["idle"].items():
        print(
            f"{name}: leads {node['leads']}, {100 * node['cpu_share']:.2f} % of a core, "
            f"{node['kib_per_group']:.1f} KiB a group"
        )
    print(
        f"n1 killed: first group led again after {result['first_led_s']:.2f} s, all after {result['all_led_s']:.2f} s; "
        f"an event loop was held for {result['held_ms_max']:.0f} ms at most"
    )
    if options.json:
        options.json.write_text(json.dumps({"load_before": load, **result}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
