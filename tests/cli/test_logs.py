"""Where log lines go."""

import json
from collections.abc import Iterator

import pytest
import structlog

from raftline.cli.logs import set_up_logs


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
