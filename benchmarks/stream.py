"""What it costs a cluster under load to give its whole state to a new node: memory, latency, time.

    python -m benchmarks.stream --keys 250000 --value-bytes 4096 --rate 100 --rounds 5 [--timeline] [--json]

Three servers on this machine with default settings hold the keys; a client writes at a steady rate to the leader. The
leader writes a snapshot (BACKUP BEGIN); then, in each round, a server is started, added, gets the state as a stream,
and is removed again. For each part: how much the leader's resident memory grew at its highest, the latency of writes,
counted from when each was due, and for how much of the time something on this machine waited for a CPU. A round's
stream is compared with the writes just before it, the new process idle, and just after it, the new node a member.
Ends with exit code 1 if a write failed or the new node does not end up with everybody's data.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from benchmarks.timeline import Timeline, read_pressure

from raftline.cli.local_cluster import LocalCluster, plain_client

__all__ = ["main"]

PIPELINE = 200
CLIENTS = 8
POLL_S = 0.05
SETTLE_S = 3.0
AFTER_S = 1.0
MIB = 1 << 20


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--keys", type=int, default=250_000, help="how many keys [250000]")
    parser.add_argument("--value-bytes", type=int, default=4096, help="size of each value [4096]")
    parser.add_argument("--rate", type=int, default=100, help="writes per second meanwhile [100]")
    parser.add_argument("--rounds", type=int, default=5, help="give the state to a new node this often [5]")
    parser.add_argument("--quiet-s", type=float, default=10.0, help="how long to measure before and after [10]")
    parser.add_argument("--timeline", action="store_true", help="print what each process did, every half second")
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
        if not found:
            return {"writes": 0, "p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}
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


class Run:
    """One run of everything: the cluster, the writers, and what was measured so far."""

    def __init__(self, cluster: LocalCluster, options: Any) -> None:
        self.cluster = cluster
        self.options = options
        self.leader = cluster.wait_for_leader()
        node = cluster.nodes[self.leader]
        began = time.monotonic()
        fill(node.port, options.keys, options.value_bytes)
        self.leader = cluster.wait_for_leader()
        cluster.wait_until_level(60.0)
        self.say(f"{options.keys} keys of {options.value_bytes} bytes written in {time.monotonic() - began:.1f} s")
        self.port = cluster.nodes[self.leader].port
        self.memory = Memory(cluster.nodes[self.leader].pid)
        self.writers = Writers(self.port, options.rate, options.keys, options.value_bytes)
        self.resident = self.memory.now()
        self.spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self.say(f"leader {self.leader} has {self.resident / MIB:.0f} MiB resident")

    def say(self, text: str) -> None:
        """Print, unless one document is wanted at the end."""
        if not self.options.json:
            print(text, flush=True)

    def part(self, name: str, what: Callable[[], None]) -> dict[str, Any]:
        """Measure while `what()` goes on."""
        start, waited = time.monotonic(), read_pressure("cpu")
        what()
        stop, waited = time.monotonic(), read_pressure("cpu") - waited
        self.spans[name.rpartition(" ")[2]].append((start, stop))
        time.sleep(AFTER_S)
        shown: dict[str, Any] = {
            "seconds": round(stop - start, 1),
            "memory_growth_mib": self.memory.growth_mib(start, stop),
            **self.writers.latencies_ms((start, stop)),
            "cpu_wait_percent": round(100 * waited / (stop - start)),
        }
        self.say(f"{name}: " + ", ".join(f"{key} {value}" for key, value in shown.items()))
        return shown

    def quiet(self) -> None:
        """Let only the writers work."""
        time.sleep(self.options.quiet_s)

    def round(self, number: int) -> dict[str, Any]:
        """Give the state to a new node: before, with its process idle; meanwhile; after, with it a member."""
        name = f"n{3 + number}"
        self.cluster.grow(name, joins=self.leader)
        self.cluster.start(name)
        time.sleep(SETTLE_S)
        parts = {"before": self.part(f"round {number}, before", self.quiet)}
        timeline = Timeline({name: node.pid for name, node in self.cluster.nodes.items()}, lambda: self.phase(name))
        timeline.start()
        parts["stream"] = self.part(f"round {number}, stream", lambda: add_node(self.cluster, self.leader, name))
        timeline.stop()
        if self.options.timeline:
            for row in timeline.rows(lambda start, stop: describe(self.writers.latencies_ms((start, stop)))):
                self.say(row)
        time.sleep(SETTLE_S)
        parts["after"] = self.part(f"round {number}, after", self.quiet)
        info = self.cluster.info(name)
        received = info.fields.get("snapshots_installed") if info is not None else None
        quiet_ms = statistics.mean(parts[part]["p99_ms"] for part in ("before", "after"))
        ratio = round(parts["stream"]["p99_ms"] / quiet_ms, 2)
        self.say(f"round {number}: p99 during the stream {ratio} times that around it; snapshots received: {received}")
        return {"parts": parts, "p99_ratio": ratio, "snapshots_received": received}

    def phase(self, name: str) -> str:
        """Say what the new node is doing, by its files and its INFO."""
        directory = self.cluster.nodes[name].data_dir
        with contextlib.suppress(OSError):
            for path in directory.glob("*.received.tmp"):
                return f"gets {path.stat().st_size / MIB:.0f} MiB"
        info = self.cluster.info(name)
        if info is None:
            return "does not answer"
        if info.fields.get("restoring") not in {None, "0"}:
            return "restores"
        return "has it" if info.fields.get("snapshots_installed") not in {None, "0"} else "waits"

    def remove(self, name: str) -> None:
        """Take the node of a round out of the cluster, and off this machine."""
        with self.cluster.client(self.leader, timeout_s=60.0) as client:
            client.execute_command("RAFTLINE.MEMBER", "REMOVE", name)  # type: ignore[no-untyped-call]
        self.cluster.terminate(name)
        self.cluster.wipe(name)
        del self.cluster.nodes[name]


def describe(figures: dict[str, float]) -> str:
    """Say in short how long writes took."""
    return f"p50 {figures['p50_ms']:6.2f} p99 {figures['p99_ms']:6.2f} max {figures['max_ms']:6.2f} ms"


def measure(directory: Path, options: Any) -> dict[str, Any]:
    """Run all parts and print what each showed."""
    with LocalCluster(directory) as cluster:
        cluster.start()
        run = Run(cluster, options)
        run.memory.start()
        run.writers.start()
        time.sleep(SETTLE_S)
        snapshot = run.part("snapshot", lambda: write_snapshot(run.port))
        for name in cluster.followers():
            write_snapshot(cluster.nodes[name].port)  # now, lest they do it while something else is measured
        rounds = []
        same = True
        for number in range(1, options.rounds + 1):
            rounds.append(run.round(number))
            if number == options.rounds:
                run.writers.stop()
            else:
                run.remove(f"n{3 + number}")
        infos = cluster.wait_until_level(60.0)
        run.memory.stop()
        same = len({info.digest for info in infos.values()}) == 1
        same_leader = cluster.leader() == run.leader
    ratios = [each["p99_ratio"] for each in rounds]
    growths = [each["parts"]["stream"]["memory_growth_mib"] for each in rounds]
    took = [each["parts"]["stream"]["seconds"] for each in rounds]
    quiet_ms = run.writers.latencies_ms(*run.spans["before"], *run.spans["after"])["p99_ms"]
    stream_ms = run.writers.latencies_ms(*run.spans["stream"])["p99_ms"]
    run.say(f"least, median and most of {len(rounds)} rounds: streams took {_spread(took)} s; the leader's memory grew")
    run.say(f"by {_spread(growths)} MiB; p99 of writes meanwhile was {_spread(ratios)} times that before and after")
    run.say(f"p99 of all rounds' writes: {stream_ms} ms during streams, {quiet_ms} ms before and after them")
    run.say(f"all nodes hold the same data: {same}")
    return {
        "resident_before_mib": round(run.resident / MIB, 1),
        "snapshot": snapshot,
        "rounds": rounds,
        "p99_ratio_median": statistics.median(ratios),
        "p99_ratio_max": max(ratios),
        "p99_stream_ms": stream_ms,
        "p99_quiet_ms": quiet_ms,
        "memory_growth_mib_max": max(growths),
        "failed_writes": run.writers.failed,
        "same_leader": same_leader,
        "same_data": same,
    }


def _spread(values: list[float]) -> str:
    return ", ".join(f"{round(value, 2)}" for value in (min(values), statistics.median(values), max(values)))


def write_snapshot(port: int) -> None:
    """Let the node write a snapshot of its present state, and wait for it."""
    client = plain_client(port, timeout_s=120.0)
    client.execute_command("RAFTLINE.BACKUP", "BEGIN")  # type: ignore[no-untyped-call]
    client.close()


def add_node(cluster: LocalCluster, leader: str, name: str) -> None:
    """Add the new node and wait until it has the state and votes."""
    client = cluster.client(leader, timeout_s=300.0)
    client.execute_command("RAFTLINE.MEMBER", "ADD", name, cluster.nodes[name].address)  # type: ignore[no-untyped-call]

    def votes() -> bool:
        info = cluster.info(leader)
        return info is not None and any(member.node_id == name and member.voter for member in info.members)

    def has_state() -> bool:
        info = cluster.info(name)
        return info is not None and info.fields["restoring"] == "0" and info.fields["snapshots_installed"] != "0"

    cluster.wait_for(votes, "the new node votes", 300.0)
    cluster.wait_for(has_state, "the new node has the state", 300.0)


if __name__ == "__main__":
    sys.exit(main())
