"""A run: what it reports, and that each of its last judgements can fail."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from raftline.linearizability.checker import Verdict
from raftline.linearizability.history import Operation
from raftline.sim import run as runs
from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.quiet import quiet
from raftline.sim.run import Outcome, Scenario, run_seed
from raftline.sim.scenario import Settings
from raftline.sim.workload import Answer, Workload

CALM = Scenario(size=3, safety_s=3.0, heal_s=8.0, plan=NemesisPlan(), acts=(), settings=Settings())


def go(scenario: Scenario = CALM, seed: int = 1, **options: Any) -> Outcome:
    """Run without log lines."""
    with quiet():
        return run_seed(seed, scenario, **options)


def test_a_run_says_what_was_done() -> None:
    """Time, events, elections, commits, operations, acts and what the environment did."""
    kept: list[tuple[list[Operation], list[str]]] = []
    acts = (Act(at_s=2.0, name="kill_leader", for_s=0.5),)
    scenario = msgspec.structs.replace(CALM, acts=acts)
    outcome = go(scenario, keep_trace=True, on_finished=lambda *both: kept.append(both))
    assert outcome.error is None
    assert outcome.size == 3
    assert 3.0 + 3.0 < outcome.virtual_s < 3.0 + 8.0, "it ends when all is well"
    assert outcome.elections >= 2
    assert outcome.committed > 20
    assert outcome.faults["kill_leader"] == 1
    assert outcome.faults["program crashes"] == 1
    assert outcome.points["before sync segment"] > 20
    assert not outcome.undecided
    (act,) = outcome.acts
    assert act.startswith("  2.000000 s  kill_leader")
    ((operations, lines),) = kept
    assert len(operations) == outcome.operations
    assert len(lines) > 1000


@pytest.mark.parametrize("size", [1, 2, 4])
def test_clusters_of_any_size_are_run(size: int) -> None:
    """One machine alone, two that need each other, and an even number."""
    assert go(msgspec.structs.replace(CALM, size=size)).error is None


def test_a_cluster_that_does_not_recover_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that stay cut after healing: nobody is answered any more."""
    monkeypatch.setattr("raftline.sim.network.SimNetwork.heal", lambda _self: None)
    cuts = tuple(Act(at_s=1.0, name="partition", side=(side,), for_s=1.0) for side in ("n1", "n2"))
    outcome = go(msgspec.structs.replace(CALM, acts=cuts))
    assert outcome.check == "LivenessViolation"
    assert "no client was answered for 4 s" in (outcome.error or "")
    assert outcome.where == "sim.run._Run.go"


def test_a_wrong_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that no order explains fails the run, and names the key."""
    record = Workload.record

    def wrong(self: Workload, operation: Operation, answer: Answer) -> None:
        if operation.kind == "get" and operation.key == "k0" and len(self.operations) > 30:
            operation = dataclasses.replace(operation, output="nobody wrote this")
        record(self, operation, answer)

    monkeypatch.setattr(Workload, "record", wrong)
    outcome = go()
    assert outcome.check == "LinearizabilityViolation"
    assert "key k0: no order explains the answers" in (outcome.error or "")


def test_a_lost_write_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that was acknowledged and is not there at the end fails the run."""
    record = Workload.record
    told: list[Operation] = []

    def lie(self: Workload, operation: Operation, answer: Answer) -> None:
        if not told and answer.error is None and len(self.operations) >= 60:
            operation = dataclasses.replace(operation, kind="set", key="k0", input="lost", output="OK")
            told.append(operation)
        record(self, operation, answer)

    monkeypatch.setattr(Workload, "record", lie)
    monkeypatch.setattr("raftline.sim.workload._Client._choose", _only_reads)
    outcome = go()
    assert outcome.check == "LinearizabilityViolation", outcome.error


def _only_reads(_self: object) -> tuple[str, str, None, list[bytes]]:
    return "get", "k0", None, [b"GET", b"k0"]


def test_an_undecided_history_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that was given up is no proof, and is counted."""
    monkeypatch.setattr(runs, "check", lambda *_args, **_options: SimpleNamespace(verdict=Verdict.UNKNOWN))
    outcome = go()
    assert outcome.error is None
    assert outcome.undecided


def test_any_exception_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain bug is a finding, with the place where it was raised."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("what")

    monkeypatch.setattr("raftline.sim.aftermath.Aftermath.check", broken)
    outcome = go()
    assert (outcome.check, outcome.error) == ("ZeroDivisionError", "what")
