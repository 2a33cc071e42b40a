"""The tables of the operator's manual."""

import re
from pathlib import Path

import pytest

from raftline.cli.exit_codes import ExitCode
from raftline.cli.reference import exit_code_reference, settings_reference, with_references
from raftline.cli.settings import settings_table

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_manual_has_the_settings_and_exit_codes_as_they_are() -> None:
    """After a change of the table: `python -m raftline.cli.reference docs/operations.md`."""
    page = PAGE.read_text(encoding="utf-8")
    assert with_references(page) == page
    assert settings_reference() in page
    assert exit_code_reference() in page


def test_every_setting_and_code_has_its_line() -> None:
    """One row each, beside the two of the heading."""
    assert len(settings_reference().splitlines()) == len(settings_table()) + 2
    assert len(exit_code_reference().splitlines()) == len(ExitCode.__members__) + 2


def _bounds() -> dict[str, tuple[str, str]]:
    """Return what the manual says of the least and the most that settings may be."""
    table = PAGE.read_text(encoding="utf-8").partition("### What a setting may be\n")[2].partition("\nSeconds are")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:2] == "| "]
    return {name: (least, most) for names, least, most in rows[1:] for name in re.findall(r"`(\w+)`", names)}


def _stated(cell: str) -> tuple[str, float] | None:
    """Return the number at the beginning of a cell, and whether it is the bound itself or just beyond it."""
    found = re.match(r"(above |below )?(-?\d+)( MiB)?", cell)
    return (found[1] or "", int(found[2]) << (20 if found[3] else 0)) if found else None


def test_the_manual_says_what_each_number_may_be() -> None:
    """As the table of the settings does; a bound that is not there is another setting, and named."""
    found = _bounds()
    for setting in settings_table():
        meta = setting.type.__metadata__[0]
        if setting.base not in {int, float}:
            continue
        least, most = found[setting.name]
        assert _stated(least) == (("above ", meta.gt) if meta.ge is None else ("", meta.ge)), setting.name
        bound = ("below ", meta.lt) if meta.lt is not None else ("", meta.le) if meta.le is not None else None
        assert _stated(most) == bound, setting.name
        assert bound is not None or most.startswith("none") or "`" in most, setting.name
    known = {setting.name for setting in settings_table()}
    assert set(found) <= known


def test_a_page_without_markers_is_refused() -> None:
    """A table is never lost silently."""
    with pytest.raises(AssertionError, match="no marker"):
        with_references("# Nothing here\n")
