"""How fast slots arrive on virtual time, until all is healed: then nobody is slow, or waits for having been.

Otherwise a run went on for seconds in which nothing could fail any more.
"""

import asyncio

from raftline.kv.sharded.mover import DEFAULT_BYTES_PER_SECOND, Pace
from raftline.sim.cluster import Member
from raftline.sim.sharded.scenario import FAST_SNAPSHOTS

__all__ = ["HealingPace", "hasten_snapshots"]


class HealingPace(Pace):
    """A pace that ends those who wait when it is healed."""

    def __init__(self, bytes_per_second: int) -> None:
        super().__init__(bytes_per_second)
        self._waiting: list[asyncio.Future[None]] = []

    def heal(self) -> None:
        """Be as fast as usual, and owe nothing."""
        self.bytes_per_second, self._free_at_s = DEFAULT_BYTES_PER_SECOND, 0.0
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.get_loop().call_soon(_wake, future)

    async def _sleep(self, for_s: float) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting = [other for other in self._waiting if not other.done()]
        self._waiting.append(future)
        timer = loop.call_later(for_s, _wake, future)
        try:
            await future
        finally:
            timer.cancel()


def hasten_snapshots(member: Member) -> None:
    """Let the snapshots of a machine take no time from now on."""
    assert member.node is not None, "it is up"
    host = member.node._host  # noqa: SLF001  the simulator looks inside
    assert host is not None, "it takes requests"
    host.snapshot_pace._bytes_per_s = FAST_SNAPSHOTS  # noqa: SLF001
    host.snapshot_pace._free_at = 0.0  # noqa: SLF001


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
