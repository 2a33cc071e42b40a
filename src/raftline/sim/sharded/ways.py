"""How groups, clients and the operator reach each other: requests take their time and are lost, groups are cut off.

What both deployments have in common: in one each group has machines of its own, in the other all share some.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from raftline.core.ids import GroupId, NodeId
from raftline.core.state import RaftState
from raftline.errors import OperatingError
from raftline.replica.replica import Replica
from raftline.runtime.handle import GroupHandle
from raftline.shards.configuration import Change, Configuration
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.faults import Latency
from raftline.sim.loop import SimLoop
from raftline.sim.refusals import NodeKilled
from raftline.sim.sharded.ownership import Ownership, WatchedShard
from raftline.sim.sharded.pace import hasten_snapshots
from raftline.sim.sharded.scenario import ShardScenario
from raftline.sim.view import LoopView

__all__ = ["CONTROLLER", "PATIENCE_S", "Call", "Copy", "Unreachable", "Ways", "lag_of", "newest_leader"]

T = TypeVar("T")

CONTROLLER: GroupId = 0
PATIENCE_S = 0.3
_TRAVEL = Latency(0.0001, 0.0004, 0.01)

Call = Callable[[GroupHandle], Coroutine[Any, Any, T]]


class Unreachable(OperatingError):
    """Nobody answered; what was asked may have been done."""


class Copy(NamedTuple):
    """A group's replica on a machine that is up."""

    name: NodeId
    replica: Replica
    machine: object
    is_leader: bool

    @property
    def state(self) -> RaftState:
        """Return what the replica knows."""
        return self.replica.core.state


class Ways(ABC):
    """The controller, group 0, and groups that serve nothing before they join."""

    begins_by_itself = False
    """Nobody has to ask for the first groups."""

    def __init__(self, world: SimLoop, scenario: ShardScenario, ownership: Ownership) -> None:
        self.world = world
        self.scenario = scenario
        self.ownership = ownership
        self.clusters: dict[int, SimCluster] = {}
        """Machines that a nemesis of their own torments."""
        self.lost = 0
        """Requests and answers between groups, or of clients, that did not arrive."""
        self.is_healed = False
        self._draw = world.stream("between groups").random
        self._cut: dict[frozenset[GroupId], int] = {}

    @property
    @abstractmethod
    def group_ids(self) -> Sequence[GroupId]:
        """Return the controller and every group that may be asked."""

    @abstractmethod
    def members(self, group: GroupId) -> Sequence[Member]:
        """Return the machines of a group, up or not."""

    @abstractmethod
    def handle(self, member: Member, group: GroupId) -> GroupHandle | None:
        """Return what a machine takes requests with, None if it does not host the group."""

    @abstractmethod
    def copies(self, group: GroupId) -> list[Copy]:
        """Return the replicas of a group on machines that take requests."""

    @abstractmethod
    def late(self) -> list[str]:
        """Return in words what is not as the newest configuration has it."""

    @abstractmethod
    def joining(self, there: Sequence[GroupId]) -> Mapping[GroupId, tuple[NodeId, ...]]:
        """Return the groups that may join those who are there, each with its nodes."""

    def places(self, nodes: Sequence[NodeId]) -> tuple[NodeId, ...]:  # noqa: ARG002
        """Return other nodes for a group that is on these; none if it has to stay."""
        return ()

    def takers(self, without: Sequence[NodeId]) -> tuple[NodeId, ...]:  # noqa: ARG002
        """Return the nodes that are up and may take any group, but for some; none if groups have to stay."""
        return ()

    @abstractmethod
    async def configuration(self, at: int) -> Configuration:
        """Ask a machine for the newest configuration."""

    async def placeable(self, at: int) -> tuple[Configuration, Mapping[GroupId, Sequence[NodeId]]]:
        """Ask a machine for the newest configuration, and for the groups that may be placed, each with its nodes."""
        newest = await self.configuration(at)
        return newest, dict(newest.groups)

    @abstractmethod
    async def change(self, at: int, session: int | None, sequence: int, change: Change) -> str:
        """Ask a machine for a change, in a session if there is one; return why it was refused, or nothing."""

    def start(self) -> None:
        """Boot everything."""
        for cluster in self.clusters.values():
            cluster.start()

    def heal(self) -> None:
        """From now on every request arrives; machines are another matter."""
        self.is_healed = True
        self._cut.clear()
        for cluster in self.clusters.values():
            for member in cluster.ready():
                hasten_snapshots(member)

    def hasten(self, member: Member) -> None:
        """Let nothing be slow on a machine that has just begun, if all is healed."""
        if self.is_healed:
            hasten_snapshots(member)

    # Ways between groups.

    def cut(self, one: GroupId, other: GroupId, for_s: float) -> None:
        """Let two groups not reach each other for a while."""
        pair = frozenset((one, other))
        self._cut[pair] = self._cut.get(pair, 0) + 1
        self.world.call_later(for_s, self._mend, pair)

    def _mend(self, pair: frozenset[GroupId]) -> None:
        if not self.is_healed:
            self._cut[pair] -= 1

    async def ask(
        self,
        loop: LoopView,
        asker: GroupId | None,
        group: GroupId,
        at: int,
        call: Call[T],
    ) -> T:
        """Carry a request to a machine of a group and its answer back to `loop`; `asker` is the group that asks.

        Raises `Unreachable`, and whatever the node raises.
        """
        answer: asyncio.Future[T] = loop.create_future()
        members = self.members(group)
        self._carry(asker, group, partial(self._serve, members[at % len(members)], loop, asker, group, call, answer))
        # A future of the other side cannot be awaited here; this one is settled in this loop's own turn.
        timer = loop.call_later(PATIENCE_S * 1.5, _settle, answer, Unreachable(f"group {group} is silent"))
        try:
            return await answer
        finally:
            timer.cancel()

    def _carry(self, one: GroupId | None, other: GroupId | None, arrive: Callable[[], object]) -> None:
        """Let something arrive a moment later, or never."""
        if not self.is_healed:
            is_cut = one is not None and other is not None and self._cut.get(frozenset((one, other)), 0) > 0
            if is_cut or self._draw() < self.scenario.lost_between:
                self.lost += 1
                return
        self.world.at(self.world.now + _TRAVEL.sample(self._draw), arrive)

    def _serve(
        self,
        member: Member,
        loop: LoopView,
        asker: GroupId | None,
        group: GroupId,
        call: Call[T],
        answer: "asyncio.Future[T]",
    ) -> None:
        """Let a node do what was asked, if it is up."""
        node_loop, handle = member.loop, self.handle(member, group) if member.ready else None
        if node_loop is None or handle is None:
            refuse = partial(loop.call_soon, _settle, answer, Unreachable(f"{member.name} is down"))
            self._carry(group, asker, refuse)
            return
        outcome = node_loop.spawn(call(handle), name="asked")

        def back(done: "asyncio.Future[T]") -> None:
            if done.cancelled():
                return
            error = done.exception()
            if isinstance(error, NodeKilled):
                error = Unreachable(str(error))
            result = done.result() if error is None else error
            self._carry(group, asker, partial(loop.call_soon, _settle, answer, result))

        outcome.add_done_callback(back)


def _settle(answer: "asyncio.Future[Any]", outcome: Any) -> None:
    """Give an answer to whoever still waits for it."""
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def lag_of(copy: Copy, newest: int) -> str:
    """Return in words what a replica has not done of the newest configuration; nothing if it is done."""
    machine = copy.machine
    if not isinstance(machine, WatchedShard):
        return ""
    holdings = machine.holdings
    if holdings.configuration.number != newest:
        return f"{copy.name}, group {holdings.group}, is at configuration {holdings.configuration.number} of {newest}"
    if holdings.arrivals or holdings.given:
        return f"{copy.name}, group {holdings.group}, is not done with configuration {newest}"
    return ""


def newest_leader(copies: Sequence[Copy]) -> RaftState | None:
    """Return what a group's leader of the latest term knows, None if nobody leads."""
    return max((copy.state for copy in copies if copy.is_leader), key=lambda state: state.term, default=None)
