"""Runs a server that notes how long its event loop is held, phase by phase: `turns OUT COMMAND...`.

A tick is due every millisecond. Between two ticks the loop used some time by the clock and some CPU of its own thread;
what the clock shows and the CPU does not is the machine, or another thread. Each SIGUSR2 ends a phase: its figures are
written to OUT, one line of JSON per phase. Garbage collections are counted and timed apart.
"""

import gc
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop

__all__ = ["Turns", "main"]

_TICK_S = 0.001
_MS = 1000.0


class Turns:
    """The intervals between ticks, beyond the one that was asked for, in tenths of a millisecond."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._at, self._cpu_s = time.perf_counter(), time.thread_time()
        self._gc_cpu_s = 0.0
        self._clear()
        gc.callbacks.append(self._on_gc)

    def _clear(self) -> None:
        self.clock: Counter[int] = Counter()
        self.cpu: Counter[int] = Counter()
        self.gc_ms_max = [0.0, 0.0, 0.0]
        self.gc_counts = [0, 0, 0]

    def tick(self) -> None:
        """Note the interval that ends now."""
        now, cpu_s = time.perf_counter(), time.thread_time()
        self.clock[int(10 * _MS * max(0.0, now - self._at - _TICK_S))] += 1
        self.cpu[int(10 * _MS * (cpu_s - self._cpu_s))] += 1
        self._at, self._cpu_s = now, cpu_s

    def end_phase(self) -> None:
        """Write what this phase showed, and begin the next."""
        self.tick()
        found = {
            "ticks": sum(self.cpu.values()),
            "cpu_ms_max": max(self.cpu) / 10,
            "cpu_ms_p999": _percentile(self.cpu, 0.999),
            "clock_ms_max": max(self.clock) / 10,
            "clock_ms_p999": _percentile(self.clock, 0.999),
            "cpu_above_10_ms": sum(count for tenths, count in self.cpu.items() if tenths >= 100),
            "gc_counts": self.gc_counts,
            "gc_ms_max": [round(longest, 2) for longest in self.gc_ms_max],
        }
        with self._out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(found) + "\n")
        self._clear()
        self._at, self._cpu_s = time.perf_counter(), time.thread_time()

    def _on_gc(self, when: str, info: dict[str, int]) -> None:
        if when == "start":
            self._gc_cpu_s = time.thread_time()
            return
        generation = info["generation"]
        self.gc_counts[generation] += 1
        took_ms = _MS * (time.thread_time() - self._gc_cpu_s)
        self.gc_ms_max[generation] = max(self.gc_ms_max[generation], took_ms)


def _percentile(counts: Counter[int], part: float) -> float:
    """Return the value in milliseconds that so much of all is not above."""
    left = part * sum(counts.values())
    for tenths in sorted(counts):
        left -= counts[tenths]
        if left <= 0:
            return tenths / 10
    return 0.0


def main() -> None:
    """Patch the loop, then be the server whose command line follows."""
    out, *command = sys.argv[1:]
    make = uvloop.new_event_loop

    def watched_loop() -> Any:
        loop = make()
        turns = Turns(Path(out.replace("%", command[command.index("--id") + 1])))
        loop.add_signal_handler(signal.SIGUSR2, turns.end_phase)

        def tick() -> None:
            turns.tick()
            loop.call_later(_TICK_S, tick)

        loop.call_soon(tick)
        return loop

    uvloop.new_event_loop = watched_loop
    from raftline.cli.main import main as run  # noqa: PLC0415  after the patch

    sys.argv = ["raftline", *command[command.index("server") :]]
    run()


if __name__ == "__main__":
    main()
