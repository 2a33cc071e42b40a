"""Clients that take turns with locks: what they find, and that they do something."""

import pytest

from raftline.errors import SafetyViolation
from raftline.sim.lock_clients import _Guarded
from raftline.sim.nemesis import NemesisPlan
from raftline.sim.run import run_seed
from raftline.sim.scenario import Scenario
from raftline.sim.workload import WorkloadPlan


def test_what_is_guarded_refuses_old_tokens() -> None:
    """And a token that two come with is a broken promise, not an accident."""
    guarded = _Guarded()
    assert guarded.write("a", 1)
    assert guarded.write("b", 2)
    assert not guarded.write("a", 1)
    with pytest.raises(SafetyViolation, match="token 2 is that of b, and c comes with it"):
        guarded.write("c", 2)


def test_locks_change_hands_while_clocks_jump() -> None:
    """Leases run out, late holders are refused by tokens, and no promise is broken."""
    scenario = Scenario(
        size=3,
        safety_s=12.0,
        plan=NemesisPlan(kill_leader=8, lag=10, clock_jump=10, down_s_max=1.0, cut_s_max=1.0),
        workload=WorkloadPlan(clients=2, expiry_clients=0, lock_clients=6),
        snapshot_entries=40,
    )
    outcome = run_seed(7, scenario)
    assert outcome.error is None
    for name in ("locks acquired", "guarded writes", "leases that ran out", "renewals refused", "clock jumps"):
        assert outcome.faults[name] > 0, name
