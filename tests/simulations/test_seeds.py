"""Whole clusters under every fault: seeds that found something, and a few more."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from raftline.sim.run import Scenario, run_seed

FOUND_SOMETHING = (0, 2, 3, 7, 9, 126, 129)
"""A vote forgotten after two restarts; frames applied twice; an install during an install. See the log of changes."""

_PROGRAM = (
    "import structlog; structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50));"
    "from raftline.sim.run import Scenario, run_seed;"
    "outcome = run_seed(4, Scenario(safety_s=8.0), keep_trace=True);"
    "print(outcome.trace_digest, outcome.events, outcome.error)"
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("seed", [*FOUND_SOMETHING, *range(1000, 1013)])
def test_a_cluster_keeps_its_promises(seed: int) -> None:
    """Safety after every step, progress after healing, and a history that some order explains."""
    outcome = run_seed(seed)
    assert outcome.error is None, f"{outcome.check}: {outcome.error}; replay: raftline sim --seed {seed} --trace"
    assert outcome.committed > 100
    assert outcome.operations > 100


def test_the_same_seed_gives_the_same_trace_in_any_process() -> None:
    """Byte for byte, whatever the hash seed of the interpreter."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    }
    assert len(digests) == 1, digests
    assert digests.pop().strip().endswith("None")


def test_different_seeds_give_different_runs() -> None:
    """The digest tells runs apart."""
    short = Scenario(safety_s=3.0)
    digests = {run_seed(seed, short, keep_trace=True).trace_digest for seed in (1, 2, 3)}
    assert len(digests) == 3
