"""Whole processes under a mutant, their children included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftline.sim.mutants.runner import process_command

SHOW = """
import subprocess, sys
import raftline.core.quorum as quorum
print(quorum.majority(3), flush=True)
if len(sys.argv) > 1:
    subprocess.run([sys.executable, "-m", "show_majority"], check=True)
"""


def run(*command: str, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; `path` is where its modules are found."""
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.mark.parametrize(("mutant", "majority"), [("half_is_a_majority", "1"), ("none", "2")])
def test_a_process_and_its_children_run_the_mutant(mutant: str, majority: str, tmp_path: Path) -> None:
    """The module that is run, and whatever Python process it starts, has the wrong code; `none` has the right one."""
    (tmp_path / "show_majority.py").write_text(SHOW, encoding="utf-8")
    shown = run(*process_command(mutant, "show_majority", "parent"), path=tmp_path)
    assert shown.stdout.split() == [majority, majority], shown.stderr


def test_an_unknown_mutant_runs_nothing() -> None:
    """A wrong name ends the process before the module starts."""
    shown = run(*process_command("no_such_mutant", "this"))
    assert shown.returncode != 0
    assert "no mutant 'no_such_mutant'" in shown.stderr
    assert "beautiful" not in shown.stdout.lower()


def test_its_own_folder_is_not_on_the_path() -> None:
    """The package's own files (`messages`, `runtime`, ...) are no top-level modules of the process."""
    shown = run(*process_command("none", "runtime"))
    assert "No module named runtime" in shown.stderr


def test_usage_is_told() -> None:
    """Without a module there is nothing to run."""
    shown = run(sys.executable, process_command("none", "x")[1], "none")
    assert shown.returncode != 0
    assert "usage" in shown.stderr
