"""Campaigns: every seed is run once, wherever; what was done and reached is summed up; failures come with a replay."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from raftline.sim import campaign as campaigns
from raftline.sim.acts import Act
from raftline.sim.campaign import Campaign, Summary, run_batch, run_campaign
from raftline.sim.executors import InProcess
from raftline.sim.scenario import Outcome, Scenario

SHORT = Scenario(size=3, safety_s=2.0, heal_s=6.0)
KILLED = msgspec.structs.replace(SHORT, acts=(Act(at_s=1.5, name="kill_program", node="n2", for_s=0.2),))


def outcome(seed: int, error: str | None = None, **fields: Any) -> Outcome:
    """Return what a run of three virtual seconds comes to."""
    faults = {"kill_leader": 2, "messages lost": 3, "syncs": 1000}
    return Outcome(seed=seed, error=error, virtual_s=3.0, events=10, faults=faults, points={"before sync": 1}, **fields)


def test_seeds_are_dealt_out_once() -> None:
    """Portions cover the range, the last may be shorter."""
    dealt = list(Campaign(first=3, stop=12, batch=4).batches())
    assert dealt == [range(3, 7), range(7, 11), range(11, 12)]


def test_a_summary_adds_runs_up() -> None:
    """Counts are sums, faults are those of the environment's list, and few failures stand for many."""
    summary = Summary()
    for seed in range(50):
        summary.add(outcome(seed, error="no" if seed % 2 else None, committed=5, operations=7))
    assert (summary.seeds, summary.failed, summary.virtual_s, summary.committed) == (50, 25, 150.0, 250)
    assert summary.faults_injected == 250
    assert summary.points == Counter({"before sync": 50})
    assert [failed.seed for failed in summary.failures] == list(range(1, 40, 2))


def test_a_campaign_runs_every_seed_and_hears_of_each() -> None:
    """What the runs reached is counted by the names of the tables."""
    heard: list[int] = []
    summary = run_campaign(
        Campaign(first=5, stop=8, scenario=KILLED, batch=2), lambda done: heard.append(done.seed), InProcess()
    )
    assert heard == [5, 6, 7]
    assert summary.seeds == 3
    assert summary.failed == 0
    assert summary.elections >= 3
    assert summary.rows["follower × AppendRequest"] > 100
    assert summary.cases["case A"] > 0
    never, too_few = summary.never_reached()
    assert never == []
    assert "kill_all" in too_few


def test_processes_come_to_the_same() -> None:
    """Where a seed is run makes no difference."""
    two = run_campaign(Campaign(first=5, stop=8, scenario=SHORT, jobs=2, batch=2))
    one = run_campaign(Campaign(first=5, stop=8, scenario=SHORT))
    assert (two.events, two.committed, two.rows, two.points) == (one.events, one.committed, one.rows, one.points)


def test_what_was_done_by_an_interrupt_is_there() -> None:
    """A summary that is given is filled run by run."""
    summary = Summary()

    def interrupt(_outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_campaign(Campaign(first=5, stop=8, scenario=SHORT, batch=1), interrupt, InProcess(), summary)
    assert summary.seeds == 1
    assert summary.rows


def test_any_exception_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed that ends in a plain bug of somebody's code fails; the others are run."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("what")

    monkeypatch.setattr("raftline.core.rules._count_votes", broken)
    outcomes, _, _ = run_batch(range(2), SHORT)
    assert [(failed.seed, failed.check) for failed in outcomes] == [(0, "Stopped"), (1, "Stopped")] or all(
        "ZeroDivisionError" in f"{failed.check} {failed.error}" for failed in outcomes
    )


def test_a_batch_puts_the_tables_back() -> None:
    """Counting ends with the batch."""
    from raftline.core import raft, roles  # noqa: PLC0415  looked at after the batch

    run_batch(range(1), Scenario(size=1, safety_s=1.0, heal_s=5.0))
    assert vars(raft)["HANDLED"] is roles.HANDLED
    assert campaigns.__all__ == ["Campaign", "Summary", "run_campaign"]
