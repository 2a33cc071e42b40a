"""A service on some servers, as the labs see it: production nodes on virtual time, cut apart and crashed at will.

Servers keep their disks over a crash. The network between them is reliable or not, and so is the way of each clerk,
who reaches some of the servers or all. Raft's promises are checked at every step, as in any simulation.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from random import Random
from typing import Any, TypeVar

from raftline.core.config import CoreConfig
from raftline.core.ids import NodeId
from raftline.errors import OperatingError
from raftline.linearizability.history import Operation
from raftline.replica.state_machine import StateMachine
from raftline.runtime.config import NodeConfig
from raftline.runtime.node import Node
from raftline.sim.cluster import SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.faults import CALM_LINK, Latency, LinkFaults
from raftline.sim.loop import SimLoop
from raftline.sim.refusals import NodeKilled
from raftline.sim.trace import Trace

__all__ = ["Deployment", "Unanswered"]

T = TypeVar("T")

_UNRELIABLE = LinkFaults(latency=Latency(0.0, 0.013, 0.027), loss=0.1)
_LOSS = 0.1
_DELAY_S_MAX = 0.027
_TRAVEL_S = 0.0002
_PATIENCE_S = 0.5
_LOOK_S = 0.01


class Unanswered(OperatingError):
    """A server gave no answer; nobody knows whether it did what it was asked."""


class Deployment:
    """Servers `n1`, `n2`, ... of one service."""

    def __init__(
        self,
        world: SimLoop,
        servers: int,
        make_machine: Callable[[], StateMachine],
        *,
        unreliable: bool = False,
        log_bytes_max: int | None = None,
        trace: Trace | None = None,
        prefix: str = "n",
    ) -> None:
        """Prepare; with `log_bytes_max` a snapshot is taken whenever the log holds that much.

        Deployments that share a world give their servers names with different prefixes.
        """
        self.world = world
        self.unreliable = unreliable
        self.log_bytes_max = log_bytes_max
        self.operations: list[Operation] = []
        """What clerks asked and were told, to be held against a model."""
        self.requests = 0
        self.random: Random = world.stream("test")
        self._chance: Random = world.stream(f"clerks' network {prefix}")
        self.cluster = SimCluster(
            world,
            servers,
            config_of=self._config_of,
            make_machine=make_machine,
            trace=trace.note if trace is not None else None,
            prefix=prefix,
        )
        if trace is not None:
            trace.watch(self.cluster)
        self.cluster.network.set_faults(_UNRELIABLE if unreliable else CALM_LINK)

    def _config_of(self, name: NodeId, addresses: dict[NodeId, str]) -> NodeConfig:
        often = self.log_bytes_max
        return NodeConfig(
            node_id=name,
            members=addresses,
            data_dir="/data",
            request_timeout_s=_PATIENCE_S,
            segment_bytes=1 << 16,
            snapshot_log_bytes=1 << 16 if often is None else max(often, 1 << 9),
            snapshot_log_entries=1 << 20,
            keep_log_entries=1 << 20 if often is None else 1,
            core=CoreConfig(),
        )

    @property
    def servers(self) -> tuple[NodeId, ...]:
        """Return the names of all servers."""
        return tuple(self.cluster.members)

    @property
    def messages(self) -> int:
        """Return how many messages servers sent to each other, and clerks to servers."""
        return self.cluster.network.stats.sent + self.requests

    def machines(self) -> list[StateMachine]:
        """Return the state machine of every server."""
        return [member.machine for member in self.cluster.members.values() if member.machine is not None]

    async def start(self) -> None:
        """Boot every server and wait until all take requests."""
        self.cluster.start()
        await self._ready(self.servers)

    async def _ready(self, names: Iterable[NodeId]) -> None:
        await self._until(lambda: all(self.cluster.members[name].ready for name in names))

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Look every few milliseconds of virtual time; nothing tells when it is so."""
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    # Faults.

    def partition(self, *sides: Sequence[NodeId]) -> None:
        """Let servers of different sides not hear each other; clerks are another matter."""
        self.heal()
        self.cluster.network.partition(*sides)

    def heal(self) -> None:
        """Connect all servers."""
        network = self.cluster.network
        network.heal()
        network.set_faults(_UNRELIABLE if self.unreliable else CALM_LINK)

    def divide(self) -> tuple[list[NodeId], list[NodeId]]:
        """Return servers in a majority, the leader not among them if it can be found, and the others."""
        leader = self.leader()
        rest = [name for name in self.servers if name != leader]
        few = (len(self.servers) - 1) // 2
        small = ([leader] if leader is not None else []) + rest
        return small[few:], small[:few]

    def leader(self) -> NodeId | None:
        """Return a server that leads as far as it knows."""
        return next((m.name for m in self.cluster.ready() if m.node is not None and m.node.is_leader), None)

    def crash(self, *names: NodeId) -> None:
        """Kill servers, all unless named; what they wrote stays."""
        for name in names or self.servers:
            if self.cluster.members[name].is_up:
                self.cluster.members[name].crash(CrashKind.PROGRAM)

    async def restart(self, *names: NodeId) -> None:
        """Boot servers, all unless named, and wait until they take requests."""
        for name in names or self.servers:
            self.cluster.members[name].start()
        await self._ready(names or self.servers)

    async def wait_level(self) -> None:
        """Wait until every server has applied the same."""
        await self._until(lambda: len({status.applied_index for status in self._statuses()}) == 1)

    def log_bytes(self) -> int:
        """Return the size of the longest log."""
        return max((status.log_bytes for status in self._statuses()), default=0)

    def snapshot_indexes(self) -> list[int]:
        """Return up to where each server has a snapshot."""
        return [status.snapshot_index for status in self._statuses()]

    def _statuses(self) -> list[Any]:
        return [member.node.status() for member in self.cluster.ready() if member.node is not None]

    # What clerks use.

    async def ask(self, server: NodeId, call: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
        """Carry a request to a server and its answer back; raises `Unanswered`, and whatever the node raises."""
        self.requests += 1
        await self._travel()
        member = self.cluster.members[server]
        loop, node = member.loop, member.node
        if loop is None or node is None or not member.ready:
            await asyncio.sleep(_TRAVEL_S)
            raise Unanswered(f"{server} is down")
        outcome = loop.spawn(call(node), name="clerk")
        done, _ = await asyncio.wait([outcome], timeout=2 * _PATIENCE_S)
        if not done:
            outcome.cancel()
            raise Unanswered(f"{server} is silent")
        await self._travel(outcome)
        try:
            return outcome.result()
        except NodeKilled as error:
            raise Unanswered(str(error)) from None

    async def _travel(self, answer: "asyncio.Future[Any] | None" = None) -> None:
        """Take a message's time; it may be lost on the way."""
        if not self.unreliable:
            await asyncio.sleep(_TRAVEL_S)
            return
        await asyncio.sleep(_DELAY_S_MAX * self._chance.random())
        if self._chance.random() < _LOSS:
            if answer is not None and not answer.cancelled():
                answer.exception()  # nobody will hear of it
            await asyncio.sleep(_PATIENCE_S)
            raise Unanswered("lost on the way")
