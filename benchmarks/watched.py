"""Runs a server with a tick in its event loop that notes how late it came: `watched OUT SECONDS COMMAND...`.

The tick is due every millisecond. Between two ticks the loop used some time by the clock, and some CPU of its own
thread: what the clock shows and the CPU does not is the machine, or another thread of the process, not the loop's work.
Every second the longest so far are written to OUT.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

__all__ = ["Ticks", "main"]

_TICK_S = 0.001
_WRITE_S = 1.0


class Ticks:
    """The longest intervals between two ticks, beyond the one that was asked for."""

    def __init__(self, out: Path, skip_s: float) -> None:
        """Notes nothing in the first `skip_s` seconds: a server that starts serves nobody yet."""
        self._out = out
        self._skip_s = skip_s
        self._began = time.perf_counter()
        self._at, self._cpu_s = self._began, time.thread_time()
        self._written_at = 0.0
        self.by_clock_ms = [0] * 2000
        self.by_cpu_ms = [0] * 2000
        self.longest: list[tuple[float, float, float]] = []
        """Seconds since the start, milliseconds by the clock, and milliseconds of CPU, of all above 5 ms of CPU."""

    def tick(self) -> None:
        """Note the interval that ends now."""
        now, cpu_s = time.perf_counter(), time.thread_time()
        if now - self._began >= self._skip_s:
            clock_ms = 1000 * max(0.0, now - self._at - _TICK_S)
            used_ms = 1000 * (cpu_s - self._cpu_s)
            self.by_clock_ms[min(int(clock_ms), 1999)] += 1
            self.by_cpu_ms[min(int(used_ms), 1999)] += 1
            if used_ms > 5 and len(self.longest) < 10_000:
                self.longest.append((round(now - self._began, 3), round(clock_ms, 2), round(used_ms, 2)))
        if now - self._written_at > _WRITE_S:
            self._written_at = now
            self.write()
            now, cpu_s = time.perf_counter(), time.thread_time()  # the writing is not the server's
        self._at, self._cpu_s = now, cpu_s

    def write(self) -> None:
        """Let a reader see what is known; half a document is never seen."""
        made = self._out.with_suffix(".new")
        made.write_text(
            json.dumps(
                {
                    "ticks": sum(self.by_clock_ms),
                    "clock_ms_max": _highest(self.by_clock_ms),
                    "cpu_ms_max": max((used for _, _, used in self.longest), default=float(_highest(self.by_cpu_ms))),
                    "clock_above_10_ms": sum(self.by_clock_ms[10:]),
                    "cpu_above_10_ms": sum(self.by_cpu_ms[10:]),
                    "longest": sorted(self.longest, key=lambda each: -each[2])[:20],
                }
            ),
            encoding="utf-8",
        )
        made.replace(self._out)


def _highest(counts: list[int]) -> int:
    """Return the highest value that was counted, 0 if there is none."""
    return max((value for value, count in enumerate(counts) if count), default=0)


def main() -> None:
    """Patch the loop, then be the server whose command line follows."""
    out, skip_s, *command = sys.argv[1:]
    make = uvloop.new_event_loop

    def watched_loop() -> Any:
        loop = make()
        ticks = Ticks(Path(out.replace("%", command[command.index("--id") + 1])), float(skip_s))

        def tick() -> None:
            ticks.tick()
            loop.call_later(_TICK_S, tick)

        loop.call_soon(tick)
        return loop

    uvloop.new_event_loop = watched_loop
    from raftline.cli.main import main as run  # noqa: PLC0415  after the patch

    sys.argv = ["raftline", *command[command.index("server") :]]
    run()


if __name__ == "__main__":
    main()
