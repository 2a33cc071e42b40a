"""A queue for the disk that is longer than a write may be is written in parts, between which anything may crash."""

import pytest
import structlog

from raftline.runtime import log_writer
from raftline.sim.run import run_seed
from raftline.sim.scenario import Scenario


@pytest.mark.parametrize("seed", [1, pytest.param(4, marks=pytest.mark.thorough)])
def test_nothing_is_acknowledged_before_all_its_parts_are_written(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one entry in each write, so that hardly a batch is written at once (C2, C5)."""
    monkeypatch.setattr(log_writer, "_WRITE_BYTES_MAX", 1)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        outcome = run_seed(seed, Scenario())
    finally:
        structlog.configure(**before)
    assert outcome.error is None
