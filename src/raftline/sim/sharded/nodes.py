"""A sharded store on virtual time as servers run it: a few nodes that all hold the controller, and host many groups.

One log, one transport and one keeper per node, so that a crash hits replicas of all its groups at once. The keeper that
ships hosts what a configuration gives its node, moves slots, and retires groups that left.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from raftline.core.ids import GroupId, NodeId
from raftline.core.state import RaftState
from raftline.errors import RaftlineError, SafetyViolation
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.sharded.directory import LocalDirectory
from raftline.kv.sharded.keeper import Keeper
from raftline.kv.sharded.machine import ShardMachine
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.sharded.mover import DEFAULT_BYTES_PER_SECOND
from raftline.kv.sharded.requests import AddGroups, Began, Request, Retire, change_command
from raftline.kv.sharded.service import ShardedService
from raftline.kv.sharded.settings import KeeperSettings
from raftline.runtime.handle import GroupHandle
from raftline.runtime.node import Node
from raftline.shards.configuration import Change, Configuration, Join, Place
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.loop import SimLoop
from raftline.sim.no_checks import NoChecks
from raftline.sim.service_door import ServiceDoor
from raftline.sim.sharded.groups import node_config
from raftline.sim.sharded.ownership import Ownership, WatchedShard
from raftline.sim.sharded.pace import HealingPace
from raftline.sim.sharded.scenario import ShardScenario
from raftline.sim.sharded.ways import CONTROLLER, Call, Copy, Ways, lag_of, newest_leader
from raftline.transport.address import parse_address

__all__ = ["SharedNodes"]

_LATE_S_MAX = 2.0
_LEFT_MIN = 2
"""Voters that a group needs beside one whose disk is emptied: else it had no leader if one of them stopped."""


class WatchedMeta(MetaMachine):
    """Group 0's machine, whose configurations `Ownership` gets to know."""

    def __init__(self, ownership: Ownership) -> None:
        super().__init__()
        self._ownership = ownership
        ownership.on_configuration(self.configuration)

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Make a change, or whatever else it is."""
        reply = super().apply(command, index, time_ms)
        self._ownership.on_configuration(self.configuration)
        return reply


class _WatchedDirectory(LocalDirectory):
    """One whose questions to other nodes are counted."""

    def __init__(self, ownership: Ownership, keeper: Keeper, meta: MetaMachine) -> None:
        super().__init__(keeper, meta)
        self._ownership = ownership

    async def _ask_others(self, group: GroupId, query: bytes) -> bytes:
        self._ownership.counts["questions of movers to other nodes"] += 1
        return await super()._ask_others(group, query)


class _WatchedKeeper(Keeper):
    """A keeper whose groups are watched, and whose faults end the run instead of being tried again."""

    def __init__(
        self,
        ownership: Ownership,
        scenario: ShardScenario,
        pace: HealingPace,
        chance: Callable[[], float],
        *arguments: Any,
    ) -> None:
        super().__init__(*arguments)
        self._ownership = ownership
        self._sessions_max = scenario.sessions_max
        self.pace = self._pace = pace
        self._chance, self._told_again = chance, scenario.told_again
        self._directory = _WatchedDirectory(ownership, self, self._meta)

    def make_machine(self, group: GroupId) -> ShardMachine:
        """Return a machine that is watched."""
        return WatchedShard(group, self._ownership, self._sessions_max)

    def _begin(self, what: str, group: GroupId, work: Callable[[GroupId], Coroutine[Any, Any, None]]) -> None:
        super()._begin(what, group, lambda group: self._watched(what, work(group)))

    async def _host(self, group: GroupId) -> None:
        self._ownership.counts["replicas that came back to a node"] += group in self._dropped
        await super()._host(group)

    async def change(self, request: Request) -> bytes:
        """Have a change made; that a group has begun, or is retired, may be told again much later."""
        reply = await super().change(request)
        if isinstance(request, Began | Retire) and self._chance() < self._told_again:
            asyncio.get_running_loop().call_later(_LATE_S_MAX * self._chance(), self._tell_again, request)
        return reply

    def _tell_again(self, request: Request) -> None:
        self._ownership.counts["requests of keepers told again"] += 1
        self._begin("tell again", 0, lambda _group: self._told(request))

    async def _told(self, request: Request) -> None:
        await super().change(request)

    async def _watched(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (RaftlineError, OSError):
            raise
        except Exception as error:
            self._ownership.fail(SafetyViolation(f"the keeper fails to {what}: {type(error).__name__}: {error}"))
            raise


class SharedNodes(Ways):
    """Nodes n1, n2, ..., which begin with `scenario.joined` groups by themselves."""

    begins_by_itself = True

    def __init__(
        self,
        world: SimLoop,
        scenario: ShardScenario,
        ownership: Ownership,
        note: Callable[[GroupId, NodeId, str, str], None],
        *,
        messages: bool = False,
    ) -> None:
        """Prepare; `note` hears of what happens to machines, and of their messages if that is wanted."""
        super().__init__(world, scenario, ownership)
        self._keepers: dict[NodeId, tuple[Any, _WatchedKeeper]] = {}
        """By node: the incarnation, and its keeper."""
        self._tasks: dict[NodeId, asyncio.Task[None]] = {}
        cluster = SimCluster(
            world,
            scenario.nodes,
            config_of=partial(node_config, scenario),
            make_machine=partial(WatchedMeta, ownership),
            make_checkers=NoChecks,
            disk_faults=scenario.plan_of(0).disk_faults(),
            trace=partial(note, CONTROLLER) if messages else None,
        )
        cluster.on_ready = self._on_ready
        self.cluster = self.clusters[0] = cluster
        self._few: set[NodeId] = set()
        """Nodes that somebody has asked to place a group on that cannot miss them: they keep their disks."""
        self.eligible = list(cluster.members)
        """Nodes that groups may be placed on: members of group 0 that are to stay."""
        self.door = ServiceDoor(cluster, self.make_service)
        """Connections of clients that speak RESP."""

    def _on_ready(self, member: Member) -> None:
        """Run the keeper beside a node that has just begun; called in the node's own loop."""
        node, machine, loop = member.node, member.machine, member.loop
        assert isinstance(machine, MetaMachine), "as made above"
        assert loop is not None, "it runs"
        self.hasten(member)
        scenario = self.scenario
        pace = HealingPace(DEFAULT_BYTES_PER_SECOND if self.is_healed else scenario.bytes_per_second)
        settings = KeeperSettings(first_groups=scenario.joined, replicas=scenario.replicas)
        chance = self.world.stream(f"keeper {member.name}.{member.incarnation}").random
        keeper = _WatchedKeeper(self.ownership, scenario, pace, chance, node, member.name, machine, settings)
        self._keepers[member.name] = node, keeper
        self._tasks[member.name] = loop.create_task(keeper.run(), name="keeper")

    def _keeper(self, member: Member) -> Keeper | None:
        node, keeper = self._keepers.get(member.name, (None, None))
        return keeper if member.ready and node is member.node else None

    @property
    def group_ids(self) -> Sequence[GroupId]:
        """Return the controller and every group that some node hosts."""
        hosted = {group for member in self.cluster.ready() for group in self._hosted(member)}
        return CONTROLLER, *sorted(hosted)

    def _hosted(self, member: Member) -> Sequence[GroupId]:
        keeper = self._keeper(member)
        return tuple(keeper.hosted_groups()) if keeper is not None else ()

    def members(self, group: GroupId) -> Sequence[Member]:  # noqa: ARG002  any node may be asked, and may not host it
        """Return all machines."""
        return tuple(self.cluster.members.values())

    def handle(self, member: Member, group: GroupId) -> GroupHandle | None:
        """Return a machine's replica of a group, None if it does not host it."""
        if member.node is None or group == CONTROLLER:
            return member.node
        return member.node.groups.get(group) if group in self._hosted(member) else None

    def copies(self, group: GroupId) -> list[Copy]:
        """Return the replicas of a group on machines that take requests."""
        found: list[Copy] = []
        for member in self.cluster.ready():
            handle = self.handle(member, group)
            if handle is not None and handle._group is not None:  # noqa: SLF001  the simulator looks inside
                machine = member.machine if group == CONTROLLER else handle.machine
                found.append(Copy(member.name, handle._group.replica, machine, handle.is_leader))  # noqa: SLF001
        return found

    def build(self) -> Member:
        """Return a new machine, which is not started yet."""
        member = self.cluster.join()
        self.cluster.addresses[member.name] = str(parse_address(self.cluster.addresses[member.name]))  # as members do
        return member

    def begin_replacing(self, old: NodeId, new: NodeId) -> None:
        """From now on groups may be placed on a new node, and no more on one that is to go."""
        self.eligible[self.eligible.index(old)] = new

    def needs(self, node: NodeId) -> bool:
        """Say whether any group may need a replica on a node, or is to have one there."""
        newest = max(self.copies(CONTROLLER), key=lambda copy: copy.replica.applied, default=None)
        if newest is None:
            return True
        assert isinstance(newest.machine, MetaMachine), "group 0's"
        return any(node in nodes or not self._is_on(group, nodes) for group, nodes in newest.machine.groups)

    def may_wipe(self, member: Member) -> bool:
        """Say whether every group would go on without a machine, with all that it has committed."""
        newest = self.ownership.configurations[-1]
        placed = list(newest.groups)
        for copy in self.copies(CONTROLLER):
            assert isinstance(copy.machine, MetaMachine), "group 0's"
            placed += copy.machine.groups  # also of those that leave
        if member.name in self._few or any(_is_few(nodes) and member.name in nodes for _, nodes in placed):
            return False  # it may vote elsewhere still, where it can be missed
        groups = {*newest.group_ids, *self.group_ids[1:]}
        return all(self._is_safe_without(group, member.name) for group in sorted(groups))

    def _is_safe_without(self, group: GroupId, node: NodeId) -> bool:
        """Say whether a node has no vote in a group, or two others or more have one and hold what is committed."""
        copies = self.copies(group)
        state = newest_leader(copies)
        if state is None or state.membership.is_joint or state.configuration.index > state.commit:
            return False
        if not state.membership.is_voter(node):
            return True
        others = [name for name in state.membership.voters if name != node]
        level = {copy.name for copy in copies if _holds_all(copy.state, state)}
        return len(others) >= _LEFT_MIN and level.issuperset(others)

    def _is_on(self, group: GroupId, nodes: Sequence[NodeId]) -> bool:
        """Say whether those who vote in a group are on these nodes, for good."""
        state = newest_leader(self.copies(group))
        if state is None or state.membership.is_joint or state.configuration.index > state.commit:
            return False
        return set(state.membership.voters) == set(nodes)

    def late(self) -> list[str]:
        """Return which replicas are not there yet, which are there still, and which groups are not retired."""
        newest = self.ownership.configurations[-1]
        late = [f"{member.name} is down" for member in self.cluster.members.values() if not member.ready]
        for group in newest.group_ids:
            copies = self.copies(group)
            there = {copy.name for copy in copies}
            late += [f"{name} does not host group {group}" for name in newest.nodes_of(group) if name not in there]
            late += [f"{name} still hosts group {group}" for name in there if name not in newest.nodes_of(group)]
            late += [lag for copy in copies if (lag := lag_of(copy, newest.number))]
        late += [f"group {group} is still hosted" for group in self.group_ids[1:] if group not in newest.group_ids]
        first = newest_leader(self.copies(CONTROLLER))
        members = () if first is None else first.membership.everyone()
        for group in newest.group_ids:
            late += [
                f"group {group} is for {name}, no member" for name in newest.nodes_of(group) if name not in members
            ]
        for member in self.cluster.ready():
            if member.node is not None and member.node.recovered_groups:
                late.append(f"{member.name} keeps groups {member.node.recovered_groups} that nobody needs")
        return late or ([] if newest.number else ["there is no group"])

    def joining(self, there: Sequence[GroupId]) -> Mapping[GroupId, tuple[NodeId, ...]]:
        """Return one group, whatever its number will be, unless there are enough."""
        return {-1: tuple(self.eligible)} if len(there) < self.scenario.groups else {}

    def places(self, nodes: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return the nodes with the first that is up and has no replica in place of the first that has one."""
        spare = self.takers(nodes)
        return (*nodes[1:], spare[0]) if spare else ()

    def takers(self, without: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return the nodes that take requests, but for some."""
        ready = {member.name for member in self.cluster.ready()}
        return tuple(name for name in self.eligible if name in ready and name not in without)

    async def configuration(self, at: int) -> Configuration:
        """Ask a machine for the newest one that it knows."""
        return (await self.placeable(at))[0]

    async def placeable(self, at: int) -> tuple[Configuration, Mapping[GroupId, Sequence[NodeId]]]:
        """Ask a machine for what it knows: groups that are leaving are placed as well."""

        async def known(node: GroupHandle) -> tuple[Configuration, Mapping[GroupId, Sequence[NodeId]]]:
            machine = node.machine
            assert isinstance(machine, MetaMachine), "group 0's"
            return machine.configuration, dict(machine.groups)

        return await self.ask(self.world, None, CONTROLLER, at, known)

    async def change(self, at: int, session: int | None, sequence: int, change: Change) -> str:
        """Propose a change at a machine, as a keeper does."""
        if isinstance(change, Place) and _is_few(change.nodes):
            if any(self.cluster.members[name].was_wiped for name in change.nodes):
                return "a disk was emptied there: nobody who knows that would have a group depend on it"
            self._few.update(change.nodes)
        addresses = {name: self.cluster.addresses[name] for name in self.eligible}
        request: Request = AddGroups(1, addresses, self.scenario.replicas) if isinstance(change, Join) else change
        command = change_command(request)
        call: Call[bytes] = lambda node: node.propose(command, session=session, sequence=sequence)  # noqa: E731
        reply = await self.ask(self.world, None, CONTROLLER, at, call)
        return reply[1:].decode().strip() if reply.startswith(b"-") else ""

    def make_service(self, member: Member, node: Node, machine: KvMachine) -> ShardedService:
        """Return what serves the clients of a node that has begun."""
        keeper = self._keepers[member.name][1]
        name, clock = member.name, member.clock
        service = ShardedService(node, machine, Limits(), clock, name, 6379, groups=keeper, hold_s_max=0.6)
        service.shards = keeper
        return service

    def heal(self) -> None:
        """From now on nothing is lost, and nothing is slow."""
        super().heal()
        for _, keeper in self._keepers.values():
            keeper.pace.heal()


def _is_few(nodes: Sequence[NodeId]) -> bool:
    """Say whether a group on these nodes could not go on without one of them."""
    return len(nodes) <= _LEFT_MIN


def _holds_all(state: RaftState, leader: RaftState) -> bool:
    """Say whether a replica may vote, and has everything on disk that its leader has committed."""
    index, log = leader.commit, state.log
    if not state.established or state.persisted < index:
        return False
    return index <= log.base_index or log.term_at(index) == leader.log.term_at(index)
