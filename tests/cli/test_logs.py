"""Where log lines go."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from raftline.cli.logs import set_up_logs
from raftline.cli.output import complain


@pytest.fixture(autouse=True)
def _structlog_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def test_lines_go_to_standard_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, with level, time and the node."""
    set_up_logs("info", "json", node="n1")
    structlog.get_logger("x").info("event", term=3)
    captured = capsys.readouterr()
    assert captured.out == ""
    line = json.loads(captured.err)
    assert {key: line[key] for key in ("event", "term", "node", "level")} == {
        "event": "event", "term": 3, "node": "n1", "level": "info",
    }  # fmt: skip
    assert line["timestamp"].endswith("Z")


def test_lines_are_readable_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """No colours where there is no terminal."""
    set_up_logs("info", "text")
    structlog.get_logger("x").warning("event", term=3)
    error = capsys.readouterr().err
    assert "event" in error
    assert "term=3" in error
    assert "\x1b" not in error


def test_less_important_lines_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """At level error a warning is not written."""
    set_up_logs("error", "json")
    structlog.get_logger("x").warning("event")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_that_nobody_can_read_disturbs_nobody(monkeypatch: pytest.MonkeyPatch, log_format: str) -> None:
    """The terminal was closed, or the disk is full: whoever logs goes on, a node that is to stop above all."""
    went_on = False
    with contextlib.suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stderr", full)
        set_up_logs("info", log_format, node="n1")
        for _ in range(1000):
            structlog.get_logger("x").info("event", value="x" * 100)
        complain("raftline x: this cannot be told either")
        went_on = True
    assert went_on
