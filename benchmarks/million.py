"""What holds the event loop of a node with a million keys, and for how long: `python -m benchmarks.million`.

One server holds the keys, 128-byte strings, and four containers as large as all of them. It writes a snapshot under
writes, gives its state to a new node that serves stale reads meanwhile, lets 100,000 keys expire at one instant,
removes each container with one DEL or UNLINK, and everything with FLUSHALL. Printed for each is the longest time
between two ticks of the loop, and what 99.9 % of them are not above, in CPU time of the loop's thread (its own doing)
and by the clock (the machine's, too). Exit code 1 if one took more CPU than 10 ms.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from raftline.cli.local_cluster import LocalCluster, plain_client

__all__ = ["main"]

CPU_MS_MAX = 10.0
CONTAINERS = {"hash": "HSET", "set": "SADD", "zset": "ZADD", "list": "RPUSH"}
PER_COMMAND = 200
WAIT_S = 900.0
LAG_MAX = 100
_TRIAL = 2000
COLUMNS = ("cpu_ms_max", "cpu_ms_p999", "clock_ms_max", "clock_ms_p999", "ticks", "gc_counts", "gc_ms_max")


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--keys", type=int, default=1_000_000, help="how many keys [1000000]")
    parser.add_argument("--members", type=int, default=1_000_000, help="members of each container [1000000]")
    parser.add_argument("--expiring", type=int, default=100_000, help="keys that expire at one instant [100000]")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        results = Measured(Path(scratch), options).run()
    table = Table(title=f"{options.keys:,} keys: milliseconds between two ticks of the loop")
    for column in ("node", "phase", "seconds", *COLUMNS):
        table.add_column(column, justify="left" if column in {"node", "phase"} else "right")
    for found in results:
        table.add_row(*(str(found[name]) for name in ("node", "phase", "seconds", *COLUMNS)))
    Console(width=150).print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return int(any(found["cpu_ms_max"] > CPU_MS_MAX for found in results))


class Writes(threading.Thread):
    """Writes and reads at a steady rate, one after the other."""

    def __init__(self, port: int, keys: int, words: Callable[[bytes], list[Any]]) -> None:
        super().__init__(daemon=True)
        self._client = plain_client(port, timeout_s=WAIT_S)
        self._keys = keys
        self._words = words
        self._stopping = threading.Event()
        self.answered = 0

    def run(self) -> None:
        while not self._stopping.wait(0.002):
            try:
                self._client.execute_command(*self._words(b"key:%d" % random.randrange(self._keys)))
                self.answered += 1
            except redis.RedisError:
                continue

    def stop(self) -> None:
        """End after the present one."""
        self._stopping.set()
        self.join()


class Measured:
    """The nodes, and what each phase showed."""

    def __init__(self, scratch: Path, options: argparse.Namespace) -> None:
        self._scratch = scratch
        self._options = options
        prefix = (sys.executable, "-m", "benchmarks.turns", str(scratch / "turns-%"))
        self._cluster = LocalCluster(scratch, size=1, prefix=prefix)
        self._results: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        """Run all phases."""
        options = self._options
        with self._cluster as cluster, self._telling_why():
            cluster.start()
            cluster.wait_for_leader()
            self._client = plain_client(cluster.nodes["n1"].port, timeout_s=WAIT_S)
            self._phase("fill keys, 200 a command", lambda: self._send(self._keys()))
            self._phase("fill containers, 200 a command", lambda: self._send(self._members()))
            self._under_writes("writes alone", lambda: time.sleep(10.0))
            self._under_writes("snapshot under writes", lambda: self._ask("RAFTLINE.BACKUP", "BEGIN"))
            self._join()
            self._send(self._expiring())
            self._under_writes(f"{options.expiring:,} keys expire", self._wait_for_expiry)
            for number, name in enumerate(CONTAINERS):
                command = ("DEL", "UNLINK")[number % 2]
                self._under_writes(
                    f"{command} {name} of {options.members:,}", lambda c=command, n=name: self._remove(c, n)
                )
            self._under_writes("FLUSHALL", lambda: self._remove("FLUSHALL"))
        return self._results

    @contextmanager
    def _telling_why(self) -> Iterator[None]:
        """Show what the nodes said last, if something fails."""
        try:
            yield
        except Exception:
            for node in self._cluster.nodes.values():
                print(f"--- {node.name}\n{node.log()[-3000:]}", file=sys.stderr)
            raise

    def _phase(self, name: str, work: Callable[[], object]) -> None:
        """Do something, and note what it did to the loops of all nodes."""
        self._end_phase()
        started = time.monotonic()
        work()
        seconds = round(time.monotonic() - started, 1)
        for node, found in self._end_phase().items():
            self._results.append({"node": node, "phase": name, "seconds": seconds, **found})
            shown = {key: found[key] for key in COLUMNS}
            print(f"{node} {name}: {seconds} s, {shown}", file=sys.stderr, flush=True)

    def _end_phase(self) -> dict[str, dict[str, Any]]:
        """Let every node write down its phase, and return what that is."""
        counts = {name: len(self._lines(name)) for name, node in self._cluster.nodes.items() if node.running}
        for name in counts:
            self._cluster.nodes[name].process.send_signal(signal.SIGUSR2)  # type: ignore[union-attr]
        for name, count in counts.items():
            self._cluster.wait_for(lambda n=name, c=count: len(self._lines(n)) > c, f"{name} ends its phase", WAIT_S)
        return {name: json.loads(self._lines(name)[-1]) for name in counts}

    def _lines(self, name: str) -> list[str]:
        path = self._scratch / f"turns-{name}"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def _under_writes(self, name: str, work: Callable[[], object]) -> None:
        """Do something while a client writes."""
        writes = Writes(self._cluster.nodes["n1"].port, self._options.keys, lambda key: ["SET", key, b"v" * 128])
        writes.start()
        self._phase(name, work)
        writes.stop()

    def _ask(self, *words: Any) -> Any:
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def _send(self, commands: Iterator[list[Any]]) -> None:
        """Send many commands, ten at a time."""
        waiting: list[list[Any]] = []
        for command in commands:
            waiting.append(command)
            if len(waiting) == 10:
                self._execute(waiting)
                waiting = []
        self._execute(waiting)

    def _execute(self, commands: list[list[Any]]) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            pipeline.execute()

    def _keys(self) -> Iterator[list[Any]]:
        for start in range(0, self._options.keys, PER_COMMAND):
            stop = min(start + PER_COMMAND, self._options.keys)
            yield ["MSET", *(part for key in range(start, stop) for part in (b"key:%d" % key, b"v" * 128))]

    def _members(self) -> Iterator[list[Any]]:
        for name, command in CONTAINERS.items():
            for start in range(0, self._options.members, PER_COMMAND):
                numbers = range(start, min(start + PER_COMMAND, self._options.members))
                if name in {"set", "list"}:
                    yield [command, name, *(b"m%d" % number for number in numbers)]
                elif name == "hash":
                    yield [command, name, *(part for number in numbers for part in (b"m%d" % number, b"v"))]
                else:
                    yield [command, name, *(part for number in numbers for part in (number, b"m%d" % number))]

    def _expiring(self) -> Iterator[list[Any]]:
        """Yield keys that expire at one instant, after all of them have been written."""
        started = time.monotonic()
        self._send(["SET", b"session:%d" % key, b"v"] for key in range(_TRIAL))
        seconds = (time.monotonic() - started) * self._options.expiring / _TRIAL
        at_ms = int(1000 * (time.time() + 10.0 + 2 * seconds))
        for key in range(self._options.expiring):
            yield ["SET", b"session:%d" % key, b"v" * 128, "PXAT", at_ms]

    def _wait_for_expiry(self) -> None:
        """Wait until the last of them is gone, and a little longer."""

        def with_deadline() -> int:
            return int(self._client.info("keyspace").get("db0", {}).get("expires", 0))

        if not with_deadline():
            raise SystemExit("the keys expired before they were all written: the machine is too slow")
        self._cluster.wait_for(lambda: not with_deadline(), "the keys are gone", WAIT_S)
        time.sleep(1.0)

    def _remove(self, *words: str) -> None:
        """Remove something, and give its memory some time to go."""
        self._ask(*words)
        time.sleep(5.0)

    def _join(self) -> None:
        """Give everything to a new node, which answers stale reads meanwhile."""
        cluster = self._cluster
        cluster.grow("n2", joins="n1")
        cluster.start("n2")
        reads = Writes(cluster.nodes["n2"].port, self._options.keys, lambda key: ["GET", key])
        reads._client.execute_command("READONLY")  # type: ignore[no-untyped-call]  # noqa: SLF001  before it starts
        reads.start()
        self._under_writes("a new node gets everything", self._add)
        reads.stop()

    def _add(self) -> None:
        self._ask("RAFTLINE.MEMBER", "ADD", "n2", self._cluster.nodes["n2"].address)

        def votes() -> bool:
            info = self._cluster.info("n1")
            return info is not None and any(member.node_id == "n2" and member.voter for member in info.members)

        self._cluster.wait_for(votes, "the new node votes", WAIT_S)
        self._cluster.wait_for(self._are_level, "the new node has restored everything", WAIT_S)

    def _are_level(self) -> bool:
        """Say whether the new node holds what the first one does, but for what is being written."""
        infos = self._cluster.infos()
        return len(infos) > 1 and infos["n2"].applied_index + LAG_MAX >= infos["n1"].applied_index


if __name__ == "__main__":
    sys.exit(main())
