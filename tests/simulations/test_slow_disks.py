"""Disks that are slow and nothing else: a write that takes seconds is no reason to elect anybody."""

import pytest
import structlog

from raftline.sim.acts import NemesisPlan
from raftline.sim.run import run_seed
from raftline.sim.scenario import Scenario


@pytest.mark.parametrize("seed", [0, 1, 5, 6, 8])
def test_slow_disks_depose_no_leader(seed: int) -> None:
    """Half of all fsyncs take up to five seconds: followers still say that they hear their leader (thesis 6.2, C2)."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        outcome = run_seed(seed, Scenario(size=3, plan=NemesisPlan(slow_sync=0.5), acts=()))
    finally:
        structlog.configure(**before)
    assert outcome.error is None
    assert outcome.faults["slow syncs"] > 100
    assert outcome.elections == 1
