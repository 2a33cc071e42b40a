"""One seed, one trace, byte for byte: in this process again, in others, under any hash seed, on any Python.

`make same-trace` does this for every Python of the machine, each in an environment of its own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raftline
from raftline.sim.quiet import quiet
from raftline.sim.run import Scenario, run_seed

SEED = 4
SCENARIO = Scenario(safety_s=4.0)
OTHERS = [name for name in ("python3.11", "python3.12", "python3.13", "python3.14") if shutil.which(name)]
NEEDED = "msgspec, hiredis, structlog, google_crc32c, typer, rich"

_PROGRAM = f"""
from raftline.sim.quiet import quiet
from raftline.sim.run import Scenario, run_seed
with quiet():
    outcome = run_seed({SEED}, Scenario(safety_s={SCENARIO.safety_s}), keep_trace=True)
print(outcome.trace_digest, outcome.events, outcome.operations, outcome.error)
"""


def here() -> str:
    """Return what a run comes to in this process."""
    with quiet():
        outcome = run_seed(SEED, SCENARIO, keep_trace=True)
    return f"{outcome.trace_digest} {outcome.events} {outcome.operations} {outcome.error}"


def elsewhere(python: str, hash_seed: str) -> str:
    """Return what a run comes to in a process of its own."""
    source = str(Path(raftline.__file__).parent.parent)
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": source}
    run = subprocess.run([python, "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_the_same_seed_gives_the_same_trace_again() -> None:
    """Nothing of an earlier run is left in the process."""
    first = here()
    with quiet():
        run_seed(SEED + 1, SCENARIO)
    assert here() == first
    assert first.endswith(" None")


def test_the_same_seed_gives_the_same_trace_in_any_process() -> None:
    """Byte for byte, whatever the hash seed of the interpreter."""
    assert {elsewhere(sys.executable, hash_seed) for hash_seed in ("0", "1", "4711")} == {here()}


@pytest.mark.parametrize("python", OTHERS)
def test_the_same_seed_gives_the_same_trace_on_any_python(python: str) -> None:
    """Neither sets, hashes, floats nor the random module differ where it counts."""
    probe = subprocess.run([python, "-c", f"import {NEEDED}"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"{python} has not installed what raftline needs; `make same-trace` installs it")
    assert elsewhere(python, "7") == here()


def test_keeping_the_trace_changes_nothing() -> None:
    """Whoever looks closer sees the same run."""
    with quiet():
        plain, kept = (run_seed(SEED, SCENARIO, keep_trace=keep) for keep in (False, True))
    assert (plain.events, plain.committed, plain.faults) == (kept.events, kept.committed, kept.faults)


def test_different_seeds_give_different_runs() -> None:
    """The digest tells runs apart."""
    short = Scenario(safety_s=3.0)
    with quiet():
        assert len({run_seed(seed, short, keep_trace=True).trace_digest for seed in (1, 2, 3)}) == 3
