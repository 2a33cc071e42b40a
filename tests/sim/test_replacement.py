"""All machines of a cluster are replaced, one after the other."""

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


def scenario(size: int, *acts: Act, safety_s: float = 6.0) -> Scenario:
    """Return a run in which nothing happens but these acts."""
    return Scenario(size=size, safety_s=safety_s, heal_s=8.0, plan=NemesisPlan(), acts=acts)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_machine_of_the_first_ones_is_left(size: int) -> None:
    """Each machine gives way to a new one, the leader too, and all that a run demands of its machines the new ones do.

    A cluster of one found that two checks knew no leader that leads alone: nobody had been added to one before.
    """
    outcome = run_seed(7, scenario(size, Act(at_s=2.0, name="replace", node="n1", amount=0.05, for_s=0.2)))
    assert outcome.error is None
    assert outcome.faults["machines replaced"] == size
    assert outcome.faults["replacements done"] == 1


def test_a_leader_has_time_for_everybody_it_sends_away() -> None:
    """It wakes up for each, and nobody takes that for a timer that spins (A25, F19; seed 2507948)."""
    outcome = run_seed(2507948, Scenario(size=3, safety_s=4.0, heal_s=8.0))
    assert outcome.error is None
    assert outcome.faults["machines replaced"] == 3


def test_a_replacement_that_was_begun_is_finished_after_healing() -> None:
    """Leaders that die, cuts and pauses may hold it up, and healing ends that."""
    acts = (
        Act(at_s=1.9, name="replace", node="n2", amount=0.3, for_s=0.5),
        *(Act(at_s=2.0 + n, name="isolate_leader", for_s=0.8) for n in range(4)),
    )
    outcome = run_seed(8, scenario(3, *acts))
    assert outcome.error is None
    assert outcome.faults["replacements done"] == 1


def test_acts_hit_whoever_has_taken_the_place() -> None:
    """An act that names a machine that is gone hits the one that replaced it."""
    acts = (
        Act(at_s=2.0, name="replace", node="n1"),
        Act(at_s=5.0, name="kill_program", node="n1", for_s=0.5),
        Act(at_s=5.1, name="partition", side=("n2",), for_s=0.1),
        Act(at_s=5.3, name="kill_all", each_s=(0.1, 0.2, 0.3)),
    )
    outcome = run_seed(9, scenario(3, *acts), keep_trace=True)
    assert outcome.error is None
    hits = [line.partition(" → ")[2] for line in outcome.acts]
    assert hits == ["n1 n2 n3", "n4", "n5", "n5 n6"]


def test_a_short_campaign_comes_to_replacements() -> None:
    """They are drawn for some seeds, early enough to happen within a few seconds."""
    drawn = [resolve(seed, Scenario(size=3, safety_s=4.0)) for seed in range(200)]
    replacing = [sc for sc in drawn if any(act.name == "replace" for act in sc.acts or ())]
    assert 10 <= len(replacing) <= 50
    outcome = run_seed(drawn.index(replacing[0]), Scenario(size=3, safety_s=4.0, heal_s=8.0))
    assert outcome.error is None
    assert outcome.faults["replacements done"] >= 1


def test_a_machine_that_is_dismissed_does_not_come_back() -> None:
    """Its column stays in the trace, and stays empty."""
    lines: list[str] = []
    acts = (Act(at_s=2.0, name="replace", node="n1"), Act(at_s=2.01, name="kill_program", node="n1", for_s=3.0))
    outcome = run_seed(10, scenario(3, *acts), keep_trace=True, on_finished=lambda _, found: lines.extend(found))
    assert outcome.error is None
    gone = next(number for number, line in enumerate(lines) if "dismissed" in line)
    assert all("| n1 . " in line for line in lines[gone + 1 :])
