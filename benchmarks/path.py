"""The whole way of a command in one process: three nodes, their Redis ports and logs, but no sockets and no threads.

Everything between a client's bytes and its reply is the code that ships: protocol, parser, batching, core, codec,
durable log (real files), state machine. Only the event loop, the network and the disk's thread are stand-ins on virtual
time, so that equal code takes equal steps: what one command costs can be counted in instructions.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from raftline.cli.sharding import sharded_config
from raftline.kv.machine import KvMachine
from raftline.kv.server import KvServer
from raftline.kv.sharded.keeper import Keeper
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.sharded.settings import KeeperSettings
from raftline.kv.slots import slot_of
from raftline.runtime.config import NodeConfig
from raftline.runtime.node import Node, Ports
from raftline.sim.clock import SimClock
from raftline.sim.loop import SimLoop
from raftline.sim.node_loop import NodeLoop
from raftline.transport.codec import Codec
from raftline.transport.frame import PREFACE, FrameReader
from raftline.wal.files import OsFiles

__all__ = ["NAMES", "InlineDisk", "Path3", "Wire", "get_request", "set_request"]

NAMES = ("n1", "n2", "n3")
_HOP_S = 0.00005
_DISK_S = 0.0005
_FRAME_BYTES_MAX = 64 << 20
_START_S = 5.0
_SHARDED_START_S = 60.0
"""Time for every group to begin, and for leaders to be where the configuration wants them."""
_OK = b"+OK\r\n"


def set_request(key: bytes, value: bytes) -> bytes:
    """Return a SET as clients send it."""
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)


def get_request(key: bytes) -> bytes:
    """Return a GET as clients send it."""
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)


class InlineDisk:
    """A `DiskThread` that works at once and reports a little later."""

    def __init__(self, world: SimLoop, loop: NodeLoop) -> None:
        self._world = world
        self._loop = loop

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do `work` now, and say so soon."""
        result: Any
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  handed to whoever submitted the work
            result = error
        self._world.at(self._world.now + _DISK_S, partial(self._loop.call_soon, done, result))

    def close(self) -> None:
        """Do nothing: all work is done."""


class Wire:
    """A `Transport` that hands encoded frames over in the same process."""

    def __init__(self, world: SimLoop, loop: NodeLoop, name: str, wires: dict[str, "Wire"]) -> None:
        self._world = world
        self._loop = loop
        self._name = name
        self._wires = wires
        self._codec = Codec()
        self._queued: dict[str, list[bytearray]] = {}
        self._readers: dict[str, FrameReader] = {}
        self._on_message: Callable[[str, int, Any], None] | None = None
        wires[name] = self

    def send(self, to: str, group: int, message: Any) -> None:
        """Put a message to what leaves with the next `flush`."""
        self._queued.setdefault(to, []).append(self._codec.frame_of(group, message))

    def reaches(self, to: str) -> bool:
        """Say that nobody is gone."""
        return to in self._wires

    def has_room(self, to: str, size_bytes: int) -> bool:  # noqa: ARG002  no queue is bounded here
        """Say that nothing is crowded out."""
        return True

    def flush(self) -> None:
        """Let what was sent arrive soon."""
        queued, self._queued = self._queued, {}
        for to, frames in queued.items():
            arrive = partial(self._wires[to].receive, self._name, b"".join(frames))
            self._world.at(self._world.now + _HOP_S, partial(self._wires[to].soon, arrive))
        self._codec.forget()

    def soon(self, act: Callable[[], None]) -> None:
        """Let the owner's loop run `act`."""
        self._loop.call_soon(act)

    def receive(self, sender: str, data: bytes) -> None:
        """Take frames in."""
        assert self._on_message is not None, "the node was started"
        reader = self._readers.get(sender)
        if reader is None:
            reader = self._readers[sender] = FrameReader(_FRAME_BYTES_MAX)
            data = PREFACE + data
        reader.feed(data)
        while (frame := reader.next_frame()) is not None:
            envelope: Any = self._codec.decode_accepted(frame)
            self._on_message(sender, envelope.group, envelope.message)

    def trouble(self) -> None:
        """Say that all is well."""

    def tell_stranger(self, to: str, word: object) -> None:
        """Nobody is a stranger here."""

    def set_peers(self, addresses: dict[str, str]) -> None:
        """All are connected already."""

    async def start(self, on_message: Any, on_stranger: Any = None, on_lost: Any = None) -> None:  # noqa: ARG002  nobody goes
        """Note whom to hand messages."""
        self._on_message = on_message

    async def stop(self) -> None:
        """Do nothing: nothing is open."""


class _Listener:
    """What `KvServer` needs of a listening socket: an address."""

    sockets = ()

    def __init__(self) -> None:
        self.sockets = (self,)  # type: ignore[assignment]

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 6379)


class _Client:
    """A closed loop on one connection: sends `burst` requests, waits for all replies, sends again while it may."""

    def __init__(self, world: SimLoop, loop: NodeLoop, protocol: Any, number: int) -> None:
        self._world = world
        self._loop = loop
        self._protocol = protocol
        self._number = number
        self._missing_bytes = 0
        self.requests: list[bytes] = []
        self.keys: list[int] = []
        """The numbers of those that it may ask for."""
        self.next_burst: Callable[[], tuple[bytes, int] | None] = lambda: None
        loop.call_soon(protocol.connection_made, self)

    @property
    def waits(self) -> bool:
        """Say whether replies are missing."""
        return self._missing_bytes > 0

    def send(self) -> None:
        """Send the next burst, if there is one: bytes, and how many bytes the replies have."""
        burst = self.next_burst()
        if burst is not None:
            self._missing_bytes = burst[1]
            self._world.at(
                self._world.now + _HOP_S, partial(self._loop.call_soon, self._protocol.data_received, burst[0])
            )

    # What a protocol calls on its transport.

    def write(self, data: bytes) -> None:
        self._missing_bytes -= len(data)
        assert self._missing_bytes >= 0, f"an unexpected reply: {data[:200]!r}"
        if not self._missing_bytes:
            self.send()

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return None if name == "socket" else ("127.0.0.1", 10_000 + self._number)

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing is buffered."""

    def is_closing(self) -> bool:
        return False


class Path3:
    """Three nodes that elected a leader, `clients` connections to it, and `keys` keys that are there.

    With `groups` the store is sharded over so many, which the nodes lead in turns; each client is then connected to one
    of the nodes and asks for the keys that are led there, as cluster clients do.
    """

    def __init__(
        self, directory: Path, *, clients: int = 64, value_bytes: int = 128, keys: int = 1024, groups: int = 0
    ) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self._world = SimLoop(1, steps_max=1 << 60)
        self._clients: list[_Client] = []
        self._requests: dict[tuple[int, int], list[bytes]] = {}
        self._left = 0
        self._accept: dict[str, Callable[[], Any]] = {}
        self._random = random.Random(1)
        value = b"x" * value_bytes
        names = [b"key:%012d" % number for number in range(keys)]
        self._sets = [set_request(name, value) for name in names]
        self._gets = [get_request(name) for name in names]
        self._get_reply_bytes = len(b"$%d\r\n%b\r\n" % (value_bytes, value))
        wires: dict[str, Wire] = {}
        self._loops = {name: self._world.node(name) for name in NAMES}
        self.keepers: dict[str, Keeper] = {}
        self.nodes = {name: self._start(name, directory / name, wires, groups) for name in NAMES}
        self._world.run_for(_SHARDED_START_S if groups else _START_S)
        self._connect(self._led(names), clients)
        self._run(keys, self._unwritten(), len(_OK), clients, pipeline=16)

    def _led(self, names: list[bytes]) -> dict[str, list[int]]:
        """Return by node the numbers of the keys that it leads."""
        led: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            led.setdefault(self._leader_of(name), []).append(number)
        return led

    def _leader_of(self, key: bytes) -> str:
        for keeper in self.keepers.values():
            leader = keeper.leader_of(keeper.serving(slot_of(key)))
            assert leader is not None, "every group has begun"
            return leader
        return next(name for name, (node, _) in self.nodes.items() if node.is_leader)

    def _start(self, name: str, directory: Path, wires: dict[str, Wire], groups: int) -> tuple[Node, KvServer]:
        world, loop = self._world, self._loops[name]
        clock = SimClock(world)
        ports = Ports(
            files=OsFiles(),
            clock=clock,
            random=world.stream(f"elections/{name}"),
            transport=Wire(world, loop, name, wires),
            make_disk=lambda _name, _loop: InlineDisk(world, loop),
        )
        members = {each: f"127.0.0.1:{7001 + place}" for place, each in enumerate(NAMES)}
        # A large log and no snapshot: what is measured is the way of a command, not what happens now and then.
        config = NodeConfig(
            node_id=name,
            members=members,
            data_dir=str(directory),
            snapshot_log_bytes=1 << 40,
            snapshot_log_entries=1 << 40,
        )
        machine = MetaMachine() if groups else KvMachine()
        node = Node(sharded_config(config) if groups else config, machine, ports=ports)
        if isinstance(machine, MetaMachine):
            self.keepers[name] = Keeper(node, name, machine, KeeperSettings(first_groups=groups))
        keeper = self.keepers.get(name)
        server = KvServer(node, machine, "127.0.0.1", 0, clock=clock, groups=keeper)

        async def listen(accept: Callable[[], Any], *_address: object, **_options: object) -> _Listener:
            self._accept = {**self._accept, name: accept}
            return _Listener()

        async def run() -> None:
            loop.create_server = listen
            await node.start()
            if keeper is not None:
                asyncio.get_running_loop().create_task(keeper.run(), name="keeper")
            await server.start()

        loop.spawn(run(), name="run")
        return node, server

    def _connect(self, led: dict[str, list[int]], clients: int) -> None:
        """Connect clients to the nodes in turns, and give each the keys that it may ask for there."""
        names = sorted(led)
        for number in range(clients):
            name = names[number % len(names)]
            client = _Client(self._world, self._loops[name], self._accept[name](), number)
            client.keys = led[name]
            self._clients.append(client)
        self._world.run_for(0.01)

    def _unwritten(self) -> Callable[[_Client, int], list[bytes]]:
        """Return what gives out each key's SET once."""
        left = {id(client.keys): list(client.keys) for client in self._clients}

        def choose(client: _Client, count: int) -> list[bytes]:
            keys = left[id(client.keys)]
            return [self._sets[keys.pop()] for _ in range(min(count, len(keys)))]

        return choose

    def run_sets(self, commands: int, *, clients: int, pipeline: int = 1) -> None:
        """Carry out SETs of random keys on the first `clients` connections; returns when all are answered."""
        self._run(commands, self._random_of(self._sets), len(_OK), clients, pipeline)

    def run_gets(self, commands: int, *, clients: int, pipeline: int = 1) -> None:
        """Carry out linearizable GETs of random keys."""
        self._run(commands, self._random_of(self._gets), self._get_reply_bytes, clients, pipeline)

    def _random_of(self, requests: list[bytes]) -> Callable[[_Client, int], list[bytes]]:
        choices = self._random.choices
        for client in self._clients:
            client.requests = self._chosen(client.keys, requests)
        return lambda client, count: choices(client.requests, k=count)

    def _chosen(self, keys: list[int], requests: list[bytes]) -> list[bytes]:
        """Return those of some keys; they are put together once."""
        known = self._requests.get((id(keys), id(requests)))
        if known is None:
            known = self._requests[id(keys), id(requests)] = [requests[key] for key in keys]
        return known

    def _run(
        self,
        commands: int,
        choose: Callable[[_Client, int], list[bytes]],
        reply_bytes: int,
        clients: int,
        pipeline: int,
    ) -> None:
        """Let each client send what `choose` gives it, until there is nothing more, or `commands` were sent."""
        self._left = commands

        def next_burst(client: _Client) -> tuple[bytes, int] | None:
            requests = choose(client, min(pipeline, self._left))
            self._left -= len(requests)
            return (b"".join(requests), len(requests) * reply_bytes) if requests else None

        for client in self._clients[:clients]:
            client.next_burst = partial(next_burst, client)
            client.send()
        while self._left or any(client.waits for client in self._clients):
            self._world.run_for(0.001)

    def settle(self) -> None:
        """Let what is on its way arrive."""
        self._world.run_for(1.0)

    @property
    def steps(self) -> int:
        """Return how many callbacks ran so far."""
        return self._world.steps

    def close(self) -> None:
        """Forget everything; the files stay."""
        self._world.close(raise_failures=False)
