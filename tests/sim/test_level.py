"""Nothing grows, and what does is noticed."""

import pytest

from raftline.kv.service import Service
from raftline.sim import level
from raftline.sim.level import LevelPlan, run_level_seed
from raftline.sim.quiet import quiet

SHORT = LevelPlan.of(2.0)


def test_nothing_grows() -> None:
    """Two virtual minutes with crashes, snapshots and all kinds of commands leave everything level (D16, D18)."""
    seen: list[float] = []
    with quiet():
        outcome = run_level_seed(1, SHORT, lambda minute, _values: seen.append(minute))
    assert outcome.error is None
    assert (len(seen), round(seen[-1], 6)) == (30, 2.0)
    assert 120.0 <= outcome.virtual_s < 125.0
    assert outcome.snapshots > 3
    assert sum(outcome.acts.values()) > 10
    for measure in (
        "process blocks",
        "simulator timers",
        "n1 file bytes",
        "n1 open files",
        "n1 node._group._core.state.log._entries[] objects",
        "n1 service.clients objects",
        "n2 node.machine.store._values[] bytes",
        "n3 session reply bytes",
    ):
        assert measure in outcome.late, measure


def test_a_seed_is_one_run() -> None:
    """The same seed asks and answers the same; what is measured of the process is not part of it."""
    with quiet():
        first, again = (run_level_seed(2, LevelPlan.of(0.1)) for _ in range(2))
    assert (first.events, first.asked, first.entries, first.acts) == (
        again.events,
        again.asked,
        again.entries,
        again.acts,
    )


def test_growth_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of clients that nobody leaves is named by where it hangs, on a node that never crashed."""
    monkeypatch.setattr(Service, "disconnect", lambda *_: None)
    monkeypatch.setitem(level._ALLOWED, "objects", 20)
    with quiet():
        outcome = run_level_seed(1, SHORT)
    assert outcome.check == "NotLevel"
    assert any(growth.measure.startswith("n1 service.clients") for growth in outcome.grown)


def test_a_cluster_that_answers_nobody_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most requests have to be answered."""
    monkeypatch.setattr(level, "_ANSWERED_SHARE_MIN", 1.01)
    with quiet():
        outcome = run_level_seed(1, LevelPlan.of(0.1))
    assert outcome.error is not None
    assert "requests were answered" in outcome.error


def test_what_a_snapshot_holds_is_waited_for() -> None:
    """Measuring begins when no store holds what a snapshot that is being written stands for."""
    run = level._Run(1, LevelPlan.of(0.1), level.LevelOutcome(seed=1))
    run.cluster.start()
    run.world.run_until(2.0)
    service = run.door.service(run.cluster.members["n1"])
    assert service is not None
    snapshot = service.store.snapshot()
    run.world.call_later(0.5, snapshot.close)
    run._wait_for_stores()
    assert not level._is_busy(service.store)
    assert run.world.now >= 2.5
    run.world.close()
