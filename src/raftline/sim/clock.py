"""The wall clock of one simulated machine: it drifts, it jumps either way, and it outlives the node's incarnations.

Monotonic time is another matter: each `NodeLoop` has its own, which drifts and never jumps.
"""

from raftline.sim.loop import SimLoop

__all__ = ["EPOCH_MS", "SimClock"]

EPOCH_MS = 1_750_000_000_000
"""Wall-clock time at virtual time 0, in milliseconds since 1970."""


class SimClock:
    """Implements `runtime.ports.Clock`."""

    def __init__(self, loop: SimLoop, *, rate: float = 1.0, offset_ms: float = 0.0) -> None:
        """Start `offset_ms` off the true time and gain `rate` - 1 seconds per second."""
        self._loop = loop
        self._since_s = loop.now
        self._shown_ms = EPOCH_MS + loop.now * 1000.0 + offset_ms
        self._rate = rate
        self.jumps = 0
        self.is_steady = rate == 1.0
        """It never jumped nor drifted."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970, as this machine believes."""
        return int(self._shown_ms + (self._loop.now - self._since_s) * 1000.0 * self._rate)

    def monotonic_s(self) -> float:
        """Return virtual time: what is measured is what passed."""
        return self._loop.now

    def jump(self, by_ms: float) -> None:
        """Set the clock forward, or back with a negative number."""
        self._shown_ms += by_ms
        self.jumps += 1
        self.is_steady = False

    def set_rate(self, rate: float) -> None:
        """Let the clock drift at another rate from now on."""
        self._shown_ms += (self._loop.now - self._since_s) * 1000.0 * self._rate
        self._since_s = self._loop.now
        self._rate = rate
        self.is_steady = self.is_steady and rate == 1.0
