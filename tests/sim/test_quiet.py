"""Simulated nodes do not write to anybody's terminal."""

import pytest
import structlog

from raftline.sim.quiet import quiet


def test_log_lines_are_dropped_within_the_block_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Within, errors are silent too; afterwards everything is as it was, also after an exception."""
    log = structlog.get_logger("raftline.test")
    with quiet():
        log.error("unheard")
    with pytest.raises(ZeroDivisionError), quiet():
        _ = 1 // 0
    log.error("heard")
    output = capsys.readouterr().out
    assert "heard" in output
    assert "unheard" not in output
