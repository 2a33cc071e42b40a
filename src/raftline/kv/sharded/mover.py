"""What the leader of a group does so that slots move: everything it decides becomes an entry of its own group's log.

It asks the controller for the next configuration, other groups for what they released and whether they have what this
one released, and proposes. It may stop anywhere, or run on two nodes at once: entries that come twice or too late
change nothing, and the next leader goes on from the group's state. No group waits for another inside its applier (G18).
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import structlog

from raftline.core.ids import GroupId
from raftline.errors import ApplyError, OperatingError, RaftlineError
from raftline.kv.sharded.chunks import Chunk
from raftline.kv.sharded.machine import (
    ShardMachine,
    arrive,
    decode_chunk,
    drop,
    fetch,
    has_all,
    release,
    take_configuration,
)
from raftline.shards.configuration import Configuration
from raftline.shards.ranges import NOBODY

__all__ = ["DEFAULT_BYTES_PER_SECOND", "Directory", "GroupNode", "Mover", "Pace", "Retired"]

_log = structlog.get_logger("raftline.shards")

DEFAULT_BYTES_PER_SECOND = 64 << 20
_LOOK_S = 0.1
"""How often a settled group asks for the next configuration."""
_WAIT_S = 0.01
"""How soon one that waits for another asks again: slots that are on their way are served by nobody."""
_WAITS = 100
"""After so many times in vain it asks as seldom as a settled one."""
_DROPPED_KEYS = 2000
_CHUNKS_AHEAD = 8
_REFUSED_S = 5.0
"""How soon a chunk is entered again that cannot be read here: an operator has to do something first."""
_NONE = -1
"""Up to no slot: who has all up to there has entered the configuration."""
_BATCH_BYTES = 1 << 20
_BATCH_KEYS = 2000
_BATCH_S = 0.05
"""A batch is made no larger than what may arrive in this time: while it travels, nobody serves it."""


class Retired(OperatingError):
    """A group that was asked is not there any more: it had left, and was empty."""


class Directory(Protocol):
    """How groups and the controller are reached; both calls raise `RaftlineError` or `OSError` if they are not."""

    async def configuration(self, number: int) -> Configuration:
        """Return configuration `number`, the newest if there is none of that number yet."""

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        """Return what some node of a group answers to `query` from its own, maybe older state; or raise `Retired`."""


class GroupNode(Protocol):
    """The part of `raftline.Node` that is needed here."""

    @property
    def is_leader(self) -> bool:
        """Say whether this node leads the group, as far as it knows."""

    async def propose(self, command: bytes) -> bytes:
        """Replicate a command and return its result."""


class Pace:
    """Bounds how many bytes arrive in a second; what all movers of a node share."""

    def __init__(self, bytes_per_second: int) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at_s = 0.0

    @property
    def batch_bytes(self) -> int:
        """Return how much is to be on its way, and so not served, at a time: what arrives within a moment."""
        return min(_BATCH_BYTES, max(1, int(self.bytes_per_second * _BATCH_S)))

    async def take(self, count_bytes: int) -> None:
        """Wait until `count_bytes` may come."""
        loop = asyncio.get_running_loop()
        begin_s = max(loop.time(), self._free_at_s)
        self._free_at_s = begin_s + count_bytes / self.bytes_per_second
        if begin_s > loop.time():
            await self._sleep(begin_s - loop.time())

    async def _sleep(self, for_s: float) -> None:
        await asyncio.sleep(for_s)


class Mover:
    """One node's; it works while that node leads the group."""

    def __init__(
        self, node: GroupNode, machine: ShardMachine, directory: Directory, *, pace: Pace | None = None
    ) -> None:
        self._node = node
        self._machine = machine
        self._directory = directory
        self._pace = pace or Pace(DEFAULT_BYTES_PER_SECOND)
        self._refused: dict[GroupId, float] = {}
        """Whose chunks cannot be read, and until when none is asked for."""

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self.finish()
            await asyncio.sleep(_LOOK_S)

    async def finish(self) -> None:
        """Go on until there is nothing to do for now, or until this node does not lead any more."""
        while self._node.is_leader:
            holdings = self._machine.holdings
            number = holdings.configuration.number
            if holdings.is_settled:
                if not await self._try(partial(self._take_next, number + 1)):
                    return
                continue
            sources, targets = list(holdings.arrivals), list(holdings.given)
            async with asyncio.TaskGroup() as tasks:  # none waits for another: some may be down
                for source in sources:
                    tasks.create_task(self._go_on(partial(self._fetch, source), partial(self._awaits, number, source)))
                for target in targets:
                    tasks.create_task(self._go_on(partial(self._give, target), partial(self._owes, number, target)))

    async def _go_on(self, step: Callable[[], Awaitable[bool]], is_open: Callable[[], bool]) -> None:
        """Do what there is to do with one other group, until it is done or this node does not lead any more."""
        waits = 0
        while self._node.is_leader and is_open():
            if await self._try(step):
                waits = 0
                continue
            waits += 1
            await asyncio.sleep(_WAIT_S if waits < _WAITS else _LOOK_S)

    async def _try(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """Do what can be done now; return whether it is worth while to go on at once."""
        try:
            return await step()
        except (RaftlineError, OSError) as error:
            _log.debug("a step of moving slots failed", group=self._machine.holdings.group, error=str(error))
            return False

    def _awaits(self, number: int, source: GroupId) -> bool:
        holdings = self._machine.holdings
        return holdings.configuration.number == number and source in holdings.arrivals

    def _owes(self, number: int, target: GroupId) -> bool:
        holdings = self._machine.holdings
        return holdings.configuration.number == number and target in holdings.given

    async def _take_next(self, number: int) -> bool:
        """Enter the next configuration if there is one."""
        found = await self._directory.configuration(number)
        if found.number != number:
            return False
        await self._node.propose(take_configuration(found))
        return True

    async def _fetch(self, source: GroupId) -> bool:
        """Get what another group released, chunk by chunk, and enter it; one chunk is not waited for before the next.

        They stand in the log in the order in which they are proposed. If one of them gets lost, those behind it are
        not what is waited for then, and change nothing.
        """
        holdings = self._machine.holdings
        number, arrival = holdings.configuration.number, holdings.arrivals.get(source)
        if arrival is None:
            return False  # it is complete since the step was begun
        if asyncio.get_running_loop().time() < self._refused.get(source, 0.0):
            return False
        entering: list[asyncio.Task[bytes]] = []
        cursor = arrival.cursor
        try:
            while len(entering) < _CHUNKS_AHEAD:
                answer = await self._directory.ask(source, fetch(number, holdings.group, cursor))
                chunk = decode_chunk(answer)
                if chunk is None:
                    break  # nothing more has been released so far
                await self._pace.take(len(answer))
                entering.append(asyncio.ensure_future(self._enter(chunk)))
                cursor = chunk.next
        finally:
            outcomes = await asyncio.gather(*entering, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return bool(entering)

    async def _enter(self, chunk: Chunk) -> bytes:
        """Propose a chunk; one that cannot be taken in is told, whatever becomes of those behind it."""
        try:
            return await self._node.propose(arrive(chunk))
        except ApplyError as error:
            self._refused[chunk.source] = asyncio.get_running_loop().time() + _REFUSED_S
            group = self._machine.holdings.group
            _log.warning("slots that move cannot be taken in", group=group, source=chunk.source, error=str(error))
            raise

    async def _give(self, target: GroupId) -> bool:
        """Release some slots, or remove those that are there, and release more."""
        holdings = self._machine.holdings
        number, departure = holdings.configuration.number, holdings.given.get(target)
        if departure is None:
            return False
        if departure.released:
            through = departure.released[-1]
            if not await self._has_all(target, number, through):
                return False
            removing = self._node.propose(drop(number, target, through, _DROPPED_KEYS))
            if not departure.waiting:
                await removing
                return True
            await asyncio.gather(removing, self._release(number, target))  # refused if something is left to remove
            return True
        # What is released is served by nobody until it has arrived: so not before there is somebody to take it.
        if not departure.waiting or not await self._has_all(target, number, _NONE):
            return False
        await self._release(number, target)
        return True

    async def _release(self, number: int, target: GroupId) -> None:
        await self._node.propose(release(number, target, self._pace.batch_bytes, _BATCH_KEYS))

    async def _has_all(self, target: GroupId, number: int, through: int) -> bool:
        """Say whether `target` has all that was released; one that is retired could not be if it had not."""
        if target == NOBODY:
            return True
        try:
            return await self._directory.ask(target, has_all(number, self._machine.holdings.group, through)) == b"1"
        except Retired:
            return True
