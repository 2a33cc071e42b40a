"""Writes the results of `raftline sim --mutants --json` into the table of docs/mutants.md.

Usage: raftline sim --mutants --json > results.json; python scripts/write_mutants_table.py results.json...
Rows of mutants that were not run stay; rows of mutants that are gone go.
"""

import json
import re
import sys
from pathlib import Path

from raftline.sim.mutants.catalogue import CATALOGUE

__all__ = ["main", "row_of"]

PAGE = Path(__file__).parents[1] / "docs" / "mutants.md"
HEADING = "## Results\n"
COLUMNS = "| mutant | rules | bench | seeds | virtual s | caught by |\n|---|---|---|---:|---:|---|\n"
ROW = re.compile(r"^\| `(\w+)` \|.*$", re.MULTILINE)
SUMS = re.compile(r"\| (\d+) \| ([\d,]+) \| (`|\*\*)")


def main(paths: list[str]) -> None:
    """Update the page from the results in these files."""
    text, _, old = PAGE.read_text(encoding="utf-8").partition(HEADING)
    rows = {match[1]: match[0] for match in ROW.finditer(old)}
    for path in paths:
        for verdict in json.loads(Path(path).read_text(encoding="utf-8"))["mutants"]:
            rows[verdict["mutant"]] = row_of(verdict)
    known = [mutant.name for mutant in CATALOGUE if mutant.name in rows]
    missing = len(CATALOGUE) - len(known)
    sums = [SUMS.search(rows[name]) for name in known]
    caught = sum(found is not None and found[3] == "`" for found in sums)
    seeds = sum(int(found[1]) for found in sums if found)
    hours = sum(int(found[2].replace(",", "")) for found in sums if found) / 3600
    table = COLUMNS + "".join(f"{rows[name]}\n" for name in known)
    intro = (
        "Written by `scripts/write_mutants_table.py` from `raftline sim --mutants --json`, seeds from 0 on. Seeds and\n"
        "virtual seconds are those up to and including the run that was caught.\n\n"
        f"{caught} of {len(known)} were caught, within {seeds:,} runs and {hours:.1f} virtual hours together.\n\n"
    )
    PAGE.write_text(f"{text}{HEADING}\n{intro}{table}", encoding="utf-8")
    print(f"{len(known)} rows, {missing} mutants without one")


def row_of(verdict: dict[str, object]) -> str:
    """Return a mutant's line."""
    check = f"`{verdict['check']}`" if verdict["caught"] else "**not caught**"
    rules = ", ".join(verdict["rules"])  # type: ignore[arg-type]
    seconds = f"{verdict['virtual_s']:,.0f}"
    return f"| `{verdict['mutant']}` | {rules} | {verdict['bench']} | {verdict['seeds']} | {seconds} | {check} |"


if __name__ == "__main__":
    main(sys.argv[1:])
