"""`raftline lab` runs what is named, says what failed and why, and answers by its exit code."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from raftline.cli.proving import lab
from raftline.shards.controller import ControllerMachine, encode_configuration

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs the command with traces in a folder of the test."""
    app = typer.Typer()
    app.command()(lab)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--traces", str(tmp_path / "traces")])

    return invoke


def _never_leads(folder: Path) -> str:
    path = folder / "mine.py"
    path.write_text(
        "class make:\n"
        "    def __init__(self, *_): pass\n"
        "    def get_state(self): return 0, False\n"
        "    def start(self, command): return -1, 0, False\n"
        "    def kill(self): pass\n"
    )
    return str(path)


def test_our_core_passes_what_is_named(run: Run) -> None:
    """Lines as the course prints them, then the numbers side by side; exit code 0."""
    result = run("2A", "basic agreement")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "Test (2A): initial election ..."
    assert lines[1].startswith("  ... Passed --")
    assert "Test (2B): basic agreement ..." in lines
    assert any(line.startswith("basic agreement ") and " 4572 " in line for line in lines)
    assert lines[-1].startswith("4 of 4 passed: 4 tests, 1 seed, ")


def test_a_failure_is_diagnosed(run: Run, tmp_path: Path) -> None:
    """Exit code 1, the promise in words, rules to look at, a trace, and the command that repeats it."""
    mine = _never_leads(tmp_path)
    result = run("initial election", "--implementation", mine, "--seed", "4", "--runs", "2")
    assert result.exit_code == 1
    assert "promise:  a leader stands within 5 s whenever a majority can talk" in result.output
    assert "seed 5" in result.output
    assert f"again:    raftline lab 'initial election' --seed 4 --implementation {mine}" in result.output
    assert "initial election: 2 of 2 failed, with seed 4, 5" in result.output
    assert sorted(path.name for path in (tmp_path / "traces").iterdir()) == [
        "2A-initial-election-seed4.txt",
        "2A-initial-election-seed5.txt",
    ]


def test_json_is_one_document(run: Run, tmp_path: Path) -> None:
    """With --json nothing else is printed, and a failure is data."""
    result = run("initial election", "--json", "-i", _never_leads(tmp_path))
    document = json.loads(result.output)
    assert result.exit_code == 1
    assert document["passed"] is False
    [test] = document["tests"]
    assert test["title"] == "initial election"
    assert "A5" in test["failure"]["rules"]


def test_several_workers_say_the_same(run: Run) -> None:
    """With --jobs 2 the lines come in the same order."""
    one, two = (run("2B", "--jobs", jobs, "--json").output for jobs in ("1", "2"))
    titles = [[test["title"] for test in json.loads(text)["tests"]] for text in (one, two)]
    assert titles[0] == titles[1]


def test_real_time_is_real(run: Run, tmp_path: Path) -> None:
    """With --real-time the test runs on the real clock and says so; who never leads fails on a slow machine, too."""
    began = time.monotonic()
    result = run("initial election", "--real-time", "--json", "-i", _never_leads(tmp_path))
    elapsed_s = time.monotonic() - began
    [test] = json.loads(result.output)["tests"]
    assert result.exit_code == 1
    assert test["virtual"] is False
    assert test["failure"]["promise"].startswith("a leader stands within 5 s")
    assert elapsed_s >= 5


def test_an_unknown_test_is_exit_code_2(run: Run) -> None:
    """Nothing runs, and the names that exist are listed."""
    result = run("5Z")
    assert result.exit_code == 2
    assert "initial election" in result.output


def test_mutants_of_our_core_are_run(run: Run) -> None:
    """A mutant that a test notices is named with that test; exit code 0."""
    result = run("--mutants", "has_voted_so_refuses")
    assert result.exit_code == 0
    assert "| `has_voted_so_refuses` | A15 | initial election: a candidate asks the same voter twice |" in result.output
    assert "1 of 1 noticed, 0 known as unseen, 0 missed" in result.output


def test_mutants_are_of_our_core_only(run: Run, tmp_path: Path) -> None:
    """Somebody else's Raft has none, no more than a word that means no mutant; exit code 2."""
    assert run("--mutants", "--implementation", _never_leads(tmp_path)).exit_code == 2
    assert run("--mutants", "no_such_mutant").exit_code == 2


def test_services_are_run_by_part_and_title(run: Run) -> None:
    """Lines as for the other labs, without the course's numbers beside them; exit code 0."""
    result = run("move", "Basic leave and join", "--runs", "2")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[:2:2] == ["Test (4A): move ..."]
    assert lines[1].startswith("  ... Passed --")
    assert lines[-1].startswith("4 of 4 passed: 2 tests, 2 seeds, ")


def test_services_as_json(run: Run) -> None:
    """One document for programs, in the form of the other labs."""
    result = run("move", "--json", "--jobs", "2", "--runs", "2")
    assert result.exit_code == 0
    document = json.loads(result.output)
    assert document["passed"] is True
    assert [(test["part"], test["seed"]) for test in document["tests"]] == [("4A", 0), ("4A", 1)]


def test_a_service_that_fails_is_diagnosed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promise, rules of section G, a trace of every message, and the command that repeats it; exit code 1."""
    monkeypatch.setattr(ControllerMachine, "read", lambda self, _query, _time_ms: encode_configuration(self.history[0]))
    result = run("historical queries", "--seed", "3")
    assert result.exit_code == 1
    assert "promise:  a configuration stays what it was, on every server" in result.output
    assert "look at:  G17" in result.output
    assert "again:    raftline lab 'historical queries' --seed 3" in result.output
    trace = tmp_path / "traces" / "4A-historical-queries-seed3.txt"
    assert str(trace) in result.output
    assert "AppendRequest" in trace.read_text()


@pytest.mark.parametrize("more", [["2A"], ["--implementation", "mine.py"], ["--real-time"]])
def test_services_are_ours_and_run_alone(run: Run, more: list[str]) -> None:
    """What cannot be combined is refused in words, with exit code 2."""
    result = run("4A", *more)
    assert result.exit_code == 2
    assert "run our own services on virtual time" in result.output
