"""Clients that go about their business each on its own, until they are told to stop."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from raftline.sim.loop import SimLoop

__all__ = ["Crowd"]


class _Client(Protocol):
    """One of them."""

    name: str

    def run(self) -> Coroutine[Any, Any, None]:
        """Go on until there is nothing more to do."""


class Crowd:
    """All clients of a kind."""

    def __init__(self, world: SimLoop) -> None:
        self.world = world
        self.clients: Sequence[_Client] = ()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let every one begin."""
        self._tasks = [self.world.create_task(client.run(), name=client.name) for client in self.clients]

    @property
    def busy(self) -> int:
        """Return how many have not ended; raises what one of them found."""
        for task in self._tasks:
            if task.done():
                task.result()
        return sum(not task.done() for task in self._tasks)
