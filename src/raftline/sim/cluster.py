"""A cluster under simulation: production nodes on virtual time, simulated disks, clocks and network.

Nothing of a node is replaced but its ports and its event loop. A member outlives its incarnations: the disk and the
wall clock stay, the loop, the node and all that it knew go with each crash.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from raftline.core.ids import GroupId, NodeId
from raftline.errors import ConfigError, SafetyViolation
from raftline.replica.sessions import Sessions
from raftline.replica.state_machine import StateMachine
from raftline.runtime.config import NodeConfig
from raftline.runtime.node import Node, Ports
from raftline.sim.checkers import Checkers
from raftline.sim.clock import SimClock
from raftline.sim.disk import CrashKind, SimDisk
from raftline.sim.disk_thread import SimDiskThread
from raftline.sim.faults import CALM_DISK, DiskFaults
from raftline.sim.loop import SimLoop
from raftline.sim.network import SimNetwork
from raftline.sim.node_loop import NodeLoop

__all__ = ["Member", "SimCluster"]

_LINGER_S_MAX = 0.3

ConfigOf = Callable[[NodeId, dict[NodeId, str]], NodeConfig]


class Member:
    """One machine of the cluster.

    Invariant: `node` and `loop` are those of the present incarnation, None while the machine is down.
    """

    def __init__(self, cluster: "SimCluster", name: NodeId, index: int) -> None:
        self.cluster = cluster
        self.name = name
        world = cluster.world
        self.disk = SimDisk(lambda: world.now, world.stream(f"disk/{name}"), faults=cluster.disk_faults)
        self.disk.on_crash = self._on_disk_crash
        self.clock = SimClock(world, offset_ms=cluster.random.uniform(-200.0, 200.0))
        self.rate = 1.0
        self.incarnation = 0
        self.loop: NodeLoop | None = None
        self.node: Node | None = None
        self.machine: StateMachine | None = None
        self.ready = False
        self.was_wiped = False
        self.failure: BaseException | None = None
        self.flips_before = 0
        """Wrong bits that had been read from the disk when the present incarnation began."""
        self.column = index

    @property
    def is_up(self) -> bool:
        """Say whether an incarnation is alive (it may still be starting, or be paused)."""
        return self.loop is not None and self.loop.alive

    def start(self) -> None:
        """Boot a new incarnation from what the disk holds."""
        assert not self.is_up, "one incarnation at a time"
        cluster = self.cluster
        self.incarnation += 1
        self.flips_before = self.disk.stats["read flips"]
        name = f"{self.name}.{self.incarnation}"
        loop = cluster.world.node(name, rate=self.rate, offset_s=cluster.random.uniform(0.0, 1000.0))
        disk = self.disk
        ports = Ports(
            files=disk.mount(),
            clock=self.clock,
            random=cluster.world.stream(f"elections/{name}"),
            transport=cluster.network.attach(self.name, loop, cluster.addresses[self.name]),
            make_disk=lambda _name, _loop: SimDiskThread(loop, disk),
            make_sessions=cluster.make_sessions,
        )
        self.loop = loop
        self.ready = False
        self.failure = None
        self.machine = cluster.make_machine()
        config = cluster.config_for(self.name)
        self.node = Node(config, self.machine, ports=ports)
        started = loop.spawn(self._run(self.node), name="run")
        started.add_done_callback(partial(self._on_ended, self.node))

    async def _run(self, node: Node) -> BaseException:
        """Start the node and wait until it fails; runs as the node."""
        await node.start()
        self.cluster.checkers.watch(self, node)
        await self.cluster.on_started(self, node)
        self.ready = True
        self.cluster.on_ready(self)
        return await node.wait_failed()

    def _on_ended(self, node: Node, outcome: "asyncio.Future[BaseException]") -> None:
        """A node that stops by itself: its disk failed, which is allowed, or a promise was broken, which is not."""
        if outcome.cancelled() or node is not self.node or not self.is_up:
            outcome.cancelled() or outcome.exception()
            return
        error = outcome.exception() or outcome.result()
        self.failure = error
        self.cluster.on_node_failed(self, error)

    def crash(self, kind: CrashKind) -> None:
        """Stop the program or the machine now."""
        assert self.loop is not None, "there is something to crash"
        self.cluster.forget(self)
        loop, self.loop = self.loop, None
        self.node = None
        self.ready = False
        loop.kill()
        self.disk.crash(kind)
        self.cluster.network.reset_node(self.name)

    def _on_disk_crash(self, point: str) -> None:
        """The disk model crashed in the middle of an operation."""
        if self.loop is not None:
            self.cluster.forget(self)
            loop, self.loop = self.loop, None
            self.node = None
            self.ready = False
            loop.kill()
            self.cluster.network.reset_node(self.name)
            self.cluster.on_point_crash(self, point)

    def wipe(self) -> None:
        """Lose everything on disk; only while the machine is down."""
        assert not self.is_up, "down"
        self.disk.wipe()
        self.was_wiped = True
        self.cluster.checkers.on_wiped(self)


class SimCluster:
    """Machines, the network between them, and the checkers that watch every step."""

    def __init__(
        self,
        world: SimLoop,
        size: int,
        *,
        config_of: ConfigOf,
        make_machine: Callable[[], StateMachine],
        make_sessions: Callable[[], Sessions] = Sessions,
        make_checkers: Callable[["SimCluster"], Any] = Checkers,
        disk_faults: DiskFaults = CALM_DISK,
        trace: Callable[[str, str, str], None] | None = None,
        prefix: str = "n",
    ) -> None:
        """Prepare; `prefix` begins the machines' names, so that several clusters can share a world."""
        self.world = world
        self._prefix = prefix
        self.random = world.stream("cluster" if prefix == "n" else f"cluster {prefix}")
        self.config_of = config_of
        self.make_machine = make_machine
        self.make_sessions = make_sessions
        self.disk_faults = disk_faults
        self.trace = trace
        self.point_crashes: list[tuple[NodeId, str]] = []
        self.storage_failures = 0
        self.network = SimNetwork(
            world, world.stream("network" if prefix == "n" else f"network {prefix}"), on_event=self._on_network
        )
        names = [f"{prefix}{number}" for number in range(1, size + 1)]
        self.addresses = {name: f"127.0.0.1:{7000 + number}" for number, name in enumerate(names, 1)}
        self.first_addresses = dict(self.addresses)
        """Those that the cluster begins with; who comes later waits to be added."""
        settings = config_of(names[0], self.first_addresses).core
        self.relies_on_clocks = settings.lease_reads
        """Reads may be answered on a lease, so clocks have to keep to the drift that is set."""
        self.guards_lost_disks = settings.guard_lost_disk
        self.checkers: Checkers = make_checkers(self)
        self.group_checkers: dict[GroupId, Checkers] = {}
        """Those of the nodes' further groups, by number, for whoever lets nodes host some."""
        self.members = {name: Member(self, name, index) for index, name in enumerate(names)}
        """The machines that belong to the cluster now."""
        self.everybody = dict(self.members)
        """Those that were switched off for good, too."""
        self.on_ready: Callable[[Member], None] = lambda _member: None
        """Called in the machine's own loop whenever its node has begun to take requests."""
        self.on_down: Callable[[Member], None] = lambda _member: None
        self.on_message_delivered: Callable[[NodeId, Any], None] = lambda _target, _message: None
        self.on_message_sent: Callable[[NodeId, NodeId, Any], None] = lambda _source, _target, _message: None

    async def on_started(self, member: Member, node: Node) -> None:
        """Do what an incarnation does before it takes requests; runs as the node."""

    def forget(self, member: Member) -> None:
        """An incarnation is gone: nobody follows it any more."""
        for checkers in (self.checkers, *self.group_checkers.values()):
            checkers.forget(member)

    def start(self) -> None:
        """Boot every machine."""
        for member in self.members.values():
            member.start()

    def config_for(self, name: NodeId) -> NodeConfig:
        """Return a node's settings: the first ones know each other, later ones wait to be added."""
        config = self.config_of(name, self.first_addresses)
        if name in self.first_addresses:
            return config
        return msgspec.structs.replace(config, members={}, address=self.addresses[name])

    def join(self) -> Member:
        """Return a new machine with an empty disk, which is not started yet."""
        number = len(self.everybody) + 1
        name = f"{self._prefix}{number}"
        self.addresses[name] = f"127.0.0.1:{7000 + number}"
        self.members[name] = self.everybody[name] = Member(self, name, number - 1)
        return self.members[name]

    def move(self, name: NodeId) -> str:
        """Let a machine answer at another address from its next start on; return it."""
        host, _, port = self.addresses[name].partition(":")
        self.addresses[name] = f"{host}:{int(port) + 100}"
        return self.addresses[name]

    def dismiss(self, name: NodeId) -> None:
        """Switch a machine off for good."""
        member = self.members.pop(name)
        self.note(name, "dismissed")
        if member.is_up:
            member.crash(CrashKind.MACHINE)

    def up(self) -> list[Member]:
        """Return the machines that are up and not paused, started or starting."""
        return [m for m in self.members.values() if m.is_up and m.loop is not None and not m.loop.paused]

    def ready(self) -> list[Member]:
        """Return the machines whose node takes requests."""
        return [member for member in self.up() if member.ready]

    def on_node_failed(self, member: Member, error: BaseException) -> None:
        """A node stopped by itself: count a disk's failure, give anything else to the run."""
        from raftline.errors import CorruptLog, StorageError  # noqa: PLC0415

        if isinstance(error, ConfigError) and self._is_too_old(member):
            self._end_failed(member, error)
            return
        if isinstance(error, SafetyViolation) or not isinstance(error, StorageError | OSError):
            raise error
        if isinstance(error, CorruptLog) and member.disk.stats["read flips"] == member.flips_before:
            raise SafetyViolation(f"{member.name} refuses its own disk after a crash: {error}")
        if not isinstance(error, CorruptLog) and not _comes_from_the_disk(error):
            raise SafetyViolation(f"{member.name} stops as if its disk had failed, which did not: {error}")
        self.storage_failures += 1
        self._end_failed(member, error)

    def _is_too_old(self, member: Member) -> bool:
        """Say whether the group uses commands that a machine does not know, as one that was away while others rose."""
        return member.machine is not None and member.machine.version < self.checkers.version

    def _end_failed(self, member: Member, error: BaseException) -> None:
        """End the process of a node that has stopped by itself a little later."""
        self.note(member.name, "failed", str(error)[:80])
        member.ready = False
        for checkers in (self.checkers, *self.group_checkers.values()):
            checkers.on_failed(member)
        loop = member.loop

        def end() -> None:
            if member.loop is loop:
                member.crash(CrashKind.PROGRAM)
                self.on_down(member)

        # Until its process ends, a node that has failed must keep still.
        self.world.call_later(_LINGER_S_MAX * self.random.random(), end)

    def on_point_crash(self, member: Member, point: str) -> None:
        """A machine crashed at a persistence point."""
        self.point_crashes.append((member.name, point))
        self.note(member.name, "crash", point)
        self.on_down(member)

    def note(self, node: NodeId, what: str, detail: str = "") -> None:
        """Add a line to the trace, if there is one."""
        if self.trace is not None:
            self.trace(node, what, detail)

    def _on_network(self, what: str, source: NodeId, target: NodeId, group: GroupId, message: Any) -> None:
        checkers = self.checkers if not group else self.group_checkers.get(group)
        if checkers is None:
            pass
        elif what == "send":
            checkers.on_sent(source, target, message)
            self.on_message_sent(source, target, message)
        elif what == "deliver":
            checkers.on_delivered(source, target, message)
            self.on_message_delivered(target, message)
        if self.trace is not None:
            self.trace(source if what != "deliver" else target, what, f"{source}>{target} {message!r}")

    def logs(self) -> Sequence[tuple[NodeId, int, int]]:
        """Return (node, last index, commit) of the nodes that are ready."""
        return [
            (member.name, status.last_index, status.commit_index)
            for member in self.ready()
            if member.node is not None and (status := member.node.status())
        ]


def _comes_from_the_disk(error: BaseException | None) -> bool:
    """Say whether an operation of the disk failed before."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error is not None
