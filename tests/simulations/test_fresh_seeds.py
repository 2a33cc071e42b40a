"""Two hundred seeds that nobody has run before, other ones every day; `FRESH_SEEDS_FROM=N` repeats a certain day's."""

import datetime as dt
import os
from collections.abc import Iterator

import pytest
import structlog

from raftline.sim.run import Scenario, run_seed

BATCHES, PER_BATCH = 20, 10
SCENARIO = Scenario(safety_s=12.0)


def _first() -> int:
    today = dt.datetime.now(tz=dt.UTC).date().toordinal()
    return int(os.environ.get("FRESH_SEEDS_FROM", today * 1000))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_promise_is_broken(batch: int) -> None:
    """Twelve virtual seconds of faults, then healing, and every check, on seeds of the day."""
    first = _first() + batch * PER_BATCH
    for seed in range(first, first + PER_BATCH):
        outcome = run_seed(seed, SCENARIO)
        replay = f"raftline sim --seed {seed} --safety-s {SCENARIO.safety_s:g} --trace"
        assert outcome.error is None, f"{outcome.check}: {outcome.error}; replay: {replay}"
