"""`raftline lab` runs what is named, says what failed and why, and answers by its exit code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from raftline.cli.proving import lab

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


def test_real_time_is_real(run: Run) -> None:
    """With --real-time the test runs on the real clock and says so."""
    result = run("basic agreement", "--real-time", "--json")
    [test] = json.loads(result.output)["tests"]
    assert result.exit_code == 0
    assert test["virtual"] is False


def test_an_unknown_test_is_exit_code_2(run: Run) -> None:
    """Nothing runs, and the names that exist are listed."""
    result = run("3A")
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
