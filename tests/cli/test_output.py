"""How commands talk."""

import os
import sys

import pytest
from rich.table import Table

from raftline.cli.output import complain, make_console, say


def test_answers_and_complaints_go_to_different_places(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output can be piped without the complaints."""
    say("answer")
    complain("complaint")
    captured = capsys.readouterr()
    assert captured.out == "answer\n"
    assert captured.err == "complaint\n"


def test_a_reader_that_went_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`raftline status ... | head -1` ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    say("nobody reads this")
    monkeypatch.undo()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_tables_are_not_wrapped_in_a_pipe() -> None:
    """A row stays a line where nobody said how wide the screen is."""
    assert make_console().width >= 120


def test_an_address_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in the brackets of an IPv6 address is no style."""
    table = Table("address")
    table.add_row("[fe80::1]:7001")
    make_console().print(table)
    make_console().print("[fe80::2]:7002")
    shown = capsys.readouterr().out
    assert "[fe80::1]:7001" in shown
    assert "[fe80::2]:7002" in shown
