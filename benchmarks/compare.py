"""raftline beside etcd and a Redis without replication: the same closed loops, interleaved rounds, medians and ratios.

    make bench                                        # or
    python -m benchmarks.compare --rounds 5 --seconds 5 [--systems raftline,etcd] [--json results.json]

All nodes and the load generator share this machine. Every system starts anew in each round, so that no one profits from
a quiet minute. What is not installed is left out, and said. Needs Go and etcd's client to build the load generator:
`apt-get install golang-go golang-etcd-server-dev etcd-server etcd-client redis-server`.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.systems import SYSTEMS, System
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

__all__ = ["WORKLOADS", "main"]

LOAD = Path(__file__).parent / "load"

WORKLOADS: dict[str, dict[str, float]] = {
    "SET, 1 client": {"clients": 1},
    "SET, 16 clients": {"clients": 16},
    "SET, 64 clients": {"clients": 64},
    "SET, 256 clients": {"clients": 256},
    "SET 4 KiB, 64 clients": {"clients": 64, "size": 4096},
    "SET, pipeline 16, 64 clients": {"clients": 64, "pipeline": 16},
    "GET, 64 clients": {"clients": 64, "reads": 1.0},
    "90 % GET, 64 clients": {"clients": 64, "reads": 0.9},
}
"""128-byte values over 100,000 keys unless said; reads are linearizable. etcd has no pipelines."""


def main() -> int:
    """Run all rounds; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each system runs every workload [3]")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds per workload [5]")
    parser.add_argument("--systems", default="", help="names, comma separated [all that are installed]")
    parser.add_argument("--workload", action="append", help="(part of) a workload's name; may be repeated [all]")
    parser.add_argument("--json", type=Path, help="write every single result here")
    options = parser.parse_args()
    console = Console(stderr=True)
    systems = [kind for kind in SYSTEMS if not options.systems or kind.name in options.systems.split(",")]
    for kind in [kind for kind in systems if kind.missing()]:
        console.print(f"{kind.name} is left out: {kind.missing()}", style="yellow")
        systems.remove(kind)
    chosen = {
        name: load
        for name, load in WORKLOADS.items()
        if not options.workload or any(part in name for part in options.workload)
    }
    if not systems or not chosen or options.rounds < 1:
        parser.error("nothing is left to run")
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        program = _build(Path(scratch))
        results: list[dict[str, Any]] = []
        with Progress(console=console) as progress:
            task = progress.add_task("measuring", total=options.rounds * len(systems) * len(chosen))
            for number in range(options.rounds):
                for kind in systems:
                    for name, load in _run(
                        kind, Path(scratch) / f"{number}-{kind.name}", program, chosen, options.seconds
                    ):
                        results.append({"round": number, "system": kind.name, "workload": name, **load})
                        progress.advance(task)
    versions = {kind.name: kind.version() for kind in systems}
    machine = (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "versions": versions, "results": results}, indent=1))
    _print(machine, versions, list(chosen), results)
    return int(any(result["errors"] for result in results))


def _build(directory: Path) -> Path:
    """Build the load generator."""
    if not shutil.which("go"):
        raise SystemExit("the load generator needs Go: apt-get install golang-go golang-etcd-server-dev")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(directory / "go")}
    program = directory / "load"
    built = subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=LOAD,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise SystemExit(f"the load generator does not build:\n{built.stderr}")
    return program


def _run(
    kind: type[System], directory: Path, program: Path, workloads: dict[str, dict[str, float]], seconds: float
) -> list[tuple[str, dict[str, Any]]]:
    """Start a system, run every workload on it, and stop it."""
    found = []
    with kind(directory) as system:
        for name, load in workloads.items():
            if kind.protocol == "etcd" and load.get("pipeline", 1) > 1:
                found.append((name, {"per_second": 0.0, "p50_ms": 0.0, "p99_ms": 0.0, "errors": 0}))
                continue
            flags = [part for key, value in load.items() for part in (f"-{key}", f"{value:g}")]
            endpoint = f"127.0.0.1:{system.leader}"
            command = [
                str(program),
                "-system",
                kind.protocol,
                "-endpoints",
                endpoint,
                "-seconds",
                f"{seconds:g}",
                *flags,
            ]
            cpu_s = system.cpu_s()
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            result = json.loads(printed)
            result["cpu_us_per_operation"] = 1e6 * (system.cpu_s() - cpu_s) / max(1, result["operations"])
            found.append((name, result))
    return found


def _print(machine: str, versions: dict[str, str], workloads: list[str], results: list[dict[str, Any]]) -> None:
    """Print medians, spread, and the ratio of the first system to each other one."""
    console = Console()
    names = list(versions)
    table = Table(title="operations per second: median (lowest to highest), median p50 and p99 in ms")
    table.add_column("workload")
    for name in names:
        table.add_column(name, justify="right")
    for name in names[1:]:
        table.add_column(f"{names[0]} / {name}", justify="right")
    for workload in workloads:
        cells, medians = [], []
        for name in names:
            own = [result for result in results if result["workload"] == workload and result["system"] == name]
            rates = [result["per_second"] for result in own]
            medians.append(statistics.median(rates))
            p50, p99 = (statistics.median(result[key] for result in own) for key in ("p50_ms", "p99_ms"))
            shown = f"{medians[-1]:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})\n{p50:.2f} / {p99:.2f}"
            cells.append(shown if medians[-1] else "–")
        ratios = [f"{medians[0] / other:.2f}" if other else "–" for other in medians[1:]]
        table.add_row(workload, *cells, *ratios)
    console.print(table)
    console.print(
        f"{machine}; " + "; ".join(f"{name}: {version}" for name, version in versions.items()), highlight=False
    )


if __name__ == "__main__":
    sys.exit(main())
