"""What a figure was measured on: processors, memory, disk, versions, and what else ran at the time."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["describe", "disturbance", "first_line", "load_now"]

_BUSY_PERCENT_MAX = 10
_PACKAGES = ("msgspec", "uvloop", "hiredis", "google-crc32c")


def describe(directory: Path | None = None) -> dict[str, Any]:
    """Return what there is to know of this machine; `directory` is where the logs will be."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(directory or Path.cwd()),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "raftline": version("raftline"),
        "commit": first_line("git", "rev-parse", "--short", "HEAD"),
    }


def load_now() -> dict[str, float]:
    """Return how busy the processors are in the second that follows, in percent, and the load averages."""
    before = _processor_times()
    time.sleep(1.0)
    used, passed = (after - then for after, then in zip(_processor_times(), before, strict=True))
    averages = dict(zip(("1 min", "5 min", "15 min"), (round(each, 2) for each in os.getloadavg()), strict=True))
    return {"busy_percent": round(100 * used / max(1, passed)), **averages}


def disturbance(results: Mapping[str, Any]) -> str:
    """Return a warning if something else kept the machine busy before a part was run, else nothing."""
    before = results.get("load_before", {})
    if before.get("busy_percent", 0) <= _BUSY_PERCENT_MAX:
        return ""
    return (
        f"**Disturbed:** the processors were {before['busy_percent']} % busy and the load average was "
        f"{before['1 min']:g} before this part was started. Rates, latencies and times by the clock are those of a "
        "busy machine; CPU time is disturbed less, instructions are not."
    )


def _processor_times() -> tuple[int, int]:
    """Return the ticks that all processors were busy so far, and all ticks."""
    ticks = [int(each) for each in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def first_line(*command: str) -> str:
    """Return the first line that a program prints, empty if there is no such program."""
    if not shutil.which(command[0]):
        return ""
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip().split("\n")[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(directory: Path) -> str:
    """Return type and device of the file system that holds a directory."""
    found = subprocess.run(["df", "--output=fstype,source", directory], capture_output=True, text=True, check=False)
    return " ".join(found.stdout.strip().split("\n")[-1].split())
