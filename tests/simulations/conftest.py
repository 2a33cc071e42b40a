"""The seeds of the day, in batches, so that processes can share the work."""

import datetime as dt
import os
from collections.abc import Callable

import pytest

from raftline.sim.quiet import quiet
from raftline.sim.run import Scenario, run_seed

__all__ = ["run_fresh"]

PER_BATCH = 10
SCENARIO = Scenario(safety_s=6.0)


@pytest.fixture
def run_fresh() -> Callable[[int], None]:
    """Return what runs one batch of the seeds of the day; `FRESH_SEEDS_FROM=N` repeats a certain day's."""
    today = dt.datetime.now(tz=dt.UTC).date().toordinal()
    first = int(os.environ.get("FRESH_SEEDS_FROM", today * 1000))

    def run(batch: int) -> None:
        for seed in range(first + batch * PER_BATCH, first + (batch + 1) * PER_BATCH):
            with quiet():
                outcome = run_seed(seed, SCENARIO)
            replay = f"raftline sim --seed {seed} --safety-s {SCENARIO.safety_s:g} --trace"
            assert outcome.error is None, f"{outcome.check}: {outcome.error}; replay: {replay}"

    return run
