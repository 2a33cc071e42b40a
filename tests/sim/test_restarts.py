"""Machines are stopped cleanly, one after the other, and come back, perhaps with a newer program."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.run import run_seed
from raftline.sim.scenario import Scenario, resolve


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


ROUND = Act(at_s=2.5, name="rolling_restart", node="n2", amount=0.8, for_s=0.1)


@pytest.mark.parametrize("upgraded", [False, True])
def test_all_machines_are_restarted_in_turn(upgraded: bool) -> None:  # noqa: FBT001  a case
    """Each comes back; a newer version of commands is used exactly where each came back with a newer program."""
    scenario = Scenario(size=3, safety_s=6.0, heal_s=8.0, plan=NemesisPlan(), acts=(ROUND,), upgraded=upgraded)
    outcome = run_seed(4, scenario)
    assert outcome.error is None
    assert outcome.faults["machines restarted"] == 3
    assert outcome.faults["rolling restarts done"] == 1
    assert outcome.faults["upgrades done"] == (3 if upgraded else 0)


def test_one_old_program_keeps_the_newer_version_from_being_used() -> None:
    """Of three programs two are newer (G1)."""
    acts = tuple(Act(at_s=2.5 + n, name="kill_program", node=f"n{n}", for_s=0.1) for n in (1, 2))
    outcome = run_seed(4, Scenario(size=3, safety_s=6.0, heal_s=8.0, plan=NemesisPlan(), acts=acts, upgraded=True))
    assert outcome.error is None
    assert outcome.faults["upgrades done"] == 0


def test_campaigns_come_to_upgrades() -> None:
    """Machines are restarted in turn in some of the short runs, and upgraded in some of these."""
    drawn = [resolve(seed, Scenario(size=3, safety_s=4.0)) for seed in range(200)]
    restarted = [run for run in drawn if any(act.name == "rolling_restart" for act in run.acts or ())]
    assert len(restarted) > 10
    assert 3 < sum(bool(run.upgraded) for run in restarted) < len(restarted)
