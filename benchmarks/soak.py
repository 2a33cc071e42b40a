"""Does a real cluster grow? Three servers under load at a fixed number of keys, measured from outside, for minutes.

    python -m benchmarks.soak --minutes 10 [--json]

fsync is on; clients use all kinds of commands, in sessions and without, and come and go; every half minute n2 or n3 is
killed with SIGKILL and started again. n1 lives through it all. Of every process resident memory, open files and threads
are taken from /proc, of every data directory files and bytes, of every node what INFO says. The last third of the time
is compared with the third after the warm-up. Exit code 1 if anything is over a tenth higher, if clients were refused
what is right, or if the nodes do not end with the same data.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import redis
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from raftline import Client
from raftline.cli.local_cluster import ClusterTrouble, LocalCluster, LocalNode
from raftline.client.errors import CommandFailed
from raftline.sim.level_words import LevelWords
from raftline.sim.levels import Levels, Windows

__all__ = ["main"]

CLIENTS = 6
KEYS = 200
PER_CLIENT_S = 25.0
COMMANDS_PER_CONNECTION = 300
SAMPLE_S = 2.0
SETTINGS = {
    "snapshot_log_entries": 3000,
    "keep_log_entries": 500,
    "segment_bytes": 1 << 20,
    "log_memory_bytes": 256 << 10,
}
"""As many snapshots in minutes as usual settings give in hours."""
INFO = ("sessions", "session_reply_bytes", "log_bytes", "log_memory_bytes", "pending_requests")
MIB = 1 << 20
ALLOWED = {
    "resident bytes": 8 * MIB,
    "directory bytes": 3 * MIB,
    "log bytes": 200_000,
    "log memory bytes": 100_000,
    "used memory bytes": 200_000,
    "session reply bytes": 20_000,
    "files": 4,
    "open files": 12,
    "threads": 2,
    "sessions": 12,
    "keys": 60,
    "pending requests": 40,
    "clients": 12,
}
"""What may come on top of a tenth."""


def main() -> int:
    """Soak; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long [10]")
    parser.add_argument("--kill-each-s", type=float, default=30.0, help="seconds between two kills; 0: none [30]")
    parser.add_argument("--directory", type=Path, help="where to put the data directories [a temporary directory]")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raftline-soak-", dir=options.directory) as directory:
        found = soak(Path(directory), options.minutes, options.kill_each_s)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    return 1 if found["grown"] or found["wrong"] else 0


class Worker(threading.Thread):
    """One client after the other, at a steady rate."""

    def __init__(self, nodes: list[str], number: int) -> None:
        super().__init__(daemon=True)
        self._nodes = nodes
        self.words = LevelWords(random.Random(number), KEYS)
        self.stopping = threading.Event()
        self.answered = self.failed = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            with Client(self._nodes, deadline_s=20.0) as client:
                self._use(client)

    def _use(self, client: Client) -> None:
        """Send some commands; keys that expire are the worker's own."""
        for _ in range(COMMANDS_PER_CONNECTION):
            if self.stopping.wait(random.random() * 2 / PER_CLIENT_S):
                return
            words = [f"{self.name}-{word.decode()}" if word[:1] == b"e" else word for word in self.words.next()]
            try:
                client.execute_command(*words)
                self.answered += 1
            except redis.ResponseError as error:
                self.wrong.append(f"{words[0]!r} was refused: {error}")
            except (CommandFailed, redis.RedisError):
                self.failed += 1


def soak(directory: Path, minutes: float, kill_each_s: float) -> dict[str, object]:
    """Run it all; return what was done and found."""
    levels = Levels(Windows.of(minutes))
    wrong: list[str] = []
    kills = 0
    with LocalCluster(directory, settings=SETTINGS) as cluster:
        cluster.start()
        cluster.wait_for_leader()
        nodes = [f"127.0.0.1:{node.port}" for node in cluster.nodes.values()]
        fill(nodes)
        workers = [Worker(nodes, number) for number in range(CLIENTS)]
        for worker in workers:
            worker.start()
        started = time.monotonic()
        next_kill = started + kill_each_s if kill_each_s else float("inf")
        down: tuple[str, float] | None = None
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("soaking", total=60.0 * minutes)
            while (elapsed_s := time.monotonic() - started) < 60.0 * minutes:
                levels.add(elapsed_s / 60.0, measures_of(cluster))
                progress.update(task, completed=elapsed_s)
                now = time.monotonic()
                if down is not None and now >= down[1]:
                    cluster.start(down[0])
                    down = None
                elif down is None and now >= next_kill:
                    down = (("n2", "n3")[kills % 2], now + kill_each_s / 10)
                    cluster.kill9(down[0])
                    kills += 1
                    next_kill = now + kill_each_s
                time.sleep(SAMPLE_S)
        if down is not None:
            cluster.start(down[0])
        for worker in workers:
            worker.stopping.set()
        for worker in workers:
            worker.join()
            wrong += worker.wrong[:3]
        wrong += differing(cluster)
        snapshots = last_number(cluster, "snapshots_taken")
        entries = last_number(cluster, "applied_index")
    return {
        "minutes": minutes,
        "answered": sum(worker.answered for worker in workers),
        "unanswered": sum(worker.failed for worker in workers),
        "kills": kills,
        "entries": entries,
        "snapshots_of_n1": snapshots,
        "early": levels.early,
        "late": levels.late,
        "grown": [str(growth) for growth in levels.grown(lambda measure: ALLOWED[measure.partition(" ")[2]])],
        "wrong": wrong,
    }


def fill(nodes: list[str]) -> None:
    """Make the keys."""
    with Client(nodes) as client:
        for words in LevelWords(random.Random(0), KEYS).fill():
            client.execute_command(*words)


def measures_of(cluster: LocalCluster) -> dict[str, float]:
    """Return every measure of every node that runs."""
    values: dict[str, float] = {}
    for name, node in cluster.nodes.items():
        if node.running:
            values |= {f"{name} {measure}": value for measure, value in process_measures(node).items()}
            info = cluster.info(name)
            if info is not None:
                values |= {f"{name} {field.replace('_', ' ')}": float(info.fields[field]) for field in INFO}
                values |= {f"{name} {measure}": value for measure, value in store_measures(cluster, name).items()}
    return values


def process_measures(node: LocalNode) -> dict[str, float]:
    """Return what the system knows of a node."""
    proc = Path(f"/proc/{node.pid}")
    sizes: list[int] = []
    try:
        status = dict(line.split(":", 1) for line in (proc / "status").read_text(encoding="ascii").splitlines())
        open_files = len(list((proc / "fd").iterdir()))
        for path in node.data_dir.rglob("*"):
            try:
                sizes.append(path.stat().st_blocks * 512)
            except FileNotFoundError:
                continue
    except FileNotFoundError:
        return {}
    return {
        "resident bytes": 1024.0 * int(status["VmRSS"].split()[0]),
        "threads": float(status["Threads"]),
        "open files": float(open_files),
        "files": float(len(sizes)),
        "directory bytes": float(sum(sizes)),
    }


def store_measures(cluster: LocalCluster, name: str) -> dict[str, float]:
    """Return what a node says of its data and its clients; nothing if it does not answer."""
    try:
        with cluster.client(name, timeout_s=2.0, decode_responses=True) as client:
            info = client.info("memory", "clients", "keyspace")
    except redis.RedisError:
        return {}
    return {
        "keys": float(info.get("db0", {}).get("keys", 0)),
        "used memory bytes": float(info["used_memory"]),
        "clients": float(info["connected_clients"]),
    }


def differing(cluster: LocalCluster) -> list[str]:
    """Return what is wrong with the end: nodes that do not come level, or hold other data."""
    try:
        infos = cluster.wait_until_level(60.0)
    except ClusterTrouble as trouble:
        return [str(trouble).partition("\n")[0]]
    digests = {name: info.digest for name, info in infos.items()}
    return [] if len(set(digests.values())) == 1 else [f"the nodes hold different data: {digests}"]


def last_number(cluster: LocalCluster, field: str) -> int:
    """Return a field of n1's INFO, 0 if it does not answer."""
    info = cluster.info("n1", timeout_s=5.0)
    return int(info.fields[field]) if info is not None else 0


def show(found: dict[str, object]) -> None:
    """Print the highest values of both windows, and the verdict."""
    console = Console()
    table = Table(title="highest values: after the warm-up, and at the end")
    for column in ("measure", "after the warm-up", "at the end", "growth"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    early, late = found["early"], found["late"]
    assert isinstance(early, dict)
    assert isinstance(late, dict)
    for measure in sorted(late):
        before, after = early.get(measure, 0.0), late[measure]
        table.add_row(measure, f"{before:,.0f}", f"{after:,.0f}", f"{after / before - 1:+.1%}" if before else "")
    console.print(table)
    console.print(
        f"{found['minutes']:g} minutes, {found['answered']:,} commands answered, {found['unanswered']} not, "
        f"{found['entries']:,} entries, {found['kills']} kills, {found['snapshots_of_n1']} snapshots of n1",
        highlight=False,
    )
    for name, colour in (("grown", "red"), ("wrong", "red")):
        lines = found[name]
        assert isinstance(lines, list)
        for line in lines:
            console.print(line, style=colour, highlight=False)
    if not found["grown"] and not found["wrong"]:
        console.print("nothing grows", style="green")


if __name__ == "__main__":
    sys.exit(main())
