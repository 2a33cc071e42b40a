"""Nodes on loopback with ports of the kernel's choice, on plain asyncio and on uvloop."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

from raftline.cli.local_cluster import free_port
from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Message
from raftline.transport.codec import VERSIONS, Codec, DialledFrame, Envelope, Hello, Ping, Stranger, Versions
from raftline.transport.frame import FrameReader
from raftline.transport.settings import TransportSettings
from raftline.transport.tcp import TcpTransport
from raftline.transport.tls import TlsFiles

Line = tuple[str, str, dict[str, Any]]
Arrival = tuple[NodeId, GroupId, Message]


def patient(**settings: Any) -> TransportSettings:
    """Return settings with which no time is up before a test is over, however slow it is, but those that it sets."""
    times = dict.fromkeys(("connect_timeout_s", "handshake_timeout_s", "ping_interval_s"), 60.0)
    return TransportSettings(**{**times, **settings})


class RecordingLog:
    """A log whose lines can be waited for."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[Line] = asyncio.Queue()

    def info(self, event: str, **fields: object) -> None:
        """Record an info line."""
        self.lines.put_nowait(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        """Record a warning."""
        self.lines.put_nowait(("warning", event, fields))

    async def line(self, event: str | None = None) -> dict[str, Any]:
        """Return the fields of the next line that says `event`, or of the next warning; others are passed over."""
        while True:
            level, said, fields = await self.lines.get()
            if said == event or (event is None and level == "warning"):
                return fields


class Node:
    """A started transport with what it received, logged and told about its links."""

    def __init__(self, transport: TcpTransport, log: RecordingLog, links: "asyncio.Queue[tuple[NodeId, bool]]") -> None:
        self.transport = transport
        self.log = log
        self.links = links
        self.inbox: asyncio.Queue[Arrival] = asyncio.Queue()
        self.strangers: list[tuple[NodeId, Stranger]] = []
        """By whom it was told that it is no member."""

    @property
    def address(self) -> str:
        """Where peers reach it; the client port is of no matter here."""
        return f"127.0.0.1:1@{self.transport.port}"

    async def until_link(self, peer: NodeId, *, up: bool) -> None:
        """Wait until the link to `peer` opened, or broke."""
        while await self.links.get() != (peer, up):
            pass

    def send(self, to: NodeId, *messages: Message) -> None:
        """Send messages of group 0 in one turn."""
        for message in messages:
            self.transport.send(to, 0, message)
        self.transport.flush()


class RawClient:
    """Speaks to a listener in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.codec = Codec()
        self._frames = FrameReader(1 << 20)

    def greet(self, node: NodeId, target: NodeId, cluster: str = "test", versions: Versions = VERSIONS) -> None:
        """Send the opening handshake."""
        hello = Hello(versions.oldest, cluster, node, target, versions.newest)
        self.writer.write(self.codec.opening(hello))

    def say(self, *frames: Hello | Ping | Envelope) -> None:
        """Send frames."""
        for frame in frames:
            self.writer.write(self.codec.control_frame(frame))

    async def frame(self) -> DialledFrame | None:
        """Return the next frame that is no ping, or None at the end of the stream."""
        while True:
            payload = self._frames.next_frame()
            if payload is None:
                data = await self.reader.read(65536)
                if not data:
                    return None
                self._frames.feed(data)
                continue
            frame = self.codec.decode_dialled(payload)
            if not isinstance(frame, Ping):
                return frame

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


class World:
    """Makes nodes and raw connections, and closes them all."""

    def __init__(self) -> None:
        self._closers: list[Callable[[], Awaitable[object]]] = []

    async def node(
        self,
        name: NodeId,
        *,
        cluster: str = "test",
        port: int = 0,
        peers: dict[NodeId, str] | None = None,
        settings: TransportSettings | None = None,
        versions: Versions = VERSIONS,
        tls: TlsFiles | None = None,
    ) -> Node:
        """Start a node."""
        log = RecordingLog()
        links: asyncio.Queue[tuple[NodeId, bool]] = asyncio.Queue()
        transport = TcpTransport(
            name, cluster, ("127.0.0.1", port), settings=settings or patient(), random_source=random.Random(1), log=log,
            on_connection=lambda peer, up: links.put_nowait((peer, up)), versions=versions, tls=tls,
        )  # fmt: skip
        node = Node(transport, log, links)
        transport.set_peers(peers or {})
        await transport.start(
            lambda *arrival: node.inbox.put_nowait(arrival), lambda *told: node.strangers.append(told)
        )
        self._closers.append(transport.stop)
        return node

    async def pair(self, settings: TransportSettings | None = None) -> tuple[Node, Node]:
        """Start nodes a and b, with the link from a to b open; nobody else gets b's port while b is away."""
        b = await self.node("b", port=free_port(), settings=settings)
        a = await self.node("a", settings=settings, peers={"b": b.address})
        await a.until_link("b", up=True)
        return a, b

    async def client(self, node: Node, said: bytes = b"") -> RawClient:
        """Connect to a node's peer port; what is said at once is there before the node hears of the connection."""
        wire = socket.create_connection(("127.0.0.1", node.transport.port))
        wire.sendall(said)
        wire.setblocking(False)  # noqa: FBT003  it has no keywords
        client = RawClient(*await asyncio.open_connection(sock=wire))
        self._closers.append(client.close)
        return client

    async def server(self, talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> str:
        """Start a server that is no node, and return its address; each connection is closed when `talk` returns."""
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with contextlib.suppress(OSError):
                await talk(reader, writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)

        async def close() -> None:
            server.close()
            for writer in writers:
                writer.transport.abort()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

        self._closers.append(close)
        return f"127.0.0.1:1@{server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close everything, the latest first."""
        for closer in reversed(self._closers):
            await closer()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[World], Awaitable[None]]], None]]:
    """Run a story in a fresh world on either event loop; an exception in any callback fails the test."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None
    unhandled: list[dict[str, Any]] = []

    def play(story: Callable[[World], Awaitable[None]]) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
            world = World()
            try:
                async with asyncio.timeout(60):
                    await story(world)
            finally:
                async with asyncio.timeout(60):
                    await world.close()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    yield play
    assert not unhandled
