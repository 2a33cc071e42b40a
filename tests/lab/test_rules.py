"""The rules that diagnoses point to are those of the documentation."""

import re
from pathlib import Path

from raftline.lab.rules import RULES

_PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


def test_every_rule_has_its_number_in_the_documentation() -> None:
    """Whoever is told a number finds it in docs/rules.md."""
    known = set(re.findall(r"\*\*([A-L]\d+)\b", _PAGE.read_text(encoding="utf-8")))
    assert sorted(set(RULES) - known) == []


def test_a_rule_is_one_sentence() -> None:
    """Rules fit on a line of a diagnosis."""
    assert [number for number, rule in RULES.items() if not 10 < len(rule) < 160 or rule.endswith(".")] == []
