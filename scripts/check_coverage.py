"""Fail unless each folder that guards data is covered: `check_coverage.py coverage.json PERCENT FOLDER...`.

Reads coverage's JSON report and sums the lines of each folder under src/raftline; a folder without any measured line
fails too, because then nothing was proven.
"""

import json
import sys
from pathlib import Path

__all__ = ["folder_percent", "main"]


def folder_percent(report: dict[str, dict[str, dict[str, dict[str, int]]]], folder: str) -> float:
    """Return the share of lines run in `folder`, in percent; 0 if there are none."""
    part = f"/raftline/{folder}/"
    summaries = [file["summary"] for path, file in report["files"].items() if part in f"/{path}"]
    lines = sum(summary["num_statements"] for summary in summaries)
    return 100.0 * sum(summary["covered_lines"] for summary in summaries) / lines if lines else 0.0


def main(arguments: list[str]) -> int:
    """Print one line per folder; return 1 if one of them is below the bound."""
    path, bound, *folders = arguments
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    failed = False
    for folder in folders:
        percent = folder_percent(report, folder)
        low = percent < float(bound)
        failed |= low
        print(f"coverage of {folder}/: {percent:.1f} % of lines{f', below {bound} %' if low else ''}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
