"""What a test sees of a simulated cluster: nodes to talk to, virtual time, chance, and a history.

Client code runs on the world's loop as ordinary asyncio code; each call travels to a node's own loop and back, as one
over a network does. A node that dies, or is frozen, leaves its caller without an answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from raftline.core.ids import NodeId
from raftline.errors import ProposalError, Timeout
from raftline.linearizability.history import Operation, Value
from raftline.runtime.node import Node
from raftline.runtime.status import Status
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.nemesis import Nemesis
from raftline.sim.refusals import NodeKilled

__all__ = ["Disconnected", "Simulation"]

T = TypeVar("T")

_TRAVEL_S = 0.0002
_LOOK_AGAIN_S = 0.05


class Disconnected(ProposalError):
    """The node went away before it answered; the command may or may not take effect."""

    may_take_effect = True


class Simulation:
    """A cluster of your state machine that is tormented while `faulty` is True, and must work once it is False.

    Use `asyncio.sleep`, `asyncio.gather`, `asyncio.create_task` and `asyncio.timeout` as ever: time is virtual.
    """

    def __init__(self, seed: int, cluster: SimCluster, nemesis: Nemesis, *, timeout_s: float) -> None:
        self.seed = seed
        self.faulty = True
        """Whether faults are injected; the run sets it to False when it heals everything."""
        self.random: Random = cluster.world.stream("test")
        """Chance for the test's own decisions; the seed fixes it."""
        self.operations: list[Operation] = []
        """The history that is held against the model at the end, if one was given."""
        self.calls = 0
        self._cluster = cluster
        self._nemesis = nemesis
        self._timeout_s = timeout_s

    @property
    def now(self) -> float:
        """Return the virtual time in seconds since the run began."""
        return self._cluster.world.now

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Return the names of all nodes, up or down."""
        return tuple(self._cluster.members)

    @property
    def up(self) -> tuple[NodeId, ...]:
        """Return the names of the nodes that take requests at this moment."""
        return tuple(member.name for member in self._cluster.ready())

    @property
    def leader(self) -> NodeId | None:
        """Return a node that takes itself for the leader; None if there is none."""
        for member in self._cluster.ready():
            if member.node is not None and member.node.is_leader:
                return member.name
        return None

    def status(self, node: NodeId) -> Status | None:
        """Return what a node says of itself; None while it is down."""
        member = self._cluster.everybody[node]
        return member.node.status() if member.ready and member.node is not None else None

    async def propose(
        self, command: bytes, *, node: NodeId | None = None, session: int | None = None, sequence: int = 0
    ) -> bytes:
        """Do `Node.propose` on `node`, or on one that is up, and return the result.

        Raises what `Node.propose` raises, `Disconnected` if the node dies meanwhile, and `Timeout` if it is silent.
        """
        return await self._ask(node, lambda found: found.propose(command, session=session, sequence=sequence))

    async def open_session(self, *, node: NodeId | None = None) -> int:
        """Do `Node.open_session` on `node`, or on one that is up."""
        return await self._ask(node, lambda found: found.open_session())

    async def read(self, query: bytes, *, node: NodeId | None = None) -> bytes:
        """Do `Node.read`, linearizable, on `node`, or on one that is up."""
        return await self._ask(node, lambda found: found.read(query))

    async def ask(self, call: Callable[[Node], Coroutine[Any, Any, T]], *, node: NodeId | None = None) -> T:
        """Do anything else with a `Node`: `call` gets it and returns a coroutine, which runs on that node."""
        return await self._ask(node, call)

    async def recorded(
        self,
        client: str,
        kind: str,
        answer: Awaitable[T],
        *,
        key: str | None = None,
        entered: Value = None,
        output: Callable[[T], Value],
    ) -> T:
        """Await `answer` and write the operation into the history; errors are written as what they mean, and raised.

        `output` makes the value that the model compares out of the result. An operation that surely had no effect is
        left out; one of which nobody knows stays open, also because it was cancelled or raised something of its own.
        """
        called_s = self.now
        try:
            result = await answer
            told = output(result)
        except BaseException as error:
            if not isinstance(error, ProposalError) or error.may_take_effect:
                self.operations.append(Operation(client, kind, entered, None, called_s, None, key))
            raise
        self.operations.append(Operation(client, kind, entered, told, called_s, self.now, key))
        return result

    async def _ask(self, node: NodeId | None, call: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
        """Carry a call to a node and its answer back."""
        self.calls += 1
        member = await self._member(node)
        await asyncio.sleep(_TRAVEL_S)
        loop, found = member.loop, member.node
        if loop is None or found is None or not member.ready:
            raise Disconnected(f"{member.name} is down")
        outcome = loop.spawn(call(found), name="call")
        try:
            done, _ = await asyncio.wait([outcome], timeout=self._timeout_s)
        except asyncio.CancelledError:
            outcome.cancel()
            raise
        if not done:
            outcome.add_done_callback(_look_at)
            raise Timeout(f"{member.name} has not answered for {self._timeout_s} s")
        await asyncio.sleep(_TRAVEL_S)
        try:
            return outcome.result()
        except NodeKilled as error:
            raise Disconnected(str(error)) from None

    async def _member(self, node: NodeId | None) -> Member:
        """Return the node that was asked for, or wait until one is up."""
        if node is not None:
            return self._cluster.everybody[node]
        waited_s = 0.0
        while not (ready := self._cluster.ready()):
            if waited_s >= self._timeout_s:
                raise Disconnected(f"no node was up for {self._timeout_s} s")
            waited_s += _LOOK_AGAIN_S
            await asyncio.sleep(_LOOK_AGAIN_S)
        return ready[int(self.random.random() * len(ready))]


def _look_at(outcome: asyncio.Future[Any]) -> None:
    """Take note of an outcome that nobody waits for any more."""
    if not outcome.cancelled():
        outcome.exception()
