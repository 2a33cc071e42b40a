"""The catalogue fits today's code and today's rules."""

import builtins
import re
from collections import Counter
from dis import get_instructions
from importlib.util import find_spec
from pathlib import Path
from types import CodeType

import pytest

from raftline.errors import ConfigError
from raftline.sim.mutants.benches import BENCHES
from raftline.sim.mutants.catalogue import CATALOGUE, find, select
from raftline.sim.mutants.mutant import Mutant

DOCS = Path(__file__).parents[3] / "docs"
SECTIONS = "ABCDEFG"
"""Those whose every rule has its mutant or a reason; section K has mutants for some of its rules."""


def source_of(module: str) -> str:
    """Return a module's text."""
    spec = find_spec(module)
    assert spec is not None, f"{module} is gone"
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


@pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.name)
def test_every_patch_fits_the_code_as_it_is(mutant: Mutant) -> None:
    """Each text is there exactly once, and the patched source is valid and different."""
    assert mutant.modules()
    for module in mutant.modules():
        source = source_of(module)
        patched = mutant.apply(module, source)
        assert patched != source
        compile(patched, module, "exec", dont_inherit=True)


def unknown_names(code: CodeType) -> set[str]:
    """Return the global names that a module's functions read and that neither it nor Python defines."""
    read: set[str] = set()
    defined = {item.argval for item in get_instructions(code) if item.opname == "STORE_NAME"} | {*dir(builtins)}
    codes = [code]
    while codes:
        one = codes.pop()
        codes += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
        read |= {item.argval for item in get_instructions(one) if item.opname == "LOAD_GLOBAL"}
        defined |= {item.argval for item in get_instructions(one) if item.opname == "STORE_GLOBAL"}
    return read - defined - {"__file__", "__name__", "__path__", "__spec__"}


def test_no_patch_needs_a_name_that_is_not_there() -> None:
    """A mutant that crashes does not show what it was written for."""
    missing = {}
    for mutant in CATALOGUE:
        for module in mutant.modules():
            patched = compile(mutant.apply(module, source_of(module)), module, "exec", dont_inherit=True)
            if names := unknown_names(patched):
                missing[mutant.name, module] = names
    assert not missing


def test_names_are_unique_and_speak_one_language() -> None:
    """No two mutants share a name; names are snake_case, sentences are sentences, benches exist."""
    counts = Counter(mutant.name for mutant in CATALOGUE)
    assert max(counts.values()) == 1, counts.most_common(3)
    for mutant in CATALOGUE:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", mutant.name), mutant.name
        assert re.fullmatch(r"[A-Z][^\n]*\.", mutant.does), mutant.does
        assert mutant.bench in BENCHES, mutant.bench


def test_every_rule_has_its_mutant_or_a_reason() -> None:
    """Every rule of these sections is guarded by a mutant, or docs/mutants.md says why no line can break it."""
    rules = {
        f"{section}{number}"
        for section, number in re.findall(r"(?m)^\*\*([A-G])(\d+)\b", (DOCS / "rules.md").read_text(encoding="utf-8"))
        if section in SECTIONS
    }
    covered = {rule for mutant in CATALOGUE for rule in mutant.rules if rule[0] in SECTIONS}
    page = (DOCS / "mutants.md").read_text(encoding="utf-8")
    excused = {rule for rule in re.findall(r"(?m)^- \*\*([A-G]\d+)\*\*", page) if rule[0] in SECTIONS}
    assert not covered - rules, "mutants name rules that do not exist"
    assert not excused & covered, "rules with a mutant need no excuse"
    assert rules == covered | excused


def test_mutants_are_found_by_name_rule_and_section() -> None:
    """A name means one mutant, a rule those that break it, a section those it begins with, nothing all."""
    assert [mutant.name for mutant in select(["vote_twice_in_a_term"])] == ["vote_twice_in_a_term"]
    assert find("vote_twice_in_a_term") in select(["A11"])
    assert {mutant.rules[0][0] for mutant in select(["B", "E"])} == {"B", "E"}
    assert select([]) == list(CATALOGUE)
    with pytest.raises(ConfigError, match="no mutant 'A999'"):
        select(["A11", "A999"])
