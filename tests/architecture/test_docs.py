"""Documentation that can be trusted: links lead somewhere, and every rule that is named exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py")])

LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
RULE = re.compile(r"^(?:\*\*|\| )([A-L])(\d+)\b", re.MULTILINE)
NAMED = re.compile(r"\((?:rules? |requirements? )?((?:[A-L]\d+)(?:(?:, | to | and )[A-L]\d+)*)\)")
"""Rules as docstrings name them: `(B6)`, `(B22 to B24)`, `(requirement F17)`."""


def rules_of(text: str) -> set[str]:
    """Return the numbers that a page of rules defines."""
    return {f"{section}{number}" for section, number in RULE.findall(text)}


def named_rules(text: str) -> set[str]:
    """Return the numbers that a text names in parentheses."""
    return {number for group in NAMED.findall(text) for number in re.findall(r"[A-L]\d+", group)}


def dead_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file."""
    return [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]


SHOWN = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
"""A test as a page names it: `tests/core/test_log.py::test_a_gap_is_a_bug`."""


def missing_tests(text: str) -> list[str]:
    """Return the tests that a page names and that do not exist."""
    return [
        f"{path}::{name}"
        for path, name in SHOWN.findall(text)
        if not (ROOT / path).exists() or f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ]


def docstrings(path: Path) -> str:
    """Return every docstring of a source file, and every other string that stands as a statement."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return "\n".join(
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A page refers only to files that exist."""
    assert dead_links(page) == []


def test_every_test_that_is_named_exists() -> None:
    """What a page says is shown by a test can be looked up and run; each feature that we have names one."""
    assert {page.name: missing for page in PAGES if (missing := missing_tests(page.read_text(encoding="utf-8")))} == {}
    features = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    ours = [line for line in features.splitlines() if line.split("|")[2:3] == [" yes "]]
    assert len(ours) > 20
    assert [line for line in ours if not SHOWN.search(line)] == []


def test_the_rules_are_numbered_without_a_gap() -> None:
    """Every section of the rules counts from 1, so that no number can go missing."""
    rules = rules_of((ROOT / "docs" / "rules.md").read_text(encoding="utf-8"))
    counts = {section: sum(rule[0] == section for rule in rules) for section in "ABCDEFGHIJKL"}
    assert rules == {f"{section}{number}" for section, count in counts.items() for number in range(1, count + 1)}
    assert sum(counts.values()) == 284


def test_every_rule_that_is_named_exists() -> None:
    """A number in a docstring of source or test is one of docs/rules.md."""
    rules = rules_of((ROOT / "docs" / "rules.md").read_text(encoding="utf-8"))
    unknown = {str(path.relative_to(ROOT)): sorted(named_rules(docstrings(path)) - rules) for path in SOURCES}
    assert {path: numbers for path, numbers in unknown.items() if numbers} == {}


def test_the_checks_can_fail(tmp_path: Path) -> None:
    """A dead link is found, and names of rules are recognised in each way they are written."""
    page = tmp_path / "page.md"
    page.write_text("[a](page.md) [b](gone.md#part) [c](https://example.org/x) [d](#part)", encoding="utf-8")
    assert dead_links(page) == ["gone.md"]
    text = "`tests/architecture/test_docs.py::test_gone` `tests/architecture/test_docs.py::test_links_lead_somewhere`"
    assert missing_tests(text) == ["tests/architecture/test_docs.py::test_gone"]
    assert named_rules("so (B6), (B22 to B24), (requirement F17); not (S1) or B7") == {"B6", "B22", "B24", "F17"}
    assert rules_of("**A1 !!** x\n\n**A2** y\n| I1 | z\nsee **A9**") == {"A1", "A2", "I1"}
