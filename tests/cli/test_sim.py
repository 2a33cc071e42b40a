"""`raftline sim`: one seed with its trace, campaigns with their summary, and what a failure leaves behind."""

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raftline.cli.main import app
from raftline.kv.service import Service
from raftline.linearizability.history import Operation, read_jsonl
from raftline.sim import level
from raftline.sim.workload import Answer, Workload

RUNNER = CliRunner()
SHORT = ("--safety-s", "2", "--size", "3")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that sometimes reads what nobody wrote."""
    record = Workload.record

    def wrong(self: Workload, operation: Operation, answer: Answer) -> None:
        if operation.kind == "get" and len(self.operations) > 30:
            operation = dataclasses.replace(operation, output="nobody wrote this")
        record(self, operation, answer)

    monkeypatch.setattr(Workload, "record", wrong)


def run(*arguments: str, code: int = 0) -> str:
    """Run the command; return what it prints."""
    result = RUNNER.invoke(app, ["sim", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout


def test_one_seed_and_its_trace() -> None:
    """A line per transition with a column per node, then what happened."""
    printed = run("--seed", "5", "--trace", *SHORT)
    lines = printed.splitlines()
    assert sum(" | n1 " in line and " | n3 " in line for line in lines) > 500
    assert "every promise was kept" in printed
    assert "seed 5: 3 nodes" in printed


def test_one_seed_as_json() -> None:
    """The outcome is one object, and the same each time but for the time it took."""
    first, again = (json.loads(run("--seed", "5", "--json", *SHORT)) for _ in range(2))
    assert first.pop("cpu_s") > 0
    again.pop("cpu_s")
    assert first == again
    assert first["error"] is None
    assert len(first["trace_digest"]) == 32


def test_a_campaign_says_what_it_did_and_reached() -> None:
    """Runs, time, speed, faults, rows, cases and points; a small one is not judged by what it did not reach."""
    printed = " ".join(run("--seeds", "5:7", "--safety-s", "8", "--size", "3").split())
    for words in (
        "2 (0 failed)",
        "virtual s",
        "faults injected",
        "entries committed",
        "faults: ",
        "role table: ",
        "follower × AppendRequest",
        "recovery table: case A",
        "persistence points: ",
        "not reached yet, as so few runs may not: ",
    ):
        assert words in printed, words


def test_a_campaign_as_json() -> None:
    """Everything counted is there, in one object."""
    summary = json.loads(run("--seeds", "5:7", "--json", *SHORT))
    assert summary["seeds"] == 2
    assert summary["failures"] == []
    assert summary["never_reached"] == []
    assert summary["virtual_s"] > 10
    assert summary["faults_injected"] > 0
    assert not summary["interrupted"]


@pytest.mark.usefixtures("broken")
def test_a_failure_leaves_a_replay_a_trace_and_a_history(tmp_path: Path) -> None:
    """The command that repeats it is printed, and what is written can be looked into."""
    result = RUNNER.invoke(app, ["sim", "--seeds", "5:6", "--json", "--artifacts", str(tmp_path), *SHORT])
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert summary["failed"] == 1
    (failure,) = summary["failures"]
    assert failure["check"] == "LinearizabilityViolation"
    (replay,) = summary["replay"]
    assert replay == "raftline sim --seed 5 --size 3 --safety-s 2 --trace"
    assert replay in result.stderr
    history = read_jsonl((tmp_path / "seed-5.jsonl").read_text().splitlines())
    assert any(operation.output == "nobody wrote this" for operation in history.operations)
    assert "nemesis" in (tmp_path / "seed-5.trace").read_text() or "heal" in (tmp_path / "seed-5.trace").read_text()
    again = run(*replay.split()[2:], "--artifacts", str(tmp_path), code=1)
    assert failure["error"] in " ".join(again.split())


def test_an_interrupt_leaves_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a campaign early, with its summary."""
    from raftline.cli import sim  # noqa: PLC0415  patched

    run_campaign = vars(sim)["run_campaign"]

    def interrupted(campaign: object, on_outcome: object, executor: object, summary: object) -> object:
        def then_stop(outcome: object) -> None:
            on_outcome(outcome)  # type: ignore[operator]
            raise KeyboardInterrupt

        return run_campaign(campaign, then_stop, executor, summary)

    monkeypatch.setattr(sim, "run_campaign", interrupted)
    result = RUNNER.invoke(app, ["sim", "--seeds", "5:50", *SHORT])
    assert result.exit_code == 1
    assert "1 (0 failed)" in result.stdout
    assert "interrupted after 1 runs" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--seeds", "7:7"), "FIRST < STOP"),
        (("--seeds", "ten"), "FIRST:STOP"),
        (("A11",), "names are for --mutants"),
        (("--minimize",), "needs --seed"),
        (("--executor", "moon"), "no executor 'moon'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], complaint: str) -> None:
    """Before anything runs, with exit code 2."""
    result = RUNNER.invoke(app, ["sim", *arguments])
    assert result.exit_code == 2
    assert complaint in result.stderr.replace("│\n│ ", "")


def test_level_says_what_was_done_and_that_nothing_grows() -> None:
    """`--level` runs one seed for the minutes given, and prints measures, work and verdict."""
    printed = " ".join(run("--level", "--seed", "1", "--minutes", "1").split())
    for words in ("process blocks", "n1 file bytes", "1 seeds (0 failed)", "nothing grows"):
        assert words in printed


def test_level_as_json_names_what_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure has exit code 1, its measures, and a line that repeats it on standard error."""
    monkeypatch.setattr(Service, "disconnect", lambda *_: None)
    monkeypatch.setitem(level._ALLOWED, "clients", 0)
    result = RUNNER.invoke(app, ["sim", "--level", "--seed", "1", "--minutes", "1", "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["failed"] == 1
    assert "n1 clients" in [growth["measure"] for growth in found["outcomes"][0]["grown"]]
    assert "replay: raftline sim --level --seed 1 --minutes 1" in " ".join(result.stderr.split())


def test_a_sharded_campaign() -> None:
    """Groups and configurations are counted, a seed can be replayed, options that mean nothing there are refused."""
    summary = json.loads(run("--sharded", "--seeds", "3:5", "--safety-s", "2", "--json"))
    assert summary["seeds"] == 2
    assert summary["failures"] == []
    assert summary["faults"]["configurations"] >= 2
    assert summary["never_reached"] == []
    printed = run("--sharded", "--seed", "3", "--safety-s", "2", "--trace")
    assert "TAKE: configuration 1" in printed
    assert "groups and the controller" in printed
    assert RUNNER.invoke(app, ["sim", "--sharded", "--size", "3"]).exit_code == 2
