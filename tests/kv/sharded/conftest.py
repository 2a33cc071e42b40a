"""A sharded store of one process: three Redis ports on loopback in front of groups that answer in the next turn.

Each group has a real `ShardMachine` on each of its nodes, and every command is applied to all of them in one turn;
slots move by the entries that move them in a real log. There is no Raft here: whatever goes wrong is the front's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from raftline.core.ids import GroupId, NodeId
from raftline.errors import NotMember, NotServed, SessionClosed
from raftline.kv.machine import KvMachine
from raftline.kv.server import KvServer
from raftline.kv.sharded.machine import (
    ShardMachine,
    arrive,
    decode_chunk,
    drop,
    fetch,
    release,
    take_configuration,
)
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.sharded.ports import HostedGroup
from raftline.kv.sharded.router import Redirects
from raftline.replica.sessions import Sessions
from raftline.runtime.clock import SystemClock
from raftline.runtime.measurements import Measurements
from raftline.runtime.requests import Consistency, check_promise
from raftline.runtime.status import SessionStatus, Status
from raftline.shards.configuration import EMPTY, Change, Configuration, Join, changed
from raftline.shards.ranges import NOBODY
from raftline.transport.address import Address

if TYPE_CHECKING:
    from tests.kv.conftest import HeldNode

NODES = ("n1", "n2", "n3")
_HOLD_S = 60.0
"""How long a node holds what is not served, unless a test is about the end of it: longer than a process ever stands."""


class FakeGroup:
    """One group: everything is applied in a later turn, in the order in which it came."""

    def __init__(self, group: GroupId, machines: dict[NodeId, KvMachine]) -> None:
        self.group = group
        self.machines = machines
        self.machine = next(iter(machines.values()))
        self.command_version = KvMachine.version
        self.sessions = Sessions()
        for machine in machines.values():
            machine.use_version(KvMachine.version)
            if isinstance(machine, ShardMachine):
                machine.use_sessions(self.sessions)
        self.index = 0
        self.submitted: list[bytes] = []
        self.asked: list[tuple[Consistency, float]] = []
        """What was promised to those who asked from elsewhere."""
        self.opened = 0

    def apply(self, command: bytes, session: int | None = None, sequence: int = 0) -> bytes | Exception:
        """Carry out a command as a replica does, once in a session."""
        self.index += 1
        time_ms = SystemClock().wall_ms()
        if session is not None:
            known = self.sessions.find(session)
            if known is None:
                return SessionClosed("it is not open")
            if known.sequence >= sequence:
                return known.reply
        replies: list[bytes] = []
        for machine in self.machines.values():
            try:
                replies.append(machine.apply(command, self.index, time_ms))
            except NotServed as refused:
                failure = refused
        if not replies:
            return failure
        reply = replies[0]
        if session is not None:
            self.sessions.remember(session, sequence, failed=False, reply=reply, time_ms=time_ms)
        return reply

    def submit(
        self,
        command: bytes,
        done: Callable[[bytes | Exception], None],
        session: int | None = None,
        sequence: int = 0,
    ) -> None:
        self.submitted.append(command)
        asyncio.get_running_loop().call_soon(lambda: done(self.apply(command, session, sequence)))

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",  # noqa: ARG002  there is one copy
        staleness_s_max: float = 0.0,  # noqa: ARG002  likewise
    ) -> None:
        asyncio.get_running_loop().call_soon(done, None)

    async def ask(self, query: bytes, consistency: Consistency = "linearizable", staleness_s_max: float = 0.0) -> bytes:
        check_promise(consistency, staleness_s_max, lease_reads=False)
        self.asked.append((consistency, staleness_s_max))
        await asyncio.sleep(0)
        return self.machine.read(query, SystemClock().wall_ms())

    async def open_session(self, session: int | None = None, born: int | None = None) -> int:
        self.opened += 1
        number = 1000 + self.opened if session is None else session
        if not self.sessions.open(number, SystemClock().wall_ms(), self.opened if born is None else born):
            raise SessionClosed("it is not opened anew")
        return number

    async def close_session(self, session: int) -> bool:
        return self.sessions.close(session, SystemClock().wall_ms())

    async def find_session(self, session: int) -> SessionStatus | None:
        known = self.sessions.find(session)
        return None if known is None else SessionStatus.of(session, known, SystemClock().wall_ms())


class FakeNode:
    """One node's view of a group, and of all of them: a `ShardGroup`, the `KvNode` of group 0, and `Groups`."""

    def __init__(self, cluster: "FakeCluster", name: NodeId, group: FakeGroup) -> None:
        self._cluster = cluster
        self._name = name
        self._group = group
        self.submit = group.submit
        self.open_session, self.close_session = group.open_session, group.close_session
        self.find_session = group.find_session
        self.command_version = KvMachine.version

    def outside(self) -> NotMember | None:
        return self._cluster.outside.get(self._name) if self._group.group == 0 else None

    def before_turn(self, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(call)

    @property
    def is_leader(self) -> bool:
        return self._cluster.leaders.get(self._group.group) == self._name

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        if self._group.group == 0:
            self._cluster.known.pop(self._name, None)  # what was decided before is known here now
        if self._group.group in self._cluster.unled:
            self._cluster.unled[self._group.group].put_nowait(done)
        else:
            self._group.submit_read(done, consistency, staleness_s_max)

    def status(self) -> Status:
        return self._cluster.status()

    def measure(self) -> Measurements:
        return self._cluster.measure()


class FakeGroups:
    """What one node knows of all groups."""

    def __init__(self, cluster: "FakeCluster", name: NodeId) -> None:
        self._cluster = cluster
        self.node_id = name
        self.node_ids = NODES

    @property
    def configuration(self) -> Configuration:
        return self._cluster.known.get(self.node_id, self._cluster.configuration)

    @property
    def group_ids(self) -> tuple[GroupId, ...]:
        known = self._cluster.known.get(self.node_id)
        there = self._cluster.groups.keys() - {0}
        return tuple(sorted(there if known is None else there & set(known.group_ids)))

    def formers(self, slot: int) -> list[GroupId]:
        before = self._cluster.before.owner(slot)
        is_there = before in self._cluster.groups and before not in {NOBODY, self.configuration.owner(slot)}
        return [before] if is_there else []

    def hosted(self, group: GroupId) -> HostedGroup | None:
        held = self._cluster.groups.get(group)
        if held is None or self.node_id not in held.machines or (self.node_id, group) in self._cluster.voteless:
            return None
        machine = held.machines[self.node_id]
        assert isinstance(machine, ShardMachine)
        return HostedGroup(self._cluster.view(self.node_id, group), machine)

    def hosted_groups(self) -> dict[GroupId, HostedGroup]:
        held = {group: each.machines.get(self.node_id) for group, each in self._cluster.groups.items()}
        return {
            group: HostedGroup(self._cluster.view(self.node_id, group), machine)
            for group, machine in held.items()
            if isinstance(machine, ShardMachine)
        }

    def remote(self, group: GroupId) -> FakeGroup:
        return self._cluster.groups[group]

    def serving(self, slot: int) -> GroupId:
        for group in self.group_ids:
            hosted = self.hosted(group)
            if hosted is not None and hosted.machine.holdings.serves(slot):
                return group
        return self.configuration.owner(slot)

    def leader_of(self, group: GroupId) -> NodeId | None:
        return self._cluster.leaders.get(group)

    def is_unled(self, group: GroupId) -> bool:
        return self.hosted(group) is not None and group not in self._cluster.leaders

    def address_of(self, node: NodeId) -> Address | None:
        server = self._cluster.servers.get(node)
        return None if server is None else Address("127.0.0.1", server.port, server.port + 10000)

    def is_up(self, node: NodeId) -> bool:
        return node in self._cluster.servers

    def outside(self) -> NotMember | None:
        return self._cluster.outside.get(self.node_id)

    def watch(self, on_change: Callable[[], None]) -> None:
        """Nothing is told: everything is looked at anew."""


class FakeCluster:
    """Three nodes; `change` configures the groups, `move` carries out the newest configuration."""

    def __init__(self, status: Callable[[], Status], measure: Callable[[], Measurements]) -> None:
        self.status = status
        self.measure = measure
        self.groups: dict[GroupId, FakeGroup] = {0: FakeGroup(0, {node: MetaMachine() for node in NODES})}
        self.leaders: dict[GroupId, NodeId] = {0: "n1"}
        self.known: dict[NodeId, Configuration] = {}
        """What a node knows that has not heard of the newest configuration; the others know that."""
        self.outside: dict[NodeId, NotMember] = {}
        """The nodes that were removed, with what they tell."""
        self.voteless: set[tuple[NodeId, GroupId]] = set()
        """Replicas that do not count: not yet, or not any more."""
        self.unled: dict[GroupId, asyncio.Queue[Callable[[Exception | None], None]]] = {}
        """The groups without a leader, and who waits to read there."""
        self.configuration = self.before = EMPTY
        self._history: list[Configuration] = []
        self.servers: dict[NodeId, KvServer] = {}
        self._views: dict[tuple[NodeId, GroupId], FakeNode] = {}

    def view(self, node: NodeId, group: GroupId) -> Any:
        """Return a group as a node sees it."""
        return self._views.setdefault((node, group), FakeNode(self, node, self.groups[group]))

    async def start(self, redirects: Redirects = "auto") -> None:
        """Open the ports."""
        for name in NODES:
            server = KvServer(
                self.view(name, 0),
                self.groups[0].machines[name],
                "127.0.0.1",
                0,
                groups=FakeGroups(self, name),
                redirects=redirects,
                hold_s_max=_HOLD_S,
            )
            await server.start()
            self.servers[name] = server

    async def stop(self) -> None:
        """Close them."""
        for server in self.servers.values():
            await server.stop()

    def hold_for(self, seconds: float) -> None:
        """Let each node hold what comes by connections that are made from now on no longer than this."""
        for server in self.servers.values():
            server.service._hold_s_max = seconds  # type: ignore[attr-defined]

    def port(self, node: NodeId) -> int:
        """Return where a node serves clients."""
        return self.servers[node].port

    def machine(self, group: GroupId) -> ShardMachine:
        """Return a group's state."""
        machine = self.groups[group].machine
        assert isinstance(machine, ShardMachine)
        return machine

    def change(self, change: Change) -> None:
        """Make the next configuration; nothing moves before `take`."""
        self.before = self.configuration
        self._history += [self.configuration] if self.configuration.number else []
        self.configuration = changed(self.configuration, change)
        for group, nodes in self.configuration.groups:
            if group not in self.groups:
                self.groups[group] = FakeGroup(group, {node: ShardMachine(group) for node in nodes})
                for missed in self._history:
                    self.groups[group].apply(take_configuration(missed))
            self.leaders.setdefault(group, nodes[0])

    def take(self) -> None:
        """Let every group enter the newest configuration."""
        for group in self.configuration.group_ids:
            self.groups[group].apply(take_configuration(self.configuration))

    def release(self, source: GroupId, target: GroupId) -> None:
        """Let one group stop serving what it gives to another."""
        self.groups[source].apply(release(self.configuration.number, target, 1 << 40, 1 << 40))

    def carry(self, source: GroupId, target: GroupId) -> None:
        """Carry over what was released, and drop it where it came from."""
        number = self.configuration.number
        while source in self.machine(target).holdings.arrivals:
            cursor = self.machine(target).holdings.arrivals[source].cursor
            chunk = decode_chunk(self.machine(source).read(fetch(number, target, cursor), 0))
            assert chunk is not None
            self.groups[target].apply(arrive(chunk))
        while target in self.machine(source).holdings.given:
            self.groups[source].apply(drop(number, target, 16_383, 10_000))


Scenario = Callable[[FakeCluster], Awaitable[None]]


@pytest.fixture
def run_sharded(held_node: "HeldNode") -> Callable[..., None]:
    """Return a function that runs a scenario on three nodes.

    Unless it is said otherwise, group 1 is on n1 and n2, led by n1; group 2 is on n2 and n3, led by n2.
    """

    def run(
        scenario: Scenario, redirects: Redirects = "auto", groups: dict[GroupId, tuple[NodeId, ...]] | None = None
    ) -> None:
        async def main() -> None:
            cluster = FakeCluster(held_node.status, held_node.measure)
            cluster.change(Join(groups or {1: ("n1", "n2"), 2: ("n2", "n3")}))
            cluster.take()
            await cluster.start(redirects)
            try:
                await scenario(cluster)
            finally:
                await cluster.stop()

        asyncio.run(main())

    return run
