"""raftline beside etcd and a Redis without replication: the same closed loops, interleaved rounds, medians and ratios.

    python -m benchmarks.compare --rounds 5 --seconds 5 [--quick] [--systems raftline,etcd] [--json results.json]

All nodes and the load generator share this machine. Every system starts anew in each round, so that no one profits from
a quiet minute. What is not installed is left out, and said. Needs Go and etcd's client to build the load generator:
`apt-get install golang-go golang-etcd-server-dev etcd-server etcd-client redis-server`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import describe, load_now
from benchmarks.systems import SYSTEMS, System
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

__all__ = ["QUICK", "WORKLOADS", "Workload", "build_load", "main", "run_load", "summarize"]

LOAD = Path(__file__).parent / "load"


class Workload(NamedTuple):
    """What each of `clients` closed loops does; reads are linearizable."""

    clients: int
    size: int = 128
    reads: float = 0.0
    pipeline: int = 1
    on_followers: bool = False

    @property
    def name(self) -> str:
        """What tables call it."""
        kind = {0.0: "SET", 1.0: "GET"}.get(self.reads, f"{self.reads:.0%} GET".replace("%", " %"))
        where = " on followers" if self.on_followers else ""
        size = "" if self.size == 128 else f" {self.size >> 10} KiB"
        batch = f", pipeline {self.pipeline}" if self.pipeline > 1 else ""
        return f"{kind}{size}{where}{batch}, {self.clients} client{'s' * (self.clients > 1)}"


_CLIENTS = (1, 16, 64, 256)

WORKLOADS = {
    workload.name: workload
    for workload in (
        *(Workload(clients) for clients in _CLIENTS),
        Workload(64, pipeline=16),
        *(Workload(clients, reads=1.0) for clients in _CLIENTS),
        *(Workload(clients, reads=1.0, on_followers=True) for clients in _CLIENTS),
        Workload(64, reads=1.0, pipeline=16),
        *(Workload(clients, reads=0.9) for clients in _CLIENTS),
        *(Workload(clients, size=4096) for clients in _CLIENTS),
        Workload(64, size=4096, reads=1.0),
        Workload(64, size=4096, reads=0.9),
    )
}
"""128-byte values over 10,000 keys unless said; etcd has no pipelines, a single Redis no followers."""

QUICK = (
    "SET, 1 client",
    "SET, 64 clients",
    "SET, 256 clients",
    "SET, pipeline 16, 64 clients",
    "GET, 64 clients",
    "GET on followers, 64 clients",
    "90 % GET, 64 clients",
    "SET 4 KiB, 64 clients",
)


def main() -> int:
    """Run all rounds; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each system runs every workload [3]")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured seconds per workload [3]")
    parser.add_argument("--quick", action="store_true", help="only the workloads that targets are set for")
    parser.add_argument("--systems", default="", help="names, comma separated [all that are installed]")
    parser.add_argument("--workload", action="append", help="(part of) a workload's name; may be repeated [all]")
    parser.add_argument("--json", type=Path, help="write every single result here")
    options = parser.parse_args()
    console = Console(stderr=True)
    wanted = [name.strip() for name in options.systems.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in {kind.name for kind in SYSTEMS}]
    if unknown:
        parser.error(f"no system is called {unknown[0]}: there are {', '.join(kind.name for kind in SYSTEMS)}")
    systems = [kind for kind in SYSTEMS if not wanted or kind.name in wanted]
    for kind in [kind for kind in systems if kind.missing()]:
        console.print(f"{kind.name} is left out: {kind.missing()}", style="yellow")
        systems.remove(kind)
    chosen = {
        name: load
        for name, load in WORKLOADS.items()
        if (not options.quick or name in QUICK)
        and (not options.workload or any(part in name for part in options.workload))
    }
    if not systems or not chosen or options.rounds < 1 or options.seconds <= 0:
        parser.error("nothing is left to run")
    before = load_now()
    results = _run_all(systems, chosen, options.rounds, options.seconds, console)
    document = {
        "machine": describe(),
        "load_before": before,
        "versions": {kind.name: kind.version() for kind in systems},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "results": results,
    }
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _print(document)
    return int(any(result["errors"] for result in results))


def build_load(directory: Path) -> Path:
    """Build the load generator; raises SystemExit with what is missing."""
    if not shutil.which("go"):
        raise SystemExit("the load generator needs Go: apt-get install golang-go golang-etcd-server-dev")
    cache = os.environ.get("GOCACHE") or str(Path.home() / ".cache" / "go-build")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": cache}
    program = directory / "load"
    command = ["go", "build", "-o", str(program), "."]
    built = subprocess.run(command, cwd=LOAD, env=environment, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SystemExit(f"the load generator does not build:\n{built.stderr}")
    return program


def run_load(
    program: Path, system: System, workload: Workload, seconds: float, *, fill: bool = False, keys: int = 10_000
) -> dict[str, Any]:
    """Run one workload; return the generator's report and the CPU time that the system took for each operation."""
    ports = system.followers if workload.on_followers else [system.leader]
    flags = {
        "system": "etcd" if system.protocol == "etcd" else "resp",
        "endpoints": ",".join(f"127.0.0.1:{port}" for port in ports),
        "seconds": f"{seconds:g}",
        "clients": workload.clients,
        "size": workload.size,
        "reads": workload.reads,
        "pipeline": workload.pipeline,
        "keys": keys,
    }
    command = [str(program), *(f"-{name}={value}" for name, value in flags.items())]
    if fill:
        quick = [str(program), *(f"-{name}={value}" for name, value in flags.items()), "-fill", "-clients=64"]
        _run([*quick, "-seconds=0.001", "-warmup=0"])
    cpu_s = system.cpu_s()
    result: dict[str, Any] = json.loads(_run(command))
    result["cpu_us_per_operation"] = 1e6 * (system.cpu_s() - cpu_s) / max(1, result["all_operations"])
    return result


def _run(command: list[str]) -> str:
    """Return what the load generator prints; raises SystemExit with what it says if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def _run_all(
    systems: list[type[System]], chosen: dict[str, Workload], rounds: int, seconds: float, console: Console
) -> list[dict[str, Any]]:
    """Run every workload on every system, round after round."""
    results: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch,
        Progress(console=console) as progress,
    ):
        program = build_load(Path(scratch))
        task = progress.add_task("measuring", total=rounds * len(systems) * len(chosen))
        for number in range(rounds):
            for kind in systems:
                with kind(Path(scratch) / f"{number}-{kind.name}") as system:
                    filled = 0
                    for name, workload in chosen.items():
                        progress.advance(task)
                        if not _fits(system, workload):
                            continue
                        reads = workload.reads > 0
                        result = run_load(program, system, workload, seconds, fill=reads and filled != workload.size)
                        filled = workload.size if reads or filled == workload.size else 0
                        results.append({"round": number, "system": kind.name, "workload": name, **result})
    return results


def _fits(system: System, workload: Workload) -> bool:
    """Say whether a system has what a workload needs."""
    if workload.on_followers and not system.followers:
        return False
    if system.protocol == "writes" and workload.reads:
        return False
    return workload.pipeline == 1 or system.protocol != "etcd"


def summarize(document: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return workload → system → median, lowest and highest rate, and medians of everything else."""
    grouped: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for result in document["results"]:
        grouped.setdefault(result["workload"], {}).setdefault(result["system"], []).append(result)
    return {
        workload: {system: _summary(results) for system, results in systems.items()}
        for workload, systems in grouped.items()
    }


def _summary(results: list[dict[str, Any]]) -> dict[str, float]:
    rates = [result["per_second"] for result in results]
    keys = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms", "cpu_us_per_operation")
    return {
        "per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        **{key: statistics.median(result[key] for result in results) for key in keys},
    }


def _print(document: dict[str, Any]) -> None:
    """Print medians, spread, and the ratio of the first system to each other one."""
    console = Console()
    names = list(document["versions"])
    table = Table(title="operations per second: median (lowest to highest), median p50 / p99 in ms")
    table.add_column("workload")
    for name in names:
        table.add_column(name, justify="right")
    for name in names[1:]:
        table.add_column(f"{names[0]} / {name}", justify="right")
    for workload, systems in summarize(document).items():
        cells = []
        for name in names:
            found = systems.get(name)
            cells.append("–" if found is None else f"{found['per_second']:,.0f} ({found['lowest']:,.0f} to "
                         f"{found['highest']:,.0f})\n{found['p50_ms']:.2f} / {found['p99_ms']:.2f}")  # fmt: skip
        for name in names[1:]:
            both = names[0] in systems and name in systems and systems[name]["per_second"]
            cells.append(f"{systems[names[0]]['per_second'] / systems[name]['per_second']:.2f}" if both else "–")
        table.add_row(workload, *cells)
    console.print(table)
    console.print(f"machine: {document['machine']}", highlight=False)
    console.print("; ".join(f"{name}: {version}" for name, version in document["versions"].items()), highlight=False)
    console.print(f"load averages before: {document['load_before']}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
