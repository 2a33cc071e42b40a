"""What a key takes in memory beyond its own bytes: `python -m benchmarks.memory --keys 1000000`.

Three servers with default settings are filled with keys of 16 and values of 128 bytes; the growth of each process's
resident memory, the log's cache and all, divided by the number of keys. Beside it the state machine alone, in a process
of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import Workload, build_load, run_load
from benchmarks.machine import describe, load_now
from benchmarks.systems import Raftline

from raftline.kv.machine import KvMachine, encode_command

__all__ = ["main", "overhead_bytes", "resident_bytes"]

KEY_BYTES = 16
VALUE_BYTES = 128
_SETTLE_S = 15.0


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--keys", type=int, default=1_000_000, help="how many keys [1000000]")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.keys < 1:
        parser.error("--keys must be 1 or more")
    if options.alone:
        print(json.dumps(fill_alone(options.keys)))
        return 0
    before = load_now()
    command = [sys.executable, "-m", "benchmarks.memory", "--alone", "--keys", str(options.keys)]
    alone = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        result = {"keys": options.keys, "alone": alone, **fill_servers(Path(scratch), options.keys)}
    print(f"state machine alone: {alone['overhead_bytes']:.0f} bytes a key beyond its own {KEY_BYTES + VALUE_BYTES}")
    for name, node in result["nodes"].items():
        print(f"{name}: {node['overhead_bytes']:.0f} bytes a key, {node['resident_mib']:.0f} MiB resident")
    if options.json:
        document = {"machine": describe(), "load_before": before, **result}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def overhead_bytes(before: int, after: int, keys: int) -> float:
    """Return by how much memory grew for each key beyond key and value."""
    return (after - before) / keys - KEY_BYTES - VALUE_BYTES


def resident_bytes(pid: int | str = "self") -> int:
    """Return a process's resident memory."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def fill_alone(keys: int) -> dict[str, float]:
    """Apply that many SETs to a state machine in this process."""
    machine = KvMachine()
    before = resident_bytes()
    for number in range(keys):
        machine.apply(encode_command([b"SET", b"key:%012d" % number, b"%0128d" % number]), number + 1, 1)
    after = resident_bytes()
    return {"overhead_bytes": overhead_bytes(before, after, keys), "resident_mib": after / (1 << 20)}


def fill_servers(scratch: Path, keys: int) -> dict[str, Any]:
    """Fill three servers through one of them."""
    program = build_load(scratch)
    with Raftline(scratch / "raftline") as system:
        pids = {name: node.pid for name, node in system.cluster.nodes.items()}
        before = {name: resident_bytes(pid) for name, pid in pids.items()}
        run_load(program, system, Workload(16), 0.1, fill=True, keys=keys)
        system.cluster.wait_until_level(120.0)
        time.sleep(_SETTLE_S)
        leader = system.cluster.wait_for_leader()
        with system.cluster.client(leader, timeout_s=30.0) as client:
            found: Any = client.dbsize()
        after = {name: resident_bytes(pid) for name, pid in pids.items()}
    if found != keys:
        raise SystemExit(f"{keys} keys were written and {found} are there")
    nodes = {
        name: {
            "overhead_bytes": overhead_bytes(before[name], after[name], keys),
            "resident_mib": after[name] / (1 << 20),
        }
        for name in pids
    }
    return {"leader": leader, "nodes": nodes}


if __name__ == "__main__":
    sys.exit(main())
