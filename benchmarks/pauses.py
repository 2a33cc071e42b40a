"""The longest pause of the leader's event loop in a run with snapshots: `python -m benchmarks.pauses --seconds 600`.

64 clients write 128-byte values; snapshots are taken as often as by default, or as `--snapshot-entries` says. A pause
by the clock may be the machine's: a pause in CPU time of the loop's own thread is the loop's, and is what is judged.
Yet a virtual machine that is stopped from outside counts that as CPU of the thread, too, now and then: how long such
pauses are shows a loop that does nothing, which is run before.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import Workload, build_load, run_load
from benchmarks.machine import describe, load_now
from benchmarks.systems import Raftline

__all__ = ["main"]


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long [600]")
    parser.add_argument("--keys", type=int, default=10_000, help="distinct keys [10000]")
    parser.add_argument("--snapshot-entries", type=int, default=500_000, help="a snapshot each so many [500000]")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="of a loop that does nothing, before [60]")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.seconds <= 0 or options.keys < 1:
        parser.error("nothing is left to run")
    before = load_now()
    idle_ms = longest_of_nothing(options.idle_seconds)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        result = measure(Path(scratch), options.seconds, options.keys, options.snapshot_entries)
    result = {"idle_cpu_ms_max": idle_ms, **result}
    document = {"machine": describe(), "load_before": before, **result}
    shown = {key: value for key, value in result.items() if key != "nodes"}
    print(", ".join(f"{key} {value}" for key, value in shown.items()))
    for name, ticks in result["nodes"].items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in ticks.items() if key != "longest"))
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def longest_of_nothing(seconds: float) -> float:
    """Return the longest pause in CPU time, in milliseconds, of a thread that reads its clocks and no more."""
    until = time.perf_counter() + seconds
    longest_s, before_s = 0.0, time.thread_time()
    while time.perf_counter() < until:
        now_s = time.thread_time()
        longest_s = max(longest_s, now_s - before_s)
        before_s = now_s
    return round(1000 * longest_s, 2)


def measure(scratch: Path, seconds: float, keys: int, snapshot_entries: int) -> dict[str, Any]:
    """Run the load on watched servers; return what the ticks of each showed."""
    program = build_load(scratch)
    settings = {"snapshot_log_entries": snapshot_entries}
    prefix = (sys.executable, "-m", "benchmarks.watched", str(scratch / "ticks-%"), "3")
    with Raftline(scratch / "raftline", settings=settings, prefix=prefix) as system:
        time.sleep(3.0)
        load = run_load(program, system, Workload(64), seconds, fill=True, keys=keys)
        time.sleep(1.5)
        leader = system.cluster.wait_for_leader()
        nodes = {name: json.loads((scratch / f"ticks-{name}").read_text()) for name in system.cluster.nodes}
        snapshots = {name: int(info.fields["snapshot_index"]) for name, info in system.cluster.infos().items()}
    return {
        "seconds": seconds,
        "keys": keys,
        "leader": leader,
        "operations": load["operations"],
        "p99_ms": round(load["p99_ms"], 2),
        "max_ms": round(load["max_ms"], 2),
        "snapshot_index": snapshots,
        "nodes": nodes,
    }


if __name__ == "__main__":
    sys.exit(main())
