"""A sharded store on virtual time: the controller's group and those that serve slots, each on machines of its own.

Beside each group's node runs the mover that ships, in the node's loop, so that it pauses and dies with it. Between
groups, and between clients and groups, requests take their time, are lost, and find whole groups cut off.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from raftline.core.ids import GroupId, NodeId
from raftline.errors import OperatingError
from raftline.kv.sharded.mover import DEFAULT_BYTES_PER_SECOND, Mover, Pace
from raftline.runtime.config import NodeConfig
from raftline.runtime.node import Node
from raftline.shards.configuration import Configuration
from raftline.shards.controller import decode_configuration, encode_query
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.faults import Latency
from raftline.sim.loop import SimLoop
from raftline.sim.refusals import NodeKilled
from raftline.sim.sharded.ownership import Ownership, WatchedController, WatchedShard
from raftline.sim.sharded.scenario import ShardScenario
from raftline.sim.view import LoopView

__all__ = ["CONTROLLER", "Groups", "Unreachable"]

T = TypeVar("T")

CONTROLLER: GroupId = 0
SERVERS = 3
_PATIENCE_S = 0.3
_TRAVEL = Latency(0.0001, 0.0004, 0.01)


class Unreachable(OperatingError):
    """Nobody answered; what was asked may have been done."""


class Groups:
    """The controller, group 0, and groups 1 to `count`, which serve nothing before they join."""

    def __init__(
        self,
        world: SimLoop,
        scenario: ShardScenario,
        ownership: Ownership,
        make_checkers: Callable[[SimCluster], Any],
        note: Callable[[GroupId, NodeId, str, str], None],
        *,
        messages: bool = False,
    ) -> None:
        """Prepare; `note` hears of what happens to machines, and of their messages if that is wanted."""
        self.world = world
        self.scenario = scenario
        self.ownership = ownership
        self.clusters: dict[GroupId, SimCluster] = {}
        self.lost = 0
        """Requests and answers between groups, or of clients, that did not arrive."""
        self._draw = world.stream("between groups").random
        self._cut: dict[frozenset[GroupId], int] = {}
        self._movers: dict[NodeId, asyncio.Task[None]] = {}
        self._paces: dict[NodeId, Pace] = {}
        self._healed = False
        for group in range(scenario.groups + 1):
            make_machine = partial(WatchedShard, group, ownership) if group else partial(WatchedController, ownership)
            cluster = SimCluster(
                world,
                SERVERS,
                config_of=self._config_of,
                make_machine=make_machine,
                make_checkers=make_checkers,
                disk_faults=scenario.plan_of(group).disk_faults(),
                trace=partial(note, group) if messages else None,
                prefix=f"g{group}n" if group else "c",
            )
            cluster.on_ready = partial(self._on_ready, group)
            self.clusters[group] = cluster

    def _config_of(self, name: NodeId, addresses: dict[NodeId, str]) -> NodeConfig:
        scenario, settings = self.scenario, self.scenario.settings
        assert settings is not None, "resolved"
        return NodeConfig(
            node_id=name,
            members=addresses,
            data_dir="/data",
            request_timeout_s=_PATIENCE_S,
            segment_bytes=1 << 16,
            snapshot_log_entries=scenario.snapshot_entries,
            snapshot_log_bytes=1 << 20,
            keep_log_entries=scenario.snapshot_entries // 4,
            core=settings.core(scenario.chunk_bytes),
        )

    def start(self) -> None:
        """Boot everything."""
        for cluster in self.clusters.values():
            cluster.start()

    def heal(self) -> None:
        """From now on every request arrives, and nothing is slow; machines are another matter."""
        self._healed = True
        for pace in self._paces.values():
            pace.bytes_per_second, pace._free_at_s = DEFAULT_BYTES_PER_SECOND, 0.0  # noqa: SLF001  nothing is owed
        self._cut.clear()

    def _on_ready(self, group: GroupId, member: Member) -> None:
        """Run the mover beside a node that has just begun; called in the node's own loop."""
        node, machine, loop = member.node, member.machine, member.loop
        if group == CONTROLLER or node is None or loop is None:
            return
        assert isinstance(machine, WatchedShard), "a group's"
        pace = Pace(DEFAULT_BYTES_PER_SECOND if self._healed else self.scenario.bytes_per_second)
        self._paces[member.name] = pace
        mover = Mover(node, machine, _Directory(self, group, loop), pace=pace)
        self._movers[member.name] = loop.create_task(mover.run(), name="mover")

    # Ways between groups.

    def cut(self, one: GroupId, other: GroupId, for_s: float) -> None:
        """Let two groups not reach each other for a while."""
        pair = frozenset((one, other))
        self._cut[pair] = self._cut.get(pair, 0) + 1
        self.world.call_later(for_s, self._mend, pair)

    def _mend(self, pair: frozenset[GroupId]) -> None:
        if not self._healed:
            self._cut[pair] -= 1

    def members(self, group: GroupId) -> list[Member]:
        """Return the machines of a group, up or not."""
        return list(self.clusters[group].members.values())

    async def ask(
        self,
        loop: LoopView,
        asker: GroupId | None,
        group: GroupId,
        at: int,
        call: Callable[[Node], Coroutine[Any, Any, T]],
    ) -> T:
        """Carry a request to a machine of a group and its answer back to `loop`; `asker` is the group that asks.

        Raises `Unreachable`, and whatever the node raises.
        """
        answer: asyncio.Future[T] = loop.create_future()
        members = self.members(group)
        self._carry(asker, group, partial(self._serve, members[at % len(members)], loop, asker, group, call, answer))
        # A future of the other side cannot be awaited here; this one is settled in this loop's own turn.
        timer = loop.call_later(_PATIENCE_S * 1.5, _settle, answer, Unreachable(f"group {group} is silent"))
        try:
            return await answer
        finally:
            timer.cancel()

    def _carry(self, one: GroupId | None, other: GroupId | None, arrive: Callable[[], object]) -> None:
        """Let something arrive a moment later, or never."""
        if not self._healed:
            is_cut = one is not None and other is not None and self._cut.get(frozenset((one, other)), 0) > 0
            if is_cut or self._draw() < self.scenario.lost_between:
                self.lost += 1
                return
        self.world.call_later(_TRAVEL.sample(self._draw), arrive)

    def _serve(
        self,
        member: Member,
        loop: LoopView,
        asker: GroupId | None,
        group: GroupId,
        call: Callable[[Node], Coroutine[Any, Any, T]],
        answer: "asyncio.Future[T]",
    ) -> None:
        """Let a node do what was asked, if it is up."""
        node_loop, node = member.loop, member.node
        if node_loop is None or node is None or not member.ready:
            refuse = partial(loop.call_soon, _settle, answer, Unreachable(f"{member.name} is down"))
            self._carry(group, asker, refuse)
            return
        outcome = node_loop.spawn(call(node), name="asked")

        def back(done: "asyncio.Future[T]") -> None:
            if done.cancelled():
                return
            error = done.exception()
            if isinstance(error, NodeKilled):
                error = Unreachable(str(error))
            result = done.result() if error is None else error
            self._carry(group, asker, partial(loop.call_soon, _settle, answer, result))

        outcome.add_done_callback(back)


class _Directory:
    """Ways to the controller and to the other groups, as a server of one of them has."""

    def __init__(self, groups: Groups, group: GroupId, loop: LoopView) -> None:
        self._groups = groups
        self._group = group
        self._loop = loop
        self._draw = groups.world.stream(f"directory {loop.name}").random

    async def configuration(self, number: int) -> Configuration:
        """Ask the controller."""
        query = encode_query(number)
        return decode_configuration(await self._ask(CONTROLLER, lambda node: node.read(query)))

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        """Ask any server of a group for what it knows."""
        return await self._ask(group, lambda node: node.read(query, consistency="stale"))

    async def _ask(self, group: GroupId, call: Callable[[Node], Coroutine[Any, Any, bytes]]) -> bytes:
        at = int(self._draw() * SERVERS)
        return await self._groups.ask(self._loop, self._group, group, at, call)


def _settle(answer: "asyncio.Future[Any]", outcome: Any) -> None:
    """Give an answer to whoever still waits for it."""
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def ready_nodes(members: Sequence[Member]) -> list[Node]:
    """Return the nodes that take requests."""
    return [member.node for member in members if member.ready and member.node is not None]
