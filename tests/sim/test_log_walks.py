"""Walks of one durable log: the code as it is keeps its promises, and a log that forgets is found out."""

import pytest

from raftline.errors import SafetyViolation
from raftline.sim.log_walks import LogWalk
from raftline.wal.wal import Wal

STEPS = 150


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_a_log_holds_what_it_promised(first: int) -> None:
    """After every crash exactly what was durable is there, or that and the one batch under way (C1 to C5, C13)."""
    crashes = 0
    for seed in range(first, first + 20):
        walk = LogWalk(seed)
        walk.run(STEPS)
        crashes += walk.crashes
        assert walk.now > 0
    assert crashes > 100


def test_a_walk_can_be_repeated() -> None:
    """The same seed makes the same log."""
    one, other = LogWalk(3), LogWalk(3)
    one.run(STEPS)
    other.run(STEPS)
    assert (one.held, one.now, one.disk.reached) == (other.held, other.now, other.disk.reached)


def test_a_log_that_forgets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that never reached the disk is missed at the next start (C5)."""
    walk = LogWalk(0)
    monkeypatch.setattr(Wal, "append", lambda *_: None)
    with pytest.raises(SafetyViolation, match="C5"):
        walk.run(STEPS)
