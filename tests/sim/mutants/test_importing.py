"""The import hook: patched source for the modules named, everything else as it is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftline.errors import ConfigError
from raftline.sim.mutants.importing import MutantFinder
from raftline.sim.mutants.mutant import Mutant, Patch, PatchMoved

NAMES = ("raftline_right", "raftline_neighbour")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two modules that can be imported and are forgotten afterwards."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("VALUE = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    finders = list(sys.meta_path)
    yield tmp_path
    sys.meta_path[:] = finders
    for name in NAMES:
        sys.modules.pop(name, None)


def mutant(old: str) -> Mutant:
    """Return a mutant of the first of them."""
    return Mutant(name="two", rules=("A1",), does="Says two.", patches=(Patch(NAMES[0], old, "VALUE = 2"),))


def test_only_the_named_module_is_patched(modules: Path) -> None:
    """The named module runs patched code, its neighbour its own; the files stay as they were, compiled ones too."""
    finder = MutantFinder(mutant("VALUE = 1"))
    finder.install()
    right, neighbour = (__import__(name) for name in NAMES)
    assert (right.VALUE, neighbour.VALUE) == (2, 1)
    assert finder.applied == {NAMES[0]}
    assert (modules / f"{NAMES[0]}.py").read_text(encoding="utf-8") == "VALUE = 1\n"
    assert not list(modules.glob(f"__pycache__/{NAMES[0]}*"))


def test_a_module_whose_text_moved_does_not_load(modules: Path) -> None:
    """Better no module than the right one under a wrong name."""
    assert modules
    MutantFinder(mutant("VALUE = 7")).install()
    with pytest.raises(PatchMoved, match="has moved"):
        __import__(NAMES[0])


def test_a_module_that_is_loaded_already_cannot_be_patched(modules: Path) -> None:
    """An import hook that comes too late says so."""
    assert modules
    __import__(NAMES[0])
    with pytest.raises(ConfigError, match="imported before"):
        MutantFinder(mutant("VALUE = 1")).install()
