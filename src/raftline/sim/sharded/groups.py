"""A sharded store on virtual time: the controller's group and those that serve slots, each on machines of its own.

Beside each group's node runs the mover that ships, in the node's loop, so that it pauses and dies with it. Between
groups, and between clients and groups, requests take their time, are lost, and find whole groups cut off.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from raftline.core.ids import GroupId, NodeId
from raftline.kv.sharded.mover import DEFAULT_BYTES_PER_SECOND, Mover
from raftline.runtime.config import NodeConfig
from raftline.runtime.handle import GroupHandle
from raftline.shards.configuration import Change, Configuration
from raftline.shards.controller import LATEST, decode_configuration, decode_decision, encode_change, encode_query
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.loop import SimLoop
from raftline.sim.sharded.ownership import Ownership, WatchedController, WatchedShard
from raftline.sim.sharded.pace import HealingPace
from raftline.sim.sharded.scenario import ShardScenario
from raftline.sim.sharded.ways import CONTROLLER, PATIENCE_S, Call, Copy, Ways, lag_of
from raftline.sim.view import LoopView

__all__ = ["Groups", "node_config"]

_SERVERS = 3


def node_config(scenario: ShardScenario, name: NodeId, addresses: dict[NodeId, str]) -> NodeConfig:
    """Return a machine's settings."""
    settings = scenario.settings
    assert settings is not None, "resolved"
    return NodeConfig(
        node_id=name,
        members=addresses,
        data_dir="/data",
        request_timeout_s=PATIENCE_S,
        segment_bytes=1 << 16,
        snapshot_log_entries=scenario.snapshot_entries,
        snapshot_log_bytes=1 << 20,
        snapshot_bytes_per_second=scenario.snapshot_bytes_per_second,
        keep_log_entries=scenario.snapshot_entries // 4,
        core=settings.core(scenario.chunk_bytes),
    )


class Groups(Ways):
    """The controller and groups 1 to `scenario.groups`, each on three machines."""

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
        super().__init__(world, scenario, ownership)
        self._movers: dict[NodeId, asyncio.Task[None]] = {}
        self._paces: dict[NodeId, HealingPace] = {}
        for group in range(scenario.groups + 1):
            make_machine = partial(WatchedShard, group, ownership) if group else partial(WatchedController, ownership)
            cluster = SimCluster(
                world,
                _SERVERS,
                config_of=partial(node_config, scenario),
                make_machine=make_machine,
                make_checkers=make_checkers,
                disk_faults=scenario.plan_of(group).disk_faults(),
                trace=partial(note, group) if messages else None,
                prefix=f"g{group}n" if group else "c",
            )
            cluster.on_ready = partial(self._on_ready, group)
            self.clusters[group] = cluster

    @property
    def group_ids(self) -> Sequence[GroupId]:
        """Return the controller and every group."""
        return tuple(self.clusters)

    def members(self, group: GroupId) -> Sequence[Member]:
        """Return the machines of a group, up or not."""
        return tuple(self.clusters[group].members.values())

    def handle(self, member: Member, group: GroupId) -> GroupHandle | None:  # noqa: ARG002  each has one
        """Return a machine's node."""
        return member.node

    def copies(self, group: GroupId) -> list[Copy]:
        """Return the replicas of a group on machines that take requests."""
        return [
            Copy(member.name, node._group.replica, member.machine, node.is_leader)  # noqa: SLF001  looks inside
            for member in self.clusters[group].ready()
            if (node := member.node) is not None and node._group is not None  # noqa: SLF001
        ]

    def late(self) -> list[str]:
        """Return which replicas are not there yet, and where they are."""
        newest = len(self.ownership.configurations) - 1
        late: list[str] = []
        for group, cluster in self.clusters.items():
            late += [f"{member.name} is down" for member in cluster.members.values() if not member.ready]
            late += [lag for copy in self.copies(group) if (lag := lag_of(copy, newest))]
        return late

    def joining(self, there: Sequence[GroupId]) -> Mapping[GroupId, tuple[NodeId, ...]]:
        """Return the groups that are not there."""
        absent = [group for group in self.clusters if group != CONTROLLER and group not in there]
        return {group: tuple(self.clusters[group].members) for group in absent}

    async def configuration(self, at: int) -> Configuration:
        """Ask a machine of the controller."""
        query = encode_query(LATEST)
        return decode_configuration(await self.ask(self.world, None, CONTROLLER, at, lambda node: node.read(query)))

    async def change(self, at: int, session: int | None, sequence: int, change: Change) -> str:
        """Propose a change at a machine of the controller."""
        command = encode_change(change)
        call: Call[bytes] = lambda node: node.propose(command, session=session, sequence=sequence)  # noqa: E731
        return decode_decision(await self.ask(self.world, None, CONTROLLER, at, call)).refusal

    def heal(self) -> None:
        """From now on nothing is lost between groups, and nothing is slow."""
        super().heal()
        for pace in self._paces.values():
            pace.heal()

    def _on_ready(self, group: GroupId, member: Member) -> None:
        """Run the mover beside a node that has just begun; called in the node's own loop."""
        node, machine, loop = member.node, member.machine, member.loop
        self.hasten(member)
        if group == CONTROLLER or node is None or loop is None:
            return
        assert isinstance(machine, WatchedShard), "a group's"
        pace = HealingPace(DEFAULT_BYTES_PER_SECOND if self.is_healed else self.scenario.bytes_per_second)
        self._paces[member.name] = pace
        mover = Mover(node, machine, _Directory(self, group, loop), pace=pace)
        self._movers[member.name] = loop.create_task(mover.run(), name="mover")


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

    async def _ask(self, group: GroupId, call: Call[bytes]) -> bytes:
        at = int(self._draw() * _SERVERS)
        return await self._groups.ask(self._loop, self._group, group, at, call)
