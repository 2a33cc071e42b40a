"""What a figure was measured on: processors, memory, disk, versions, and what else ran at the time."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["describe", "first_line", "load_now"]

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
    """Return the load averages; 0 in all of them is a quiet machine before anything was started."""
    return dict(zip(("1 min", "5 min", "15 min"), (round(each, 2) for each in os.getloadavg()), strict=True))


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
