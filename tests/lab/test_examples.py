"""The small Raft of the examples passes every test, and each of its known mistakes is diagnosed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from raftline.lab import run as run_module
from raftline.lab.catalogue import TESTS, select
from raftline.lab.rules import RULES
from raftline.lab.run import run_test
from raftline.lab.supervisor import run_jobs
from raftline.lab.tests.case import LabTest
from raftline.lab.worker import Job

_FOLDER = Path(__file__).parents[2] / "examples"
_SEED = 11
_IN_A_PROCESS = {"eats_memory", "ends_the_program"}
"""Mistakes that would harm the process that runs these tests."""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", _FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


EXAMPLE = _load("lab_raft")
BROKEN = _load("lab_raft_broken")
VISIBLE = sorted(name for name, mistake in BROKEN.MISTAKES.items() if mistake.test != "none")


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.title)
def test_the_example_passes(test: LabTest) -> None:
    """A complete Raft in about 300 lines keeps every promise, schedules included."""
    result, _ = run_test(test, EXAMPLE.make, _SEED, virtual=True)
    assert result.failure is None


def test_the_example_is_small() -> None:
    """Code, comments and docstrings together stay a few hundred lines that one sits down and reads."""
    assert len((_FOLDER / "lab_raft.py").read_text(encoding="utf-8").splitlines()) < 350


@pytest.mark.parametrize("name", [name for name in VISIBLE if name not in _IN_A_PROCESS])
def test_a_mistake_is_diagnosed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test that the list names fails, and its diagnosis names the rule that was broken."""
    mistake = BROKEN.MISTAKES[name]
    if mistake.rule == "F19":  # it spins; any other may be held up by the machine
        monkeypatch.setattr(run_module, "_STUCK_S", 1.0)
    [test] = select([mistake.test])
    result, _ = run_test(test, BROKEN.broken(name).make, _SEED, virtual=True)
    assert result.failure is not None
    assert mistake.rule in result.failure.rules


def test_mistakes_that_end_the_process_are_diagnosed() -> None:
    """Code that eats all memory or ends the program fails its test, and the next one runs all the same (F19)."""
    names = sorted(_IN_A_PROCESS)
    jobs = [
        Job(
            title=BROKEN.MISTAKES[name].test,
            seed=_SEED,
            virtual=True,
            implementation=f"{_FOLDER / 'lab_raft_broken.py'}:{name}",
        )
        for name in names
    ]
    failures = [result.failure for result in run_jobs(jobs)]
    for name, failure in zip(names, failures, strict=True):
        assert failure is not None, name
        assert BROKEN.MISTAKES[name].rule in failure.rules


@pytest.mark.parametrize("name", sorted(BROKEN.MISTAKES))
def test_every_mistake_applies(name: str) -> None:
    """The lines that a mistake changes stand in the example exactly once, and its rule exists."""
    assert callable(BROKEN.broken(name).make)
    rule = BROKEN.MISTAKES[name].rule
    assert rule in RULES


def test_a_line_that_moved_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake whose lines are gone raises instead of testing the unchanged example."""
    mistake = BROKEN.Mistake("A1", "none", [("        no such line\n", "")])
    monkeypatch.setitem(BROKEN.MISTAKES, "moved", mistake)
    with pytest.raises(ValueError, match="moved changes lines that stand 0 times"):
        BROKEN.broken("moved")
