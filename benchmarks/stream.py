"""What it costs a cluster under load to give its whole state to a new node: memory, latency, time.

    python benchmarks/stream.py --keys 250000 --value-bytes 4096 --rate 100 [--json]

Three servers on this machine with default settings hold the keys; a client writes at a steady rate to the leader. Then
the leader writes a snapshot (BACKUP BEGIN), and a fourth server is added and gets the state as a stream. For each part:
how much the leader's resident memory grew at its highest, and the latency of writes, counted from when each was due.
Ends with exit code 1 if a write failed or the new node does not end up with everybody's data.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import redis

from raftline.cli.local_cluster import LocalCluster, plain_client

__all__ = ["main"]

PIPELINE = 200
CLIENTS = 8
POLL_S = 0.05
SETTLE_S = 5.0
MIB = 1 << 20


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--keys", type=int, default=250_000, help="how many keys [250000]")
    parser.add_argument("--value-bytes", type=int, default=4096, help="size of each value [4096]")
    parser.add_argument("--rate", type=int, default=100, help="writes per second meanwhile [100]")
    parser.add_argument("--quiet-s", type=float, default=15.0, help="how long to measure before and after [15]")
    parser.add_argument("--directory", type=Path, help="where to put the data directories [a temporary directory]")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raftline-stream-", dir=options.directory) as directory:
        results = measure(Path(directory), options)
    if options.json:
        print(json.dumps(results, indent=2))
    return 1 if results["failed_writes"] or not results["same_data"] else 0


class Writer(threading.Thread):
    """One client that writes at a steady rate; `samples` are (when due, seconds until acknowledged)."""

    def __init__(self, port: int, rate: float, keys: int, value_bytes: int) -> None:
        super().__init__(daemon=True)
        self._client = plain_client(port)
        self.every_s = 1 / rate
        self._keys = keys
        self._value_bytes = value_bytes
        self._stopping = threading.Event()
        self.samples: list[tuple[float, float]] = []
        self.failed = 0

    def run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self._client.set(f"key:{random.randrange(self._keys)}", random.randbytes(self._value_bytes))
            except redis.RedisError:
                self.failed += 1
            self.samples.append((due, time.monotonic() - due))
            due += self.every_s

    def stop(self) -> None:
        """End after the present write."""
        self._stopping.set()
        self.join()


class Writers:
    """Several clients that write at one rate together, so that a slow write does not hold up the others."""

    def __init__(self, port: int, rate: int, keys: int, value_bytes: int) -> None:
        self._writers = [Writer(port, rate / CLIENTS, keys, value_bytes) for _ in range(CLIENTS)]

    @property
    def failed(self) -> int:
        """Return how many writes failed."""
        return sum(writer.failed for writer in self._writers)

    def start(self) -> None:
        """Begin, one after the other within one interval."""
        for writer in self._writers:
            writer.start()
            time.sleep(writer.every_s / CLIENTS)

    def stop(self) -> None:
        """End after the present writes."""
        for writer in self._writers:
            writer.stop()

    def latencies_ms(self, *spans: tuple[float, float]) -> dict[str, float]:
        """Return how many writes were due in one of the `[start, stop)`, and percentiles of their latency."""
        samples = [sample for writer in self._writers for sample in writer.samples]
        found = sorted(latency for due, latency in samples if any(start <= due < stop for start, stop in spans))
        at = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        return {"writes": len(found)} | {
            name: round(1000 * found[min(len(found) - 1, int(part * len(found)))], 2) for name, part in at.items()
        }


class Memory(threading.Thread):
    """Watches a process's resident memory."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._path = Path(f"/proc/{pid}/status")
        self._stopping = threading.Event()
        self.samples: list[tuple[float, int]] = []

    def run(self) -> None:
        while not self._stopping.wait(POLL_S):
            self.samples.append((time.monotonic(), self.now()))

    def now(self) -> int:
        """Return VmRSS in bytes."""
        (line,) = (line for line in self._path.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) << 10

    def stop(self) -> None:
        """Watch no longer."""
        self._stopping.set()
        self.join()

    def growth_mib(self, start: float, stop: float) -> float:
        """Return by how much it rose in `[start, stop)` above what it was at the beginning."""
        found = [size for at, size in self.samples if start <= at < stop]
        return round((max(found) - found[0]) / MIB, 1)


def fill(port: int, keys: int, value_bytes: int) -> None:
    """Write every key."""
    client = plain_client(port, timeout_s=60.0)
    for start in range(0, keys, PIPELINE):
        with client.pipeline(transaction=False) as pipeline:
            for key in range(start, min(start + PIPELINE, keys)):
                pipeline.set(f"key:{key}", random.randbytes(value_bytes))
            pipeline.execute()


def measure(directory: Path, options: Any) -> dict[str, Any]:
    """Run all parts and print what each showed."""

    def say(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    with LocalCluster(directory) as cluster:
        cluster.start()
        leader = cluster.wait_for_leader()
        node = cluster.nodes[leader]
        began = time.monotonic()
        fill(node.port, options.keys, options.value_bytes)
        leader_kept = cluster.wait_for_leader() == leader
        cluster.wait_until_level(60.0)
        say(f"{options.keys} keys of {options.value_bytes} bytes written in {time.monotonic() - began:.1f} s")
        memory = Memory(node.pid)
        writer = Writers(node.port, options.rate, options.keys, options.value_bytes)
        memory.start()
        writer.start()
        time.sleep(SETTLE_S)
        parts: dict[str, Any] = {}
        spans: dict[str, tuple[float, float]] = {}

        def part(name: str, what: Any) -> None:
            start = time.monotonic()
            what()
            stop = time.monotonic()
            spans[name] = (start, stop)
            time.sleep(1.0)
            shown = {"seconds": round(stop - start, 1), "memory_growth_mib": memory.growth_mib(start, stop)}
            parts[name] = shown | writer.latencies_ms(spans[name])
            say(f"{name}: " + ", ".join(f"{key} {value}" for key, value in parts[name].items()))

        resident = memory.now()
        say(f"leader {leader} has {resident / MIB:.0f} MiB resident")
        part("before", lambda: time.sleep(options.quiet_s))
        part("snapshot", lambda: write_snapshot(node.port))
        time.sleep(SETTLE_S)
        cluster.grow("n4", joins=leader)
        cluster.start("n4")
        part("between", lambda: time.sleep(options.quiet_s))
        part("stream", lambda: add_node(cluster, leader))
        part("after", lambda: time.sleep(options.quiet_s))
        writer.stop()
        infos = cluster.wait_until_level(60.0)
        memory.stop()
        same = len({info.digest for info in infos.values()}) == 1
        leader_kept = leader_kept and cluster.leader() == leader
        received = infos["n4"].fields.get("snapshots_installed")
    before_ms = writer.latencies_ms(spans["before"], spans["between"])["p99_ms"]
    ratio = round(parts["stream"]["p99_ms"] / before_ms, 2)
    say(f"p99 of writes during the stream {ratio} times the {before_ms} ms before it; snapshots received: {received}")
    say(f"all nodes hold the same data: {same}")
    return {
        "resident_before_mib": round(resident / MIB, 1),
        "parts": parts,
        "p99_before_ms": before_ms,
        "p99_ratio": ratio,
        "snapshots_received": received,
        "failed_writes": writer.failed,
        "same_leader": leader_kept,
        "same_data": same,
    }


def write_snapshot(port: int) -> None:
    """Let the node write a snapshot of its present state, and wait for it."""
    client = plain_client(port, timeout_s=120.0)
    client.execute_command("RAFTLINE.BACKUP", "BEGIN")  # type: ignore[no-untyped-call]
    client.close()


def add_node(cluster: LocalCluster, leader: str) -> None:
    """Add the fourth node and wait until it votes, which it does once it has caught up."""
    client = cluster.client(leader, timeout_s=300.0)
    client.execute_command("RAFTLINE.MEMBER", "ADD", "n4", cluster.nodes["n4"].address)  # type: ignore[no-untyped-call]

    def votes() -> bool:
        info = cluster.info(leader)
        return info is not None and any(member.node_id == "n4" and member.voter for member in info.members)

    cluster.wait_for(votes, "the new node votes", 300.0)


if __name__ == "__main__":
    sys.exit(main())
