"""Every benchmark, one after the other, and what came of it: `make bench`, or `make bench-quick` in a few minutes.

    python -m benchmarks.all [--quick] [--only compare,library] [--page]

Each part is a program of its own (`python -m benchmarks.compare --help`) that writes a JSON file; here they are run,
and their figures held against the targets. `--page` writes tables and charts into docs/performance.md; `--only ''` does
that from the files that are there. A target that is missed is no failure of the benchmark: the exit code says whether a
part could not be run.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import disturbance
from benchmarks.page import write_page
from benchmarks.targets import judge
from rich.console import Console
from rich.table import Table

__all__ = ["FULL", "QUICK", "main"]

FULL: dict[str, list[str]] = {
    "limits": ["--seconds", "3"],
    "compare": ["--rounds", "3", "--seconds", "3"],
    "library": ["--rounds", "3", "--seconds", "5"],
    "failover": ["--kills", "20", "--pauses", "0", "--keys", "0"],
    "micro": [],
    "memory": ["--keys", "1000000"],
    "start": ["--entries", "1000000"],
    "sizes": ["--rounds", "3", "--seconds", "3"],
    "pauses": ["--seconds", "600"],
}
"""Part → arguments; about 50 minutes on two quiet cores."""

QUICK: dict[str, list[str]] = {
    "limits": ["--seconds", "1"],
    "compare": ["--quick", "--rounds", "2", "--seconds", "2"],
    "library": ["--rounds", "1", "--seconds", "3"],
    "failover": ["--kills", "5", "--pauses", "0", "--keys", "0"],
    "pauses": ["--seconds", "20", "--snapshot-entries", "50000"],
}
"""What a sceptic has the patience for: about five minutes."""

OUT = Path(".bench") / "results"


def main() -> int:
    """Run the parts, print the targets; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer parts, shorter")
    parser.add_argument("--only", help=f"parts, comma separated, of {', '.join(FULL)}; '' runs none")
    parser.add_argument("--page", action="store_true", help="write the figures into docs/performance.md")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where the JSON files are kept [{OUT}]")
    options = parser.parse_args()
    parts = QUICK if options.quick else FULL
    if options.only is not None:
        wanted = [name.strip() for name in options.only.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in FULL]
        if unknown:
            parser.error(f"there is no part {unknown[0]}: {', '.join(FULL)}")
        parts = {name: parts.get(name, FULL[name]) for name in wanted}
    options.out.mkdir(parents=True, exist_ok=True)
    failed = [name for name, arguments in parts.items() if not run_part(name, arguments, options.out)]
    results = load_results(options.out)
    print_targets(results)
    if options.page:
        write_page(results)
    for name in failed:
        print(f"{name} could not be run, or found something wrong: see above", file=sys.stderr)
    return int(bool(failed))


def run_part(name: str, arguments: list[str], out: Path) -> bool:
    """Run one part; return whether it went well."""
    print(f"\n== {name} {' '.join(arguments)}", flush=True)
    flag = "--out" if name == "failover" else "--json"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments, flag, str(out / f"{name}.json")], check=False
    )
    print(f"== {name} took {time.monotonic() - began:.0f} s", flush=True)
    return done.returncode == 0


def load_results(out: Path) -> dict[str, Any]:
    """Return what every part wrote that was ever run."""
    return {
        name: json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        for name in FULL
        if (out / f"{name}.json").exists()
    }


def print_targets(results: dict[str, Any]) -> None:
    """Print a row for each target."""
    table = Table("what", "target", "measured", "", title="targets")
    styles = {True: "green", False: "red", None: ""}
    for row in judge(results):
        table.add_row(row.what, row.target, row.measured, row.verdict, style=styles[row.met])
    Console().print(table)
    busy = {name: part["load_before"]["busy_percent"] for name, part in results.items() if disturbance(part)}
    if busy:
        print(f"disturbed by what else ran, processors busy before, in percent: {busy}")


if __name__ == "__main__":
    sys.exit(main())
