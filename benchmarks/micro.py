"""What the parts cost one by one: core, durable log, parser, codec, state machine, simulator, linearizability checker.

    make bench-micro                        # or
    python -m benchmarks.micro [--only wal] [--json FILE]

Instructions of one operation, counted by valgrind where it is installed, and CPU time, the least of several runs. The
durable log is also timed with its fsync, which no CPU does.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cost import Prepare, Work, cpu_costs, has_valgrind, instruction_costs
from rich.console import Console
from rich.table import Table

from raftline.core.entries import Entry
from raftline.core.events import Applied, Persisted, Proposed, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendRequest
from raftline.core.raft import Raft
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.resp.requests import RequestParser
from raftline.linearizability import Operation, Verdict, check, model_named
from raftline.sim.quiet import quiet
from raftline.sim.run import Scenario, run_seed
from raftline.transport.codec import Codec
from raftline.transport.frame import HEADER_BYTES
from raftline.wal.files import OsFiles
from raftline.wal.wal import Wal, Write

__all__ = ["PIECES", "main"]

_VALUE = b"x" * 128
_COMMAND = encode_command([b"SET", b"key:000000000001", _VALUE])
_WAL_BATCHES = (1, 16, 64, 256, 1024)
_LEAST_S = 0.3


class Cores:
    """Three cores whose messages arrive at once and whose disks need no time."""

    def __init__(self) -> None:
        names = ("n1", "n2", "n3")
        membership = Membership.of({name: f"127.0.0.1:{7001 + place}" for place, name in enumerate(names)})
        self._cores = {name: Raft(name, membership, random=random.Random(1), now=0.0) for name in names}
        self._now = 100.0
        self.steps = 0
        self._step("n1", TimerDue())
        self._settle()
        assert self._cores["n1"].is_leader, "nobody objects"

    def propose(self, commands: tuple[bytes, ...]) -> None:
        """Append, replicate, commit and apply."""
        self._now += 0.001
        self._step("n1", Proposed(commands))
        self._settle()

    def _step(self, name: str, event: Received | TimerDue | Proposed | Persisted | Applied) -> None:
        self.steps += 1
        self._cores[name].step(event, self._now)

    def _settle(self) -> None:
        """Carry out what is ready until nothing is."""
        busy = True
        while busy:
            busy = False
            for name, core in self._cores.items():
                ready = core.take_ready()
                if ready is None:
                    continue
                busy = True
                for outgoing in ready.messages:
                    self._step(outgoing.to, Received(name, outgoing.message))
                if ready.must_persist:
                    self._step(name, Persisted(ready.number))
                for outgoing in ready.messages_after_persist:
                    self._step(outgoing.to, Received(name, outgoing.message))
                if ready.committed:
                    self._step(name, Applied(ready.committed[-1].index))


def _core_steps(batch: int) -> Prepare:
    def prepare(_directory: Path) -> tuple[Work, int]:
        cores = Cores()
        commands = (_COMMAND,) * batch

        def work() -> None:
            for _ in range(200):
                cores.propose(commands)

        before = cores.steps
        work()
        return work, cores.steps - before

    return prepare


def _entries(first: int, count: int) -> tuple[Entry, ...]:
    return tuple(Entry(index, 1, _COMMAND, 0, 1) for index in range(first, first + count))


def _wal_appends(batch: int, batches: int) -> Prepare:
    def prepare(directory: Path) -> tuple[Work, int]:
        wal = Wal.open(OsFiles(), str(directory), cluster_id="bench", node_id="n1")
        end = 0

        def work() -> None:
            nonlocal end
            for _ in range(batches):
                wal.append([Write(0, _entries(end + 1, batch))])
                end += batch

        return work, batches * batch

    return prepare


def _resp(words: list[bytes], burst: int) -> Prepare:
    def prepare(_directory: Path) -> tuple[Work, int]:
        parser = RequestParser(Limits())
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        data = request * burst

        def work() -> None:
            for _ in range(2000 // burst):
                assert len(parser.feed(data)) == burst

        return work, 2000 // burst * burst

    return prepare


def _codec(what: str) -> Prepare:
    def prepare(_directory: Path) -> tuple[Work, int]:
        codec = Codec()
        messages = [AppendRequest(1, 100, 1, _entries(101, 64), 100, round_) for round_ in range(50)]
        frames = [memoryview(bytes(codec.frame_of(0, message)))[HEADER_BYTES:] for message in messages]

        def work() -> None:
            if what == "encode":
                for message in messages:
                    codec.frame_of(0, message)
            else:
                for frame in frames:
                    codec.decode_accepted(frame)

        return work, 50 * 64

    return prepare


def _apply(_directory: Path) -> tuple[Work, int]:
    machine = KvMachine()
    commands = [encode_command([b"SET", b"key:%012d" % number, _VALUE]) for number in range(2000)]

    def work() -> None:
        for index, command in enumerate(commands):
            machine.apply(command, index, 1)

    return work, len(commands)


def _simulate(_directory: Path) -> tuple[Work, int]:
    scenario = Scenario(safety_s=1.0, heal_s=4.0)

    def work() -> None:
        with quiet():
            assert run_seed(1, scenario).error is None

    with quiet():
        return work, run_seed(1, scenario).events


def _history(operations: int, clients: int) -> list[Operation]:
    """Return a linearizable history of a register: overlapping operations that take effect in the middle."""
    draw = random.Random(1)
    value: int | None = None
    found = []
    for number in range(operations):
        at = number + 1.0
        spread = draw.uniform(0.1, clients / 2)
        kind = draw.choice(("read", "write"))
        given = number if kind == "write" else None
        if kind == "write":
            value = number
        shown = None if kind == "write" else value
        found.append(Operation(number % clients, kind, given, shown, at - spread, at + spread))
    return found


def _check(_directory: Path) -> tuple[Work, int]:
    history, model = _history(1000, 10), model_named("register")

    def work() -> None:
        assert check(history, model).verdict is Verdict.YES

    return work, len(history)


PIECES: dict[str, Prepare] = {
    "core: step, 1 command a batch": _core_steps(1),
    "core: step, 64 commands a batch": _core_steps(64),
    **{f"wal: append, batch of {batch}": _wal_appends(batch, max(2, 512 // batch)) for batch in _WAL_BATCHES},
    "resp: parse SET of 128 bytes": _resp([b"SET", b"key:000000000001", _VALUE], 1),
    "resp: parse SET of 4 KiB": _resp([b"SET", b"key:000000000001", b"x" * 4096], 1),
    "resp: parse SET, 16 at once": _resp([b"SET", b"key:000000000001", _VALUE], 16),
    "resp: parse GET": _resp([b"GET", b"key:000000000001"], 1),
    "codec: encode an entry, 64 a message": _codec("encode"),
    "codec: decode an entry, 64 a message": _codec("decode"),
    "apply: SET of 128 bytes": _apply,
    "simulator: event": _simulate,
    "checker: operation of a register, 10 clients": _check,
}


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", action="append", help="(part of) a name; may be repeated [all]")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    names = [name for name in PIECES if not options.only or any(part in name for part in options.only)]
    if not names:
        parser.error(f"none of {', '.join(PIECES)} is like that")
    costs = cpu_costs({name: PIECES[name] for name in names})
    counts = instruction_costs("benchmarks.micro", names) if has_valgrind() else {}
    synced = wal_rates() if any(name.startswith("wal") for name in names) else {}
    rows = {
        name: {
            "instructions": round(counts[name].per_operation) if name in counts else None,
            "cpu_us": 1e6 * cost.per_operation,
            "per_cpu_second": 1 / cost.per_operation,
        }
        for name, cost in costs.items()
    }
    _print(rows, synced)
    if options.json:
        options.json.write_text(json.dumps({"pieces": rows, "wal_synced": synced}, indent=1) + "\n", encoding="utf-8")
    return 0


def wal_rates() -> dict[str, dict[str, float]]:
    """Return batches and entries per second of real time, fsync included, by batch size."""
    rates = {}
    for batch in _WAL_BATCHES:
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory:
            work, operations = _wal_appends(batch, 20)(Path(directory))
            work()
            done, began = 0, time.perf_counter()
            while (took := time.perf_counter() - began) < _LEAST_S:
                work()
                done += operations
        rates[str(batch)] = {"batches_per_second": done / batch / took, "entries_per_second": done / took}
    return rates


def _print(rows: dict[str, dict[str, float | None]], synced: dict[str, dict[str, float]]) -> None:
    table = Table("operation", title="one operation")
    for title in ("instructions", "CPU time, µs", "per second of CPU"):
        table.add_column(title, justify="right")
    for name, row in rows.items():
        instructions = "–" if row["instructions"] is None else f"{row['instructions']:,}"
        table.add_row(name, instructions, f"{row['cpu_us']:.2f}", f"{row['per_cpu_second']:,.0f}")
    Console().print(table)
    if synced:
        table = Table("entries in a batch", title="the durable log, with its fsync, by the clock")
        for title in ("batches/s", "entries/s"):
            table.add_column(title, justify="right")
        for batch, rate in synced.items():
            table.add_row(batch, f"{rate['batches_per_second']:,.0f}", f"{rate['entries_per_second']:,.0f}")
        Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
