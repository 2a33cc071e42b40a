"""Wrong versions of our own core: docs/lab-mutants.md accounts for every one of them, and a few are run."""

import re
from pathlib import Path

import pytest

from raftline.errors import ConfigError
from raftline.lab.catalogue import TESTS
from raftline.lab.mutants import UNSEEN, in_scope, run_mutants
from raftline.sim.mutants.mutant import Mutant, Patch, PatchMoved

_TEXT = (Path(__file__).parents[2] / "docs" / "lab-mutants.md").read_text(encoding="utf-8")
_ROWS = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", _TEXT, re.MULTILINE)
NOTICED = {name: (rule, place) for name, rule, place in _ROWS if not place.startswith("nothing: ")}
LISTED = {name: place.removeprefix("nothing: ") for name, _, place in _ROWS if place.startswith("nothing: ")}


def test_every_mutant_of_the_core_has_its_row() -> None:
    """Each is in the table exactly once, with its first rule: noticed, or listed with the reason of the code."""
    assert len(_ROWS) == len({name for name, _, _ in _ROWS})
    assert {name: rule for name, rule, _ in _ROWS} == {mutant.name: mutant.rules[0] for mutant in in_scope()}
    assert LISTED == UNSEEN


def test_what_the_table_names_exists() -> None:
    """Tests and schedules are called what they are called today."""
    known = {test.title for test in TESTS}
    known |= {f"{test.title}: {script.title}" for test in TESTS for script in test.scripts}
    assert {re.sub(r" \(seed \d+\)$", "", place) for _, place in NOTICED.values()} <= known


def test_numbers_in_the_text_are_those_of_the_table() -> None:
    """The sentence above the table counts right."""
    found = re.search(r"(\d+) of (\d+) are noticed", _TEXT)
    assert found is not None
    assert [int(number) for number in found.groups()] == [len(NOTICED), len(_ROWS)]


@pytest.mark.parametrize("name", ["timeout_is_drawn_once", "has_voted_so_refuses", "vote_twice_in_a_term"])
def test_a_mutant_is_noticed(name: str) -> None:
    """The first test that the table names fails under the mutant, in processes of its own."""
    [verdict] = run_mutants(in_scope([name]), range(1))
    assert verdict.failed is not None
    assert verdict.failed.failure is not None
    title, script = verdict.failed.title, verdict.failed.failure.script
    assert NOTICED[name][1] == (title if script is None else f"{title}: {script}")


def test_a_mutant_whose_code_has_moved_is_refused() -> None:
    """It would end its process at once, which is not a test that noticed something."""
    patch = Patch(module="raftline.core.raft", old="no such text", new="")
    gone = Mutant(name="gone", rules=("A1",), does="Nothing.", patches=(patch,))
    with pytest.raises(PatchMoved):
        list(run_mutants([gone], range(1)))


def test_a_word_that_means_nothing_is_refused() -> None:
    """A typing error is no empty selection."""
    with pytest.raises(ConfigError):
        in_scope(["no_such_mutant"])
