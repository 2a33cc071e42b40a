"""How fast slots arrive on virtual time, until all is healed: then nobody is slow, or waits for having been.

Otherwise a run went on for seconds in which nothing could fail any more.
"""

import asyncio

from raftline.kv.sharded.mover import DEFAULT_BYTES_PER_SECOND, Pace

__all__ = ["HealingPace"]


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


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
