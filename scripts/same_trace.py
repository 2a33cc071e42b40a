"""Runs the same seeds on every Python there is and compares their traces, byte for byte: `make same-trace`.

Each interpreter gets a virtual environment of its own in a temporary directory, with what raftline needs to run, and
runs the seeds under two hash seeds. Exit code 0 if all traces are equal, 1 if not; 2 if there is nothing to compare.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
PROGRAM = """
import sys
from raftline.sim.quiet import quiet
from raftline.sim.run import Scenario, run_seed
with quiet():
    for seed in map(int, sys.argv[1:]):
        outcome = run_seed(seed, Scenario(safety_s=15.0), keep_trace=True)
        print(seed, outcome.trace_digest, outcome.events, outcome.operations, outcome.error)
"""


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says."""
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)  # noqa: S603  our own


def must_run(*command: str) -> None:
    """Run a command that has to succeed."""
    done = run(*command)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")


def find_pythons() -> list[str]:
    """Return the interpreters on PATH and those that pyenv keeps, one of each version."""
    candidates = [path for name in PYTHONS if (path := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for name in PYTHONS for path in sorted(pyenv.glob(f"*/bin/{name}"))]
    found: dict[str, str] = {}
    for path in [sys.executable, *candidates]:
        ask = run(path, "-c", "import sys; print(sys.version)")
        if ask.returncode == 0:
            found.setdefault(ask.stdout.split()[0], path)
    return [found[version] for version in sorted(found)]


def make_environment(python: str, directory: Path) -> str:
    """Make a virtual environment with raftline's dependencies; return its interpreter."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    must_run(python, "-m", "venv", str(directory))
    made = str(directory / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    must_run(made, "-m", "pip", "install", *quiet, *dependencies)
    return made


def traces(python: str, hash_seed: str, seeds: list[str]) -> str:
    """Return a line for each seed: digest of the trace, events, operations."""
    done = run(python, "-c", PROGRAM, *seeds, PYTHONPATH=str(ROOT / "src"), PYTHONHASHSEED=hash_seed)
    return done.stdout if done.returncode == 0 else f"failed: {done.stderr.strip().splitlines()[-1]}\n"


def main() -> int:
    """Compare, and print who says what."""
    parser = argparse.ArgumentParser(description="the same seeds, the same traces, on every Python")
    parser.add_argument("--python", action="append", help="an interpreter; default: all that are found")
    parser.add_argument("seeds", nargs="*", default=["1", "2", "3", "4", "5", "6"])
    arguments = parser.parse_args()
    pythons = arguments.python or find_pythons()
    said: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="same-trace-") as directory:
        for number, python in enumerate(pythons):
            made = make_environment(python, Path(directory) / str(number))
            for hash_seed in ("0", "4711"):
                lines = traces(made, hash_seed, arguments.seeds)
                said.setdefault(lines, []).append(f"{python}, hash seed {hash_seed}")
    for lines, who in said.items():
        print("\n".join(who), lines, sep="\n")
    if len(pythons) < 2:
        print("only one Python was found: give others with --python", file=sys.stderr)
        return 2
    equal = len(said) == 1 and not any(lines.startswith("failed") for lines in said)
    print(f"{len(pythons)} Pythons, {len(arguments.seeds)} seeds: {'all traces are equal' if equal else 'DIFFERENT'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
