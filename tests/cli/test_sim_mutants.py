"""`raftline sim --mutants`: the table, the exit code, and the run of the code as it is."""

import json
from collections.abc import Iterator, Sequence

import pytest
from typer.testing import CliRunner

from raftline.cli import sim_mutants
from raftline.cli.main import app
from raftline.sim.mutants.catalogue import CATALOGUE
from raftline.sim.mutants.mutant import Mutant
from raftline.sim.mutants.runner import Verdict

CAUGHT = {"caught": True, "seeds": 3, "seed": 2, "virtual_s": 90.0, "check": "sim.x.check_y", "error": "n1: two votes"}


def run(*arguments: str) -> tuple[int, str]:
    """Run the command; return exit code and output."""
    result = CliRunner().invoke(app, ["sim", "--mutants", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """Let no process run; mutants end as this says, `none` is the code as it is."""
    wanted: dict[str, dict[str, object]] = {}

    def run_mutants(mutants: Sequence[Mutant], seeds: range, _jobs: int, _on_trial: object) -> Iterator[Verdict]:
        assert seeds == range(1000)
        for mutant in reversed(mutants):
            fields = wanted.get(mutant.name, CAUGHT)
            yield Verdict(mutant=mutant.name, rules=mutant.rules, bench=mutant.bench, **fields)  # type: ignore[arg-type]

    def control(verdicts: Sequence[Verdict], _seeds: range, _jobs: int, _on_trial: object) -> Iterator[Verdict]:
        yield Verdict(mutant="none", rules=(), bench=verdicts[0].bench, **{"seeds": 3, **wanted.get("none", {})})  # type: ignore[arg-type]

    monkeypatch.setattr(sim_mutants, "run_mutants", run_mutants)
    monkeypatch.setattr(sim_mutants, "control", control)
    return wanted


def test_a_table_says_who_caught_what(outcomes: dict[str, dict[str, object]]) -> None:
    """Each mutant has a row with rules, seeds, virtual time and check, in the catalogue's order; all caught is 0."""
    assert not outcomes
    code, output = run("vote_twice_in_a_term", "vote_is_not_remembered")
    assert code == 0
    assert output.index("vote_twice_in_a_term") < output.index("vote_is_not_remembered")
    row = next(line for line in output.splitlines() if "vote_twice_in_a_term" in line and "A11" in line)
    assert "90" in row
    assert "sim.x.check_y: n1: two votes" in row
    assert "2 of 2 caught" in output
    assert "3 seeds, no complaint" in output


@pytest.mark.parametrize(
    ("fields", "shown"),
    [({"seeds": 1000}, "NOT CAUGHT"), ({"broken": "NameError: x"}, "BROKEN: NameError: x")],
)
def test_a_survivor_fails_the_command(
    outcomes: dict[str, dict[str, object]], fields: dict[str, object], shown: str
) -> None:
    """A mutant that lives, or that only crashes, is exit code 1."""
    outcomes["vote_twice_in_a_term"] = fields
    code, output = run("vote_twice_in_a_term", "vote_is_not_remembered")
    assert code == 1
    assert shown in output
    assert "1 of 2 caught" in output


def test_a_false_alarm_fails_the_command(outcomes: dict[str, dict[str, object]]) -> None:
    """If the code as it is, too, is complained about, nothing is proved."""
    outcomes["none"] = CAUGHT
    code, output = run("vote_twice_in_a_term")
    assert code == 1
    assert "FALSE ALARM at seed 2" in output


def test_json_says_the_same(outcomes: dict[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A program reads verdicts and controls, without colours where all else is to have them."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not outcomes
    result = CliRunner().invoke(app, ["sim", "--mutants", "A11", "--json"])
    found = json.loads(result.stdout)
    assert {verdict["mutant"] for verdict in found["mutants"]} >= {"vote_twice_in_a_term"}
    assert [verdict["mutant"] for verdict in found["controls"]] == ["none"]


def test_the_catalogue_is_listed() -> None:
    """`--list` names every mutant and runs none; with `--json` it gives the patches too."""
    code, output = run("--list")
    assert code == 0
    assert all(mutant.name in output for mutant in CATALOGUE)
    listed = json.loads(CliRunner().invoke(app, ["sim", "--mutants", "--list", "--json"]).stdout)
    assert [mutant["name"] for mutant in listed] == [mutant.name for mutant in CATALOGUE]
    assert all(patch["old"] for mutant in listed for patch in mutant["patches"])


def test_unknown_names_are_refused() -> None:
    """Nothing runs if a name means nothing, or if names come without `--mutants`."""
    code, output = run("no_such_mutant")
    assert code == 2
    assert "no_such_mutant" in output
    assert CliRunner().invoke(app, ["sim", "vote_twice_in_a_term"]).exit_code == 2
