"""What a piece of work costs: instructions, counted by valgrind where it is installed, else CPU time.

Valgrind runs this interpreter once more and counts what is executed outside the kernel, so that a busy machine changes
nothing. The process prepares everything, runs it once to warm up, and forks for each measurement: what a child executes
beyond an idle child is the work's cost. Without valgrind it is the least CPU time of several runs.
"""

import gc
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cost", "Work", "cpu_costs", "has_valgrind", "instruction_costs", "parse_summary"]

_CPU_RUNS = 7
_SUMMARY = re.compile(r"^summary: (\d+)$", re.MULTILINE)

Work = Callable[[], None]
"""Does what is measured, once; `Prepare` returns it together with how many operations that is."""
Prepare = Callable[[Path], tuple[Work, int]]


class Cost(NamedTuple):
    """What one operation costs."""

    per_operation: float
    """Instructions, or seconds of CPU time."""
    operations: int
    """How many were carried out for one measurement."""


def has_valgrind() -> bool:
    """Say whether instructions can be counted."""
    return shutil.which("valgrind") is not None


def cpu_costs(pieces: Mapping[str, Prepare]) -> dict[str, Cost]:
    """Return the CPU seconds of one operation of each piece: the least of several runs, interleaved."""
    best: dict[str, float] = {}
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as scratch:
        ready = _prepare(pieces, Path(scratch))
        for _ in range(_CPU_RUNS):
            for name, (work, operations) in ready.items():
                began = time.process_time()
                work()
                took = time.process_time() - began
                best[name] = min(best.get(name, took), took)
                counts[name] = operations
    return {name: Cost(took / counts[name], counts[name]) for name, took in best.items()}


def instruction_costs(module: str, names: list[str], attribute: str = "PIECES") -> dict[str, Cost]:
    """Return the instructions of one operation of each named piece of `module.attribute`, a mapping to `Prepare`."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory:
        command = [
            "valgrind", "--quiet", "--tool=cachegrind", "--cache-sim=no",
            f"--cachegrind-out-file={directory}/counts.%p",
            sys.executable, "-m", "benchmarks.cost", module, attribute, directory, *names,
        ]  # fmt: skip
        # The same hashes, and so the same collisions, each time.
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"valgrind failed:\n{done.stderr[-3000:]}")
        children: dict[str, list[int]] = json.loads(done.stdout)
        counted = {
            name: (parse_summary((Path(directory) / f"counts.{pid}").read_text()), operations)
            for name, (pid, operations) in children.items()
        }
    idle, _ = counted.pop("")
    return {name: Cost((count - idle) / operations, operations) for name, (count, operations) in counted.items()}


def parse_summary(text: str) -> int:
    """Return the total of a cachegrind file; raises `ValueError` if it has none."""
    found = _SUMMARY.search(text)
    if found is None:
        raise ValueError("this is no complete output of cachegrind: it has no summary")
    return int(found[1])


def _prepare(pieces: Mapping[str, Prepare], scratch: Path) -> dict[str, tuple[Work, int]]:
    """Make every piece ready and warm."""
    ready = {}
    for number, (name, prepare) in enumerate(pieces.items()):
        directory = scratch / str(number)
        directory.mkdir()
        ready[name] = prepare(directory)
        ready[name][0]()
    gc.collect()
    gc.freeze()
    return ready


def _count(module: str, attribute: str, directory: str, names: list[str]) -> None:
    """Under valgrind: fork for each piece and print who did what."""
    pieces = getattr(importlib.import_module(module), attribute)
    ready: dict[str, tuple[Work, int]] = {"": (lambda: None, 1)}
    ready |= _prepare({name: pieces[name] for name in names}, Path(directory))
    done = {}
    for name, (work, operations) in ready.items():
        pid = os.fork()
        if not pid:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  the parent must not go on with a child's stack
                os.write(2, f"{name}: {error!r}\n".encode())
                os._exit(1)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise SystemExit(f"{name or 'nothing'} failed under valgrind")
        done[name] = [pid, operations]
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    _count(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
