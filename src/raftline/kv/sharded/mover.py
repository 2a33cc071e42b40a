"""What the leader of a group does so that slots move: everything it decides becomes an entry of its own group's log.

It asks the controller for the next configuration, other groups for what they gave and whether they have what this one
gave, and proposes. It may stop anywhere, or run on two nodes at once: entries that come twice or too late change
nothing, and the next leader goes on from the group's state. No group waits for another inside its applier (G18).
"""

import asyncio
from typing import Protocol

import structlog

from raftline.core.ids import GroupId
from raftline.errors import RaftlineError
from raftline.kv.sharded.machine import ShardMachine, arrive, decode_chunk, drop, fetch, has_all, take_configuration
from raftline.shards.configuration import Configuration
from raftline.shards.ranges import NOBODY

__all__ = ["Directory", "GroupNode", "Mover"]

_log = structlog.get_logger("raftline.shards")

_LOOK_S = 0.1
"""How often a settled group asks for the next configuration, and one that waits asks again."""
_DROPPED_KEYS = 2000


class Directory(Protocol):
    """How groups and the controller are reached; both calls raise `RaftlineError` or `OSError` if they are not."""

    async def configuration(self, number: int) -> Configuration:
        """Return configuration `number`, the newest if there is none of that number yet."""

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        """Return what some node of a group answers to `query` from its own, maybe older state."""


class GroupNode(Protocol):
    """The part of `raftline.Node` that is needed here."""

    @property
    def is_leader(self) -> bool:
        """Say whether this node leads the group, as far as it knows."""

    async def propose(self, command: bytes) -> bytes:
        """Replicate a command and return its result."""


class Mover:
    """One node's; it works while that node leads the group."""

    def __init__(self, node: GroupNode, machine: ShardMachine, directory: Directory) -> None:
        self._node = node
        self._machine = machine
        self._directory = directory

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            try:
                moved = self._node.is_leader and await self._step()
            except (RaftlineError, OSError) as error:
                _log.debug("a step of moving slots failed", group=self._machine.holdings.group, error=str(error))
                moved = False
            if not moved:
                await asyncio.sleep(_LOOK_S)

    async def _step(self) -> bool:
        """Do what can be done now; return whether it is worth while to go on at once."""
        holdings = self._machine.holdings
        if holdings.is_settled:
            return await self._take_next(holdings.configuration.number + 1)
        sources, targets = list(holdings.arrivals), list(holdings.given)
        outcomes = await asyncio.gather(
            *(self._fetch(source) for source in sources),
            *(self._drop(target) for target in targets),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, RaftlineError | OSError):
                raise outcome
        return any(outcome is True for outcome in outcomes)

    async def _take_next(self, number: int) -> bool:
        """Enter the next configuration if there is one."""
        found = await self._directory.configuration(number)
        if found.number != number:
            return False
        await self._node.propose(take_configuration(found))
        return True

    async def _fetch(self, source: GroupId) -> bool:
        """Get the next chunk of what another group gave, and enter it."""
        holdings = self._machine.holdings
        question = fetch(holdings.configuration.number, holdings.group, holdings.arrivals[source].cursor)
        chunk = decode_chunk(await self._directory.ask(source, question))
        if chunk is None:
            return False  # it has not come so far
        await self._node.propose(arrive(chunk))
        return True

    async def _drop(self, target: GroupId) -> bool:
        """Remove some of what was given, once it is there."""
        holdings = self._machine.holdings
        number = holdings.configuration.number
        if target != NOBODY and await self._directory.ask(target, has_all(number, holdings.group)) != b"1":
            return False
        await self._node.propose(drop(number, target, _DROPPED_KEYS))
        return True
