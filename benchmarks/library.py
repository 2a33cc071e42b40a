"""A replicated call in a program of one's own: `node.propose` beside PySyncObj's replicated method.

    python -m benchmarks.library [--seconds 5] [--rounds 3] [--only raftline] [--json FILE]

Three processes each, one replica in each, on this machine; the leader's process makes the calls, with 1 and with 1,000
of them on their way. Each call adds one to a counter and returns what it is then. raftline syncs every command to three
disks before it answers; PySyncObj keeps its log in memory, as it does unless told otherwise. PySyncObj is fetched from
PyPI into a directory of the benchmark's own (`.bench/`) and is no dependency of anything. Both run with the garbage
collector settled.
"""

import argparse
import asyncio
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import structlog
import uvloop
from benchmarks.machine import describe, load_now

import raftline
from raftline.cli.local_cluster import free_port

__all__ = ["IN_FLIGHT", "main", "percentile", "summarize"]

OWN = Path(".bench") / "pysyncobj"
IN_FLIGHT = (1, 1000)
SYSTEMS = ("raftline", "pysyncobj")
_START_S_MAX = 30.0
_WARM_UP_S = 0.5


def main() -> int:
    """Run all rounds; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds for each number in flight [5]")
    parser.add_argument("--rounds", type=int, default=3, help="how often, interleaved [3]")
    parser.add_argument("--only", choices=SYSTEMS, help="only this one")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--replica", nargs=3, metavar=("SYSTEM", "NUMBER", "DIRECTORY"), help=argparse.SUPPRESS)
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("nothing is left to run")
    if options.replica:
        system, number, directory = options.replica
        ports = [int(port) for port in options.ports.split(",")]
        run = raftline_replica if system == "raftline" else pysyncobj_replica
        run(int(number), ports, Path(directory), options.seconds)
        return 0
    systems = [system for system in SYSTEMS if options.only in {None, system}]
    if "pysyncobj" in systems and not fetch_pysyncobj():
        print("PySyncObj is left out: it could not be fetched from PyPI", file=sys.stderr)
        systems.remove("pysyncobj")
    before = load_now()
    results = [
        {"round": number, "system": system, **result}
        for number in range(options.rounds)
        for system in systems
        for result in run_system(system, options.seconds)
    ]
    document: dict[str, Any] = {
        "machine": describe(),
        "load_before": before,
        "results": results,
        "summary": summarize(results),
    }
    for name, row in document["summary"].items():
        print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def summarize(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return medians by system and number in flight, and the ratio of raftline to PySyncObj."""
    rows: dict[str, dict[str, float]] = {}
    for in_flight in IN_FLIGHT:
        medians = {}
        for system in SYSTEMS:
            own = [result for result in results if (result["system"], result["in_flight"]) == (system, in_flight)]
            if not own:
                continue
            rates = [result["per_second"] for result in own]
            medians[system] = statistics.median(rates)
            rows[f"{system}, {in_flight:,} in flight"] = {
                "per_second": medians[system],
                "lowest": min(rates),
                "highest": max(rates),
                **{key: statistics.median(result[key] for result in own) for key in ("p50_ms", "p99_ms")},
            }
        if len(medians) == 2 and medians["pysyncobj"]:
            rows[f"ratio, {in_flight:,} in flight"] = {"ratio": medians["raftline"] / medians["pysyncobj"]}
    return rows


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which `share` of the ordered values lie; 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def fetch_pysyncobj() -> bool:
    """Install PySyncObj into a directory of its own if it is not there; say whether it is."""
    if not (OWN / "pysyncobj").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--target", str(OWN), "pysyncobj"], capture_output=True, check=False)
    return (OWN / "pysyncobj").is_dir()


def run_system(system: str, seconds: float) -> list[dict[str, Any]]:
    """Start three replicas, let the leader's process measure, and end all of them."""
    ports = ",".join(str(free_port()) for _ in range(6))
    processes = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory:
        command = [sys.executable, "-m", "benchmarks.library", "--seconds", str(seconds), "--ports", ports, "--replica"]
        try:
            for number in range(3):
                out = (Path(directory) / f"{number}.out").open("wb")
                with out:
                    arguments = [*command, system, str(number), f"{directory}/{number}"]
                    processes.append(subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT))
            deadline = time.monotonic() + _START_S_MAX + 3 * len(IN_FLIGHT) * (seconds + _WARM_UP_S) + 30.0
            while time.monotonic() < deadline:
                for number in range(3):
                    text = (Path(directory) / f"{number}.out").read_text(errors="replace")
                    if text.rstrip().endswith("]") and "\n[" in f"\n{text}":
                        found: list[dict[str, Any]] = json.loads(text[text.rindex("[{") :])
                        return found
                if all(process.poll() is not None for process in processes):
                    break
                time.sleep(0.1)
            said = "\n".join((Path(directory) / f"{number}.out").read_text(errors="replace") for number in range(3))
            raise SystemExit(f"{system} came to no result:\n{said[-3000:]}")
        finally:
            for process in processes:
                process.kill()
                process.wait()


class Tally:
    """Latencies of the calls that ended within the measured time, which begins after a warm-up."""

    def __init__(self, in_flight: int, seconds: float) -> None:
        self._begin = time.perf_counter() + _WARM_UP_S
        self.end = self._begin + seconds
        self._seconds = seconds
        self._in_flight = in_flight
        self._latencies: list[float] = []

    def note(self, sent: float) -> bool:
        """Count a call that ended now; return whether another one is to be made."""
        now = time.perf_counter()
        if self._begin <= now < self.end:
            self._latencies.append(now - sent)
        return now < self.end

    def result(self) -> dict[str, float]:
        """Return the rate and two percentiles."""
        ordered = sorted(self._latencies)
        return {
            "in_flight": self._in_flight,
            "per_second": len(ordered) / self._seconds,
            "p50_ms": 1000 * percentile(ordered, 0.5),
            "p99_ms": 1000 * percentile(ordered, 0.99),
        }


class Counter(raftline.StateMachine):
    """The state machine of both."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002  not needed here
        self.total += int(command)
        return b"%d" % self.total

    def snapshot(self) -> list[bytes]:
        return [b"%d" % self.total]

    def restore(self, chunks: Any) -> None:
        self.total = int(b"".join(chunks))


def raftline_replica(number: int, ports: list[int], directory: Path, seconds: float) -> None:
    """One replica, as the library's manual says."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    names = ("n1", "n2", "n3")
    members = {name: f"127.0.0.1:{ports[2 * place]}@{ports[2 * place + 1]}" for place, name in enumerate(names)}
    config = raftline.NodeConfig(node_id=names[number], members=members, data_dir=str(directory))

    async def run() -> None:
        async with raftline.Node(config, Counter()) as node:
            while not node.is_leader:  # noqa: ASYNC110  seen from outside, as a program of one's own sees it
                await asyncio.sleep(0.05)
            raftline.settle_garbage_collector()
            results = [await measured(node, in_flight) for in_flight in IN_FLIGHT]
            print(json.dumps(results), flush=True)
            await asyncio.sleep(3600)

    async def measured(node: raftline.Node, in_flight: int) -> dict[str, float]:
        tally = Tally(in_flight, seconds)

        async def caller() -> None:
            more = True
            while more:
                sent = time.perf_counter()
                await node.propose(b"1")
                more = tally.note(sent)

        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return tally.result()

    uvloop.run(run())


def pysyncobj_replica(number: int, ports: list[int], _directory: Path, seconds: float) -> None:
    """One replica, as PySyncObj's manual says."""
    sys.path.insert(0, str(OWN))
    from pysyncobj import SyncObj, SyncObjConf, replicated  # type: ignore[import-not-found]  # noqa: PLC0415  no dependency

    class Replicated(SyncObj):  # type: ignore[misc]
        def __init__(self, me: str, others: list[str]) -> None:
            super().__init__(me, others, conf=SyncObjConf(commandsQueueSize=200_000))
            self.total = 0

        @replicated  # type: ignore[untyped-decorator]
        def add(self, amount: int) -> int:
            self.total += amount
            return self.total

    addresses = [f"127.0.0.1:{port}" for port in ports[::2]]
    replica = Replicated(addresses[number], addresses[:number] + addresses[number + 1 :])
    deadline = time.monotonic() + _START_S_MAX
    while not (replica.isReady() and str(replica._getLeader()) == addresses[number]):  # noqa: SLF001  its own manual's way
        if time.monotonic() > deadline and not replica.isReady():
            raise SystemExit("PySyncObj is not ready")
        time.sleep(0.05)
    time.sleep(1.0)
    raftline.settle_garbage_collector()  # of the process, whatever library is used in it
    results = [_calls_one_by_one(replica, seconds), _calls_with_callbacks(replica, IN_FLIGHT[1], seconds)]
    print(json.dumps(results), flush=True)
    time.sleep(3600)


def _calls_one_by_one(replica: Any, seconds: float) -> dict[str, float]:
    tally = Tally(1, seconds)
    more = True
    while more:
        sent = time.perf_counter()
        replica.add(1, sync=True, timeout=10)
        more = tally.note(sent)
    return tally.result()


def _calls_with_callbacks(replica: Any, in_flight: int, seconds: float) -> dict[str, float]:
    tally = Tally(in_flight, seconds)
    ended = threading.Semaphore(0)

    def call() -> None:
        sent = time.perf_counter()

        def on_ended(_total: int | None, error: int) -> None:
            assert error == 0, f"PySyncObj failed with reason {error}"
            if tally.note(sent):
                call()
            else:
                ended.release()

        replica.add(1, callback=on_ended)

    for _ in range(in_flight):
        call()
    for _ in range(in_flight):
        ended.acquire()
    return tally.result()


if __name__ == "__main__":
    sys.exit(main())
