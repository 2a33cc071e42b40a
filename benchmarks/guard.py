"""Has the way of a command become dearer? Compares it with a fixed loop of plain Python, counted in the same run.

    make bench-guard                        # or
    python -m benchmarks.guard [--update] [--runs 10]

Instructions of one SET and one GET on all three nodes together, divided by those of one step of the fixed loop: such a
ratio depends on the code and on the interpreter, hardly on the machine. `baseline.json` holds the ratios for each
version of Python. Exit code 1 if one is more than 3 % above its baseline, or 10 % above that of another Python 3.x.y of
the same x. Without valgrind nothing is judged: CPU time differs by half from run to run on a busy machine.
"""

import argparse
import functools
import json
import platform
import statistics
import sys
from pathlib import Path

from benchmarks.cost import Cost, Prepare, Work, has_valgrind, instruction_costs
from benchmarks.library_path import LibraryPath
from benchmarks.path import Path3

__all__ = ["PIECES", "judge", "main", "ratios"]

BASELINE = Path(__file__).parent / "baseline.json"
MARGIN = 0.03
MARGIN_OF_ANOTHER_BUILD = 0.10
_CALIBRATION = "fixed loop"
_WORDS, _ROUNDS = 500, 100


class Counter:
    """What the fixed loop calls. It makes no object that is gone at once.

    Where such a one lies depends on all that was made before: where each is the last of its pool, taking and giving it
    back cost 5 % more instructions than a word to the right or left.
    """

    __slots__ = ("seen", "total")

    def __init__(self) -> None:
        self.total = 0
        self.seen: dict[bytes, int] = {}

    def add(self, word: bytes) -> None:
        """Count a word; all numbers are small, so that they are there already."""
        self.total = (self.total ^ len(word)) & 127
        self.seen[word] = self.seen.get(word, 0) + 1 & 127


def walk(counter: Counter, words: list[bytes], rounds: int) -> None:
    """Let a counter count some words again and again."""
    for _ in range(rounds):
        for word in words:
            counter.add(word)


def _fixed_loop(_directory: Path) -> tuple[Work, int]:
    """Work of the kind that an interpreter does for us: calls, attributes, small dicts and bytes."""
    words = [b"word %d" % number for number in range(_WORDS)]

    def work() -> None:
        counter = Counter()
        walk(counter, words, _ROUNDS)
        assert set(counter.seen.values()) == {_ROUNDS & 127}

    return work, _WORDS * _ROUNDS


@functools.cache
def _shared_path(directory: Path, groups: int, value_bytes: int) -> Path3:
    """Return the nodes that all pieces use; each measurement works on its own copy of the process, or after another."""
    return Path3(directory, groups=groups, value_bytes=value_bytes)


def _path(kind: str, clients: int, pipeline: int, commands: int, groups: int = 0, value_bytes: int = 128) -> Prepare:
    def prepare(directory: Path) -> tuple[Work, int]:
        path = _shared_path(directory.parent / f"path of {groups} groups, {value_bytes}", groups, value_bytes)
        run = path.run_sets if kind == "SET" else path.run_gets
        return lambda: run(commands, clients=clients, pipeline=pipeline), commands

    return prepare


def _calls(in_flight: int, calls: int) -> Prepare:
    def prepare(directory: Path) -> tuple[Work, int]:
        path = LibraryPath(directory)
        path.run(in_flight, in_flight=in_flight)
        return lambda: path.run(calls, in_flight=in_flight), calls

    return prepare


PIECES: dict[str, Prepare] = {
    _CALIBRATION: _fixed_loop,
    "SET, 1 client": _path("SET", 1, 1, 100),
    "SET, 64 clients": _path("SET", 64, 1, 1280),
    "SET, 64 clients, pipeline 16": _path("SET", 64, 16, 4096),
    "SET 4 KiB, 64 clients": _path("SET", 64, 1, 1280, value_bytes=4096),
    "GET, 64 clients": _path("GET", 64, 1, 2560),
    "SET, 64 clients, pipeline 16, 8 groups": _path("SET", 64, 16, 4096, groups=8),
    "node.propose, 1,000 in flight": _calls(1000, 5000),
}


def main() -> int:
    """Measure, compare, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--update", action="store_true", help="make what was measured the new baseline")
    parser.add_argument("--runs", type=int, default=1, help="measure so often and show the spread [1]")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    if not has_valgrind():
        print("nothing was judged: instructions are counted by valgrind (apt-get install valgrind)", file=sys.stderr)
        return 0
    runs = [ratios(instruction_costs("benchmarks.guard", list(PIECES))) for _ in range(options.runs)]
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    if options.runs > 1:
        for name, median in found.items():
            low, high = (bound(run[name] for run in runs) for bound in (min, max))
            print(f"{name}: {low:.2f} to {high:.2f} in {options.runs} runs, {100 * (high - low) / median:.2f} %")
    known = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
    version = platform.python_version()
    if options.update:
        known[version] = {name: round(ratio, 2) for name, ratio in found.items()}
        BASELINE.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{BASELINE.name}: Python {version} written")
        return 0
    of, baseline = find_baseline(known, version)
    margin = MARGIN if of == version else MARGIN_OF_ANOTHER_BUILD
    lines, worse = judge(found, baseline, margin)
    print(
        f"instructions of one command on three nodes, in steps of the fixed loop (Python {version}, baseline of {of})"
    )
    print("\n".join(lines))
    return int(worse)


def ratios(costs: dict[str, Cost]) -> dict[str, float]:
    """Return each piece's cost in steps of the fixed loop."""
    step = costs[_CALIBRATION].per_operation
    return {name: cost.per_operation / step for name, cost in costs.items() if name != _CALIBRATION}


def find_baseline(known: dict[str, dict[str, float]], version: str) -> tuple[str, dict[str, float]]:
    """Return the version and the ratios to compare with: this one's, else those of the latest of the same minor one."""
    if version in known:
        return version, known[version]
    minor = version.rpartition(".")[0]
    alike = [other for other in known if other.rpartition(".")[0] == minor]
    found = max(alike, key=lambda other: int(other.rpartition(".")[2]), default="none")
    return found, known.get(found, {})


def judge(found: dict[str, float], baseline: dict[str, float], margin: float) -> tuple[list[str], bool]:
    """Return a line for each ratio, and whether any is worse than its baseline by more than the margin."""
    lines, worse = [], False
    for name, ratio in found.items():
        if name not in baseline:
            lines.append(f"{name}: {ratio:.2f}; there is no baseline for this interpreter (--update makes one)")
            continue
        change = ratio / baseline[name] - 1
        verdict = "WORSE" if change > margin else "ok" if change > -margin else "better: --update the baseline"
        worse |= change > margin
        lines.append(f"{name}: {ratio:.2f}, baseline {baseline[name]:.2f}, {100 * change:+.1f} % ({verdict})")
    return lines, worse


if __name__ == "__main__":
    sys.exit(main())
