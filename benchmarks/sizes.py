"""Does a command cost more CPU with more keys, more clients, more nodes? `python -m benchmarks.sizes`.

CPU time of all servers together for one SET of 128 bytes, from 1,000 to 1,000,000 keys, 16 to 1,024 clients, and with
3, 5 and 7 nodes, in interleaved rounds. The same for clients in instructions of the three nodes' code, if valgrind is
there: those do not depend on what else the machine does, nor on how many commands happened to meet in one batch.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.compare import Workload, build_load, run_load
from benchmarks.cost import Prepare, Work, has_valgrind, instruction_costs
from benchmarks.machine import describe, load_now
from benchmarks.path import Path3
from benchmarks.systems import Raftline

__all__ = ["PIECES", "main", "spread"]

KEYS = (1_000, 10_000, 100_000, 1_000_000)
CLIENTS = (16, 64, 256, 1024)
NODES = (3, 5, 7)


def _path(clients: int) -> Prepare:
    def prepare(directory: Path) -> tuple[Work, int]:
        path = Path3(directory, clients=clients)
        return lambda: path.run_sets(4 * clients, clients=clients), 4 * clients

    return prepare


PIECES: dict[str, Prepare] = {f"{clients} clients": _path(clients) for clients in CLIENTS}


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="measured seconds for each point [3]")
    parser.add_argument("--rounds", type=int, default=3, help="how often, interleaved [3]")
    parser.add_argument("--keys-max", type=int, default=KEYS[-1], help="most keys [1000000]")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0 or options.keys_max < KEYS[0]:
        parser.error(f"nothing is left to run (the fewest keys are {KEYS[0]})")
    before = load_now()
    keys = tuple(count for count in KEYS if count <= options.keys_max)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        program = build_load(Path(scratch))
        by_size = {nodes: by_clients(Path(scratch), program, options, nodes) for nodes in NODES}
        result: dict[str, Any] = {
            "keys": by_keys(Path(scratch), program, options, keys),
            "clients": by_size[3],
            "nodes": {str(nodes): by_size[nodes]["64"] for nodes in NODES},
        }
    if has_valgrind():
        costs = instruction_costs("benchmarks.sizes", list(PIECES))
        result["instructions"] = {name.split()[0]: round(cost.per_operation) for name, cost in costs.items()}
    for what, points in result.items():
        print(f"{what}: " + ", ".join(f"{point} → {value}" for point, value in points.items()))
        if what in {"keys", "clients"}:
            print(f"  the dearest above the first: {100 * spread(points):.0f} %")
    if options.json:
        document = {"machine": describe(), "load_before": before, **result}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def spread(points: dict[str, dict[str, float]]) -> float:
    """Return by which part the dearest point is above the first one; 0 or less if none is dearer."""
    costs = [point["cpu_us"] for point in points.values()]
    return max(costs) / costs[0] - 1


def by_keys(scratch: Path, program: Path, options: argparse.Namespace, counts: tuple[int, ...]) -> dict[str, Any]:
    """Measure with more and more keys: rounds of short runs, so that every point has met the same neighbours."""
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(options.rounds):
        with Raftline(scratch / f"keys-{number}") as system:
            for count in counts:
                result = run_load(program, system, Workload(64), options.seconds, fill=True, keys=count)
                found.setdefault(str(count), []).append(result)
    return {point: _median(results) for point, results in found.items()}


def by_clients(scratch: Path, program: Path, options: argparse.Namespace, nodes: int) -> dict[str, Any]:
    """Measure with more and more clients on a cluster of so many nodes."""
    found: dict[str, list[dict[str, Any]]] = {}
    clients = CLIENTS if nodes == NODES[0] else (64,)
    for number in range(options.rounds):
        with Raftline(scratch / f"clients-{nodes}-{number}", size=nodes) as system:
            for count in clients:
                found.setdefault(str(count), []).append(run_load(program, system, Workload(count), options.seconds))
    return {point: _median(results) for point, results in found.items()}


def _median(results: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "cpu_us": round(statistics.median(result["cpu_us_per_operation"] for result in results), 1),
        "per_second": round(statistics.median(result["per_second"] for result in results)),
        "p50_ms": round(statistics.median(result["p50_ms"] for result in results), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
