"""`raftline sim --minimize` and `--schedule` at the command line."""

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raftline.cli import sim_minimize
from raftline.cli.main import app
from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.minimize import Minimized
from raftline.sim.scenario import Outcome, Scenario, Schedule, read_schedule, resolve, write_schedule

KILL = Act(at_s=1.5, name="kill_leader", for_s=1.0)
SMALL = Scenario(size=3, safety_s=2.0, heal_s=6.0, plan=NemesisPlan(), acts=(KILL,))


def sim(*arguments: str) -> tuple[int, str]:
    """Run `raftline sim`; return the exit code, and everything written with its lines joined."""
    result = CliRunner().invoke(app, ["sim", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--minimize",), "--minimize needs --seed N"),
        (("--minimize", "--seed", "3", "--size", "3", "--safety-s", "1"), "seed 3 does not fail"),
        (("--schedule", "nowhere.json"), "nowhere.json"),
        (("--seeds", "0:2", "--executor", "threads"), "there is no executor 'threads'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_refused(arguments: tuple[str, ...], complaint: str) -> None:
    """Options that lack something, or a file that is none, end with code 2 and the reason."""
    code, output = sim(*arguments)
    assert code == 2
    assert complaint in output


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_command_to_install_it_is_shown() -> None:
    """`--executor ray` without the extra is refused with the remedy."""
    code, output = sim("--seeds", "0:2", "--executor", "ray")
    assert code == 2
    assert "pip install 'raftline[ray]'" in output


def test_a_schedule_from_a_file_is_run(tmp_path: Path) -> None:
    """The run that the file describes is carried out and judged."""
    path = tmp_path / "schedule.json"
    path.write_text(write_schedule(Schedule(seed=4, scenario=resolve(4, SMALL))), encoding="utf-8")
    code, output = sim("--schedule", str(path))
    assert code == 0
    assert "seed 4: 3 nodes" in output
    assert "kill_leader 1" in output
    assert "every promise was kept" in output


def test_a_file_that_is_no_schedule_is_refused(tmp_path: Path) -> None:
    """Whatever is wrong with it is said together with its name."""
    path = tmp_path / "schedule.json"
    path.write_text('{"seed": 1, "scenario": {"acts": [{"at_s": 1, "name": "sing"}]}}', encoding="utf-8")
    code, output = sim("--schedule", str(path))
    assert code == 2
    assert "there is no act 'sing'" in output


def test_what_is_left_is_printed_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes before and after, each act with its victim, the failure, and the command that repeats it."""
    was = Schedule(seed=4, scenario=resolve(4, Scenario(size=5)))
    small = Schedule(seed=5, scenario=resolve(5, SMALL), found="SafetyViolation: n1: did it")
    outcome = Outcome(seed=5, virtual_s=1.625, error="n1: did it", acts=["1.500000 s  kill_leader → n2"])
    found = Minimized(schedule=small, outcome=outcome, was=was, runs=321, complete=False)
    monkeypatch.setattr(sim_minimize, "minimize", lambda *_, **__: found)
    code, output = sim("--minimize", "--seed", "4", "--artifacts", str(tmp_path))
    path = tmp_path / "seed-4.schedule.json"
    assert code == 1
    assert "5 nodes" in output
    assert "after: 1 act, 3 nodes" in output
    assert "321 runs; the runs are used up" in output
    assert "kill_leader → n2" in output
    assert "1.625000 s SafetyViolation: n1: did it" in output
    assert f"raftline sim --schedule {path} --trace" in output
    assert read_schedule(path.read_text(encoding="utf-8")) == small
