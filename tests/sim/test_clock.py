"""SimClock: a wall clock that drifts and jumps."""

from raftline.runtime.ports import Clock
from raftline.sim.clock import EPOCH_MS, SimClock
from raftline.sim.loop import SimLoop


def test_it_follows_virtual_time_at_its_own_rate() -> None:
    """Ten seconds pass as eleven on a clock that is a tenth too fast, from where it started."""
    with SimLoop(1) as loop:
        loop.run_for(5)
        right: Clock = SimClock(loop)
        fast = SimClock(loop, rate=1.1, offset_ms=-250.0)
        assert (right.wall_ms(), fast.wall_ms()) == (EPOCH_MS + 5000, EPOCH_MS + 4750)
        loop.run_for(10)
        assert (right.wall_ms(), fast.wall_ms()) == (EPOCH_MS + 15000, EPOCH_MS + 15750)


def test_it_jumps_and_changes_its_rate_without_a_step() -> None:
    """A jump moves it at once, a change of rate only from then on."""
    with SimLoop(1) as loop:
        clock = SimClock(loop)
        loop.run_for(10)
        clock.jump(-3_600_000)
        assert clock.wall_ms() == EPOCH_MS + 10_000 - 3_600_000
        clock.set_rate(2.0)
        assert clock.wall_ms() == EPOCH_MS + 10_000 - 3_600_000
        loop.run_for(1)
        assert clock.wall_ms() == EPOCH_MS + 12_000 - 3_600_000
        assert clock.jumps == 1
