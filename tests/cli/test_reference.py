"""The tables of the operator's manual."""

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


def test_a_page_without_markers_is_refused() -> None:
    """A table is never lost silently."""
    with pytest.raises(AssertionError, match="no marker"):
        with_references("# Nothing here\n")
