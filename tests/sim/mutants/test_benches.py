"""Benches are fair: the code as it is passes them."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.sim.mutants.benches import BENCHES
from raftline.sim.mutants.scenes import SCENES

ELSEWHERE = {"cluster", "level", "sharded", "sharded_travellers", "sharded_lost_disks"}
"""Run as they are by tests/simulations, tests/sim/test_level.py and tests/sim/sharded."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


LONG = {
    "busy_snapshots", "cut_links", "cut_off_leaders", "expiry", "held_messages", "large_values", "leases",
    "sharded_snapshots",
}  # fmt: skip
"""Several seconds of processor time each."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.thorough] if name in LONG else [])
        for name in BENCHES
        if name not in ELSEWHERE
    ],
)
def test_the_code_as_it_is_passes(name: str) -> None:
    """No check complains where nothing is wrong."""
    outcome = BENCHES[name](0)
    assert outcome.error is None, f"{outcome.where}: {outcome.error}"
    assert outcome.virtual_s > 0 or name in SCENES
