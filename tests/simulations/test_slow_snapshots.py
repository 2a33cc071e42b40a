"""Snapshots that take longer to reach a follower than the others take to write the next one."""

import pytest
import structlog

from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.run import run_seed
from raftline.sim.scenario import Scenario
from raftline.sim.workload import WorkloadPlan


@pytest.mark.parametrize("seed", [0, 2])
def test_a_follower_catches_up_although_snapshots_are_outdated_when_they_arrive(seed: int) -> None:
    """Its leader keeps the log behind the snapshot that is under way, so one is enough (§7; seed 1503487).

    That holds while fewer than four snapshots' worth of entries come meanwhile: then the log is too long to wait.
    """
    scenario = Scenario(
        size=3,
        safety_s=4.0,
        heal_s=8.0,
        plan=NemesisPlan(),
        acts=(Act(at_s=1.0, name="kill_machine", node="n3", for_s=2.0),),
        workload=WorkloadPlan(keys=8, clients=6, think_s_max=0.5, read_share=0.2, value_bytes_max=40_000),
        snapshot_entries=16,
        chunk_bytes=128,
    )
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        outcome = run_seed(seed, scenario)
    finally:
        structlog.configure(**before)
    assert outcome.error is None
