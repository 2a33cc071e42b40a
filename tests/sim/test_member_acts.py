"""What operators do to a cluster: they stop leaders, move machines and say who is to lead."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.run import Outcome, run_seed
from raftline.sim.scenario import Scenario, resolve
from raftline.sim.workload import WorkloadPlan


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


def run(*acts: Act, size: int = 3) -> tuple[Outcome, list[str]]:
    """Return what came of a run with these acts only, and its trace."""
    lines: list[str] = []
    scenario = Scenario(size=size, safety_s=5.0, heal_s=8.0, plan=NemesisPlan(), workload=WorkloadPlan(), acts=acts)
    outcome = run_seed(5, scenario, keep_trace=True, on_finished=lambda _, found: lines.extend(found))
    assert outcome.error is None
    return outcome, lines


def test_a_machine_moves_and_is_found_again() -> None:
    """Once its move is committed all send to its new address, and so it catches up."""
    outcome, lines = run(Act(at_s=2.6, name="move", node="n2", for_s=0.5))  # a moment when all hold what is committed
    assert outcome.faults["moves done"] >= 1  # asked for again while a new leader does not know yet whom to trust
    assert any("127.0.0.1:7102" in line for line in lines)


def test_nobody_moves_where_a_majority_could_lose_sight_of_each_other() -> None:
    """With two voters, or while somebody is down, a move is not begun."""
    assert "move" not in run(Act(at_s=2.5, name="move", node="n2"), size=2)[0].faults
    down = Act(at_s=2.4, name="kill_program", node="n1", for_s=0.5)
    assert "move" not in run(down, Act(at_s=2.5, name="move", node="n2"))[0].faults


def test_nobody_moves_while_another_is_needed_who_may_have_lost_its_disk() -> None:
    """Of a first leader that moved before it was heard of, two others knew only that its log was not blank (C14)."""
    outcome = run_seed(2434225, Scenario(size=3, safety_s=4.0, heal_s=8.0))
    assert outcome.error is None, outcome.error
    assert outcome.operations > 100


def test_a_leader_that_is_stopped_hands_over() -> None:
    """It ends as a follower of another leader."""
    outcome, lines = run(Act(at_s=2.5, name="stop_leader", for_s=1.0))
    assert outcome.faults["leaders stopped"] == 1
    stopped = next(line for line in lines if " stop" in line)
    name = stopped.split("|")[-1].split()[0]
    ended = next(line for line in lines if f"{name}  kill" in line)
    assert f"{name} F" in ended
    assert " L 2" in ended


def test_a_leader_that_stood_still_while_it_handed_over_leads_on_or_hands_over() -> None:
    """Not both: it gave up as it heard that its successor was ready, appended, and told it all the same."""
    outcome = run_seed(2509145, Scenario(size=3, safety_s=4.0, heal_s=8.0))
    assert outcome.error is None, outcome.error
    assert outcome.operations > 100


def test_a_removed_leader_hands_over_to_a_node_that_does_not_know_where_it_is() -> None:
    """The successor had just started: what it tells its predecessor finds no way, which is not its silence."""
    outcome = run_seed(2605636, Scenario(size=3, safety_s=4.0, heal_s=8.0))
    assert outcome.error is None, outcome.error
    assert outcome.operations > 50


def test_a_leader_that_stood_still_does_not_say_that_nobody_is_missing() -> None:
    """It knows nothing of a removal in a later term; whoever is gone is added again all the same."""
    outcome, _ = run(
        Act(at_s=1.5, name="pause_leader", for_s=9.0),
        Act(at_s=3.5, name="remove", node="n1", for_s=9.0),
        Act(at_s=4.9, name="kill_leader", for_s=5.0),
        size=5,
    )
    assert outcome.faults["remove"] == 1


def test_a_priority_is_set() -> None:
    """The change is committed, and when the leader stops, whoever is preferred takes over."""
    acts = Act(at_s=2.5, name="priority", node="n3", amount=2.0), Act(at_s=3.5, name="stop_leader", for_s=0.5)
    outcome, lines = run(*acts)
    assert outcome.faults["priorities done"] == 1
    assert "n3 L" in lines[-1]


def test_campaigns_come_to_all_of_it() -> None:
    """Each of them is drawn for some of the short runs."""
    drawn = [resolve(seed, Scenario(size=3, safety_s=4.0)).acts or () for seed in range(200)]
    for name in ("move", "priority", "stop_leader"):
        assert sum(any(act.name == name for act in acts) for acts in drawn) > 10
