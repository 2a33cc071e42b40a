"""Three real nodes in one event loop: real files, real TCP on loopback, real disk threads."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from raftline import CoreConfig, Group, Node, NodeConfig, StateMachine
from raftline.cli.local_cluster import free_port
from raftline.core.events import TimerDue
from raftline.core.state import Role

HANGS_S = 60.0
"""What takes longer never comes: a guard against waiting for ever, not a bound on anything."""
FAST = CoreConfig(heartbeat_interval_s=0.03, election_timeout_s=(0.12, 0.24), priority_handover_s=0.1)
"""For who is about elections: they come soon, also where this process just gets no processor for a while."""
CALM = structs.replace(FAST, election_timeout_s=(2.5, 5.0))
"""For everybody else: whoever leads does so until it is stopped."""


class Register(StateMachine):
    """`key=value` sets, and returns the old value; reads return the value."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
        if command == b"boom":
            raise ValueError("boom")
        key, value = command.split(b"=", 1)
        old = self.values.get(key, b"")
        self.values[key] = value
        return old

    def read(self, query: bytes, time_ms: int) -> bytes:  # noqa: ARG002
        if query == b"boom":
            raise KeyError("no such thing")
        if query == b"no bytes":
            return None  # type: ignore[return-value]
        return self.values.get(query, b"")

    def snapshot(self) -> Iterable[bytes]:
        items = [key + b"=" + value for key, value in self.values.items()]
        return [b"\n".join(items[start : start + 100]) for start in range(0, len(items), 100)]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.values = dict(line.split(b"=", 1) for chunk in chunks for line in chunk.split(b"\n") if line)


def free_addresses(count: int) -> list[str]:
    """Return loopback addresses whose client and bus ports nobody else is given, also while their node is away."""
    return [f"127.0.0.1:{free_port()}@{free_port()}" for _ in range(count)]


class Cluster:
    """Nodes by name, which can be stopped and started again on the same directories."""

    def __init__(self, directory: Path, size: int, **settings: Any) -> None:
        self.directory = directory
        self.settings: dict[str, Any] = {"core": CALM, "request_timeout_s": HANGS_S, **settings}
        addresses = free_addresses(size)
        self.members = {f"n{number}": address for number, address in enumerate(addresses, 1)}
        self.nodes: dict[str, Node] = {}
        self.machines: dict[str, Register] = {}
        self.make_machine: Callable[[str], Register] = lambda _: Register()
        self._opener: asyncio.Task[None] | None = None

    async def start(self, *names: str) -> None:
        """Start the named nodes, all if none is named."""
        await asyncio.gather(*(self._start(name) for name in names or self.members))

    async def _start(self, name: str) -> None:
        self.machines[name] = self.make_machine(name)
        config = NodeConfig(node_id=name, members=self.members, data_dir=str(self.directory / name), **self.settings)
        await self._run(name, config)

    async def join(self, name: str, address: str = "") -> str:
        """Start a new node that waits to be added, or spoken to; return its address."""
        address = address or free_addresses(1)[0]
        self.machines[name] = self.make_machine(name)
        config = NodeConfig(
            node_id=name, members={}, address=address, data_dir=str(self.directory / name), **self.settings
        )
        await self._run(name, config)
        return address

    async def _run(self, name: str, config: NodeConfig) -> None:
        node = Node(config, self.machines[name])
        await node.start()
        self.nodes[name] = node
        if self._opener is None:
            self._opener = asyncio.create_task(self._open_elections())

    async def stop(self, *names: str) -> None:
        """Stop the named nodes, all if none is named: then there is nobody to hand anything over to."""
        if not names and len(self.nodes) > 1:
            for node in self.nodes.values():
                node.config = structs.replace(node.config, drain_s_max=0.0)
        await asyncio.gather(*(self.nodes.pop(name).stop() for name in names or list(self.nodes)))
        if not self.nodes and self._opener is not None:
            self._opener.cancel()
            self._opener = None

    async def _open_elections(self) -> None:
        """Let groups whose nodes have all just started elect at once: an election timeout is for lost leaders."""
        while True:
            groups = [group for node in self.nodes.values() for group in node.groups.values()]
            for number in {group.group for group in groups}:
                _open_election([group for group in groups if group.group == number])
            await asyncio.sleep(0.01)

    async def wiped(self) -> Node:
        """Return a follower that has started again without its directory, behind the leader's log; keys k0 to k999."""
        leader = await self.leader()
        for start in range(0, 1000, 100):
            await asyncio.gather(*(leader.propose(b"k%d=%d" % (n, n)) for n in range(start, start + 100)))
        await self.until(lambda: leader.status().compacted_index > 500)
        name = (await self.follower()).config.node_id
        await self.stop(name)
        shutil.rmtree(self.directory / name)
        await self.start(name)
        return self.nodes[name]

    async def leader(self) -> Node:
        """Wait until some running node leads, and return it."""
        async with asyncio.timeout(HANGS_S):
            while True:
                for node in self.nodes.values():
                    if node.is_leader:
                        return node
                await asyncio.sleep(0.01)

    async def follower(self) -> Node:
        """Wait for a leader and return a running node that follows."""
        leader = await self.leader()
        return next(node for node in self.nodes.values() if node is not leader)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that must come true; bounded."""
        async with asyncio.timeout(HANGS_S):
            while not condition():  # noqa: ASYNC110  a condition over several nodes has no event of its own
                await asyncio.sleep(0.01)

    async def written(self) -> None:
        """Wait until no node writes: a majority commits without the slowest of them (thesis 10.2.1)."""
        loops = [node._group for node in self.nodes.values() if node._group is not None]
        await self.until(lambda: not any(loop.persistence.is_writing for loop in loops))


def _open_election(replicas: list[Group]) -> None:
    """Let one with the longest log stand, if all that there are have never heard of a leader, and are a majority."""
    states = [replica.driver.replica.core.state for replica in replicas]
    if any(state.role in (Role.CANDIDATE, Role.LEADER) or state.leader_heard_at > 0 for state in states):
        return
    if 2 * len(states) <= max(len(state.membership.voters) for state in states):
        return
    replica = max(replicas, key=lambda each: each.status().last_index)
    replica.driver.replica.core.state.election_deadline = asyncio.get_running_loop().time()
    replica.driver.post(TimerDue())


class StuckDisks:
    """Logs that begin to write and are not done until they may."""

    def __init__(self, monkeypatch: Any, *nodes: Node) -> None:
        self.may_go_on = threading.Event()
        self._are_stuck: list[threading.Event] = []
        for node in nodes:
            assert node._group is not None
            wal = node._group.host.wal
            is_stuck = threading.Event()
            self._are_stuck.append(is_stuck)
            monkeypatch.setattr(wal, "append", self._stuck(wal.append, is_stuck))

    def _stuck(self, append: Callable[[Any], None], is_stuck: threading.Event) -> Callable[[Any], None]:
        def stuck(writes: Any) -> None:
            is_stuck.set()
            assert self.may_go_on.wait(HANGS_S)
            append(writes)

        return stuck

    async def begin(self, node: Node) -> asyncio.Future[bytes]:
        """Propose something and wait until each of the disks has begun to write it; return what will come of it."""
        outcome = asyncio.ensure_future(node.propose(b"k=first"))
        for is_stuck in self._are_stuck:
            assert await asyncio.to_thread(is_stuck.wait, HANGS_S)
        return outcome


@pytest.fixture
def make_cluster(tmp_path: Path) -> Callable[..., Any]:
    """Return an async context manager of a started cluster."""

    @asynccontextmanager
    async def make(size: int = 3, *, started: bool = True, **settings: Any) -> AsyncIterator[Cluster]:
        cluster = Cluster(tmp_path, size, **settings)
        try:
            if started:
                await cluster.start()
            yield cluster
        finally:
            await cluster.stop()

    return make


@pytest.fixture
def stuck_disks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StuckDisks]:
    """Let the disks of nodes hang from now on."""
    return partial(StuckDisks, monkeypatch)
