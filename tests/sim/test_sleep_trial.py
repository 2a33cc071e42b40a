"""The trial at the end of a run whose group sleeps: it passes for the code that is, and notices who does not wake."""

from typing import Any

import pytest

from raftline.core import rules
from raftline.runtime.beats import Beats
from raftline.sim.acts import NemesisPlan
from raftline.sim.quiet import quiet
from raftline.sim.run import Outcome, run_seed
from raftline.sim.scenario import Scenario, Settings
from raftline.sim.workload import WorkloadPlan

_CALM = Scenario(
    size=3,
    safety_s=3.0,
    heal_s=6.0,
    plan=NemesisPlan(),
    workload=WorkloadPlan(clients=2, session_clients=0, once_clients=0, expiry_clients=0, lull_s=1.0),
    settings=Settings(quiesce_after_s=0.2),
)


def _run(seed: int) -> Outcome:
    with quiet():
        return run_seed(seed, _CALM)


def _fault(outcome: Outcome) -> list[str]:
    return [name for name in outcome.faults if name.startswith("asleep: ")]


@pytest.mark.parametrize("seed", range(4))
def test_a_sleeping_group_stands_the_trial(seed: int) -> None:
    """Whatever befalls it, it has a leader in time that answers, and all sleep again in the same state (A30)."""
    outcome = _run(seed)
    assert outcome.error is None
    assert len(_fault(outcome)) == 1


def test_the_trial_notices_that_suspicion_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader is gone, and its followers sleep on (A30)."""
    monkeypatch.setattr(Beats, "_suspect", lambda _self, _peer: None)
    outcomes = [_run(seed) for seed in range(6)]
    errors = [outcome.error for outcome in outcomes if _fault(outcome)[0] in ("asleep: crash", "asleep: isolate")]
    assert errors
    assert all(error is not None and "have no leader after" in error for error in errors)


def test_the_trial_notices_that_a_group_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is to be done, and heartbeats go on (A30)."""

    def never(_state: Any) -> None:
        return None

    monkeypatch.setattr(rules, "consider_sleep", never)
    outcome = _run(0)
    assert outcome.error is not None
    assert "does not fall asleep" in outcome.error
