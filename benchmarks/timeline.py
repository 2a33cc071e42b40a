"""What processes did while something was measured: CPU, bytes written, and what they waited for, a row per time slice.

Linux only: it reads /proc. CPU counts per thread, so that a node's event loop and its disk threads can be told apart.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Reading", "Timeline", "read_pressure", "read_process"]

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


class Reading(NamedTuple):
    """What a process had used up to a moment."""

    threads_s: tuple[float, ...]
    """CPU seconds of each thread, oldest first: of a node the event loop, the log's thread, the snapshots' thread."""
    written_bytes: int


def read_process(pid: int) -> Reading:
    """Return what a process has used by now; nothing if it is gone."""
    try:
        threads = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name))
        stats = [(path / "stat").read_text().rsplit(")", 1)[1].split() for path in threads]
        io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    except OSError:
        return Reading((), 0)
    return Reading(tuple((int(stat[11]) + int(stat[12])) * _TICK_S for stat in stats), int(io["write_bytes"]))


def read_pressure(what: str) -> float:
    """Return for how many seconds so far some task of the whole machine had to wait for `cpu` or `io`."""
    (some,) = (line for line in Path(f"/proc/pressure/{what}").read_text().splitlines() if line.startswith("some"))
    return int(some.rsplit("=", 1)[1]) / 1e6


class Timeline(threading.Thread):
    """Samples processes every `every_s`; `note()` says in a word what goes on at that moment."""

    def __init__(self, pids: Mapping[str, int], note: Callable[[], str], every_s: float = 0.5) -> None:
        super().__init__(daemon=True)
        self._pids = dict(pids)
        self._note = note
        self._every_s = every_s
        self._stopping = threading.Event()
        self.samples: list[tuple[float, dict[str, Reading], float, float, str]] = []

    def run(self) -> None:
        """Sample until `stop`."""
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            readings = {name: read_process(pid) for name, pid in self._pids.items()}
            pressure = read_pressure("cpu"), read_pressure("io")
            self.samples.append((time.monotonic(), readings, *pressure, self._note()))
            due += self._every_s

    def stop(self) -> None:
        """Watch no longer."""
        self._stopping.set()
        self.join()

    def rows(self, describe: Callable[[float, float], str]) -> list[str]:
        """Return a header and a row for each slice; `describe(start, stop)` says what else was seen in it."""
        names = list(self._pids)
        rows = ["     s  " + "".join(f"{name + ' cpu% w MiB':>24}" for name in names) + "  waits cpu% io%  what"]
        began = self.samples[0][0]
        for (start, before, cpu, io, _), (stop, after, cpu_then, io_then, note) in zip(
            self.samples, self.samples[1:], strict=False
        ):
            took = stop - start
            row = f"{start - began:6.1f}  "
            for name in names:
                row += f"{_used(before[name], after[name], took):>24}"
            row += f"  {100 * (cpu_then - cpu) / took:7.0f} {100 * (io_then - io) / took:5.0f}"
            rows.append(f"{row}  {note:<18} {describe(start, stop)}")
        return rows


def _used(before: Reading, after: Reading, took: float) -> str:
    """Say how much CPU each thread took, in per cent, and how much was written, in MiB."""
    earlier = before.threads_s + (0.0,) * len(after.threads_s)
    cpu = [100 * (now - then) / took for now, then in zip(after.threads_s, earlier, strict=False)]
    return "/".join(f"{part:.0f}" for part in cpu[:4]) + f" {(after.written_bytes - before.written_bytes) / MIB:5.1f}"
