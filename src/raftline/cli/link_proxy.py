"""Links between real processes that can be cut: a TCP proxy in front of each node's peer port.

Every node is told the proxies' addresses, the same on all of them. Who dials is read from the handshake, so each
connection belongs to one ordered pair: messages travel only from the dialler, answers on the other node's own link. A
link is open, or refuses, or swallows, or holds back, and may be slow. It refuses to know what a message means.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterable
from enum import Enum
from types import TracebackType
from typing import Any, Self

from raftline.errors import PeerError
from raftline.transport.codec import HANDSHAKE_BYTES_MAX, Codec, Hello
from raftline.transport.frame import FrameReader

__all__ = ["LinkMode", "LinkProxies"]

_READ_BYTES = 1 << 16
_CALL_S_MAX = 30.0


class LinkMode(Enum):
    """What becomes of a link's bytes."""

    OPEN = "open"
    REFUSE = "refuse"
    """Connections that are there are reset, new ones too."""
    SWALLOW = "swallow"
    """Connections stay, bytes vanish; they are reset when it ends, since nothing can follow on them."""
    HOLD = "hold"
    """Connections stay, bytes wait and arrive late, as after packets were lost for a while."""


class _Link:
    """One ordered pair of nodes."""

    def __init__(self) -> None:
        self.mode = LinkMode.OPEN
        self.delay_s = 0.0
        self.connections = 0
        self.forwarded_bytes = 0
        self.swallowed_bytes = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def refuses(self) -> bool:
        """Say whether no connection is wanted."""
        return self.mode is LinkMode.REFUSE

    def change(self, mode: LinkMode, delay_s: float) -> None:
        """Take another mode."""
        if mode is LinkMode.REFUSE or (self.mode is LinkMode.SWALLOW and mode is not LinkMode.SWALLOW):
            self.reset()
        self.mode = mode
        self.delay_s = delay_s
        if mode is LinkMode.HOLD:
            self._flowing.clear()
        else:
            self._flowing.set()

    def reset(self) -> None:
        """Break every connection, without a goodbye."""
        for writer in self._writers:
            _reset(writer)

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opening: bytes, port: int
    ) -> None:
        """Carry one connection, whose dialler has said `opening`, until either side ends it."""
        if self.refuses:
            _reset(writer)
            return
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            answers, onward = await asyncio.open_connection("127.0.0.1", port)
            self._writers.add(onward)
            self.connections += 1
            if self.refuses:  # since the connection was made
                self.reset()
                return
            pumps = [
                asyncio.ensure_future(self._pump(reader, onward, opening)),
                asyncio.ensure_future(self._pump(answers, writer, b"")),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            for each in (writer, onward):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> None:
        with contextlib.suppress(OSError):
            while data or (data := await reader.read(_READ_BYTES)):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                if self.mode is LinkMode.SWALLOW:
                    self.swallowed_bytes += len(data)
                else:
                    self.forwarded_bytes += len(data)
                    writer.write(data)
                    await writer.drain()
                data = b""


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a reset instead of an orderly end."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class LinkProxies:
    """All links of a cluster; a context manager with a thread of its own.

    Invariant: links change only on the proxies' own loop; methods may be called from any thread.
    """

    def __init__(self, host: str, ports: dict[str, int]) -> None:
        """Listen on `host` at each node's port and pass on to the same port of 127.0.0.1."""
        self._host = host
        self._ports = dict(ports)
        self._links: dict[tuple[str, str], _Link] = {}
        self._codec = Codec()
        self._servers: list[asyncio.Server] = []
        self._carrying: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link proxies", daemon=True)
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return every (source, target)."""
        return [(source, target) for source in self._ports for target in self._ports if source != target]

    def set(self, pairs: Iterable[tuple[str, str]], mode: LinkMode, *, delay_s: float = 0.0) -> None:
        """Change each (source, target); every piece that is passed on waits `delay_s` first."""
        chosen = list(pairs)

        async def change() -> None:
            for pair in chosen:
                self._links[pair].change(mode, delay_s)

        self._run(change())

    def around(self, node: str) -> list[tuple[str, str]]:
        """Return the links from and to `node`."""
        return [pair for pair in self.pairs if node in pair]

    def reset(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Break the connections of each (source, target) once; new ones are welcome."""
        chosen = list(pairs)

        async def break_() -> None:
            for pair in chosen:
                self._links[pair].reset()

        self._run(break_())

    def heal(self) -> None:
        """Open every link; what was held back arrives now."""
        self.set(self.pairs, LinkMode.OPEN)

    def bytes_of(self, source: str, target: str) -> tuple[int, int]:
        """Return how many bytes of a link were passed on, and how many swallowed."""
        link = self._links[source, target]
        return link.forwarded_bytes, link.swallowed_bytes

    @property
    def connections(self) -> int:
        """How many connections were carried."""
        return sum(link.connections for link in self._links.values())

    async def _start(self) -> None:
        self._links = {pair: _Link() for pair in self.pairs}
        for target, port in self._ports.items():
            server = await asyncio.start_server(self._taker(target, port), self._host, port)
            self._servers.append(server)

    def _taker(self, target: str, port: int) -> Any:
        """Return the callback for connections to `target`."""

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)
            try:
                opening, source = await self._read_opening(reader)
                if (source, target) in self._links:
                    await self._links[source, target].carry(reader, writer, opening, port)
            except (OSError, PeerError, asyncio.CancelledError):
                pass  # either side is gone, or was no node: the other is told by the reset below
            finally:
                writer.transport.abort()

        return take

    async def _read_opening(self, reader: asyncio.StreamReader) -> tuple[bytes, str]:
        """Return the first bytes of a connection, with at least the handshake in them, and who sent it."""
        frames = FrameReader(HANDSHAKE_BYTES_MAX)
        opening = b""
        while data := await reader.read(_READ_BYTES):
            opening += data
            frames.feed(data)
            frame = frames.next_frame()
            if frame is not None:
                hello = self._codec.decode_accepted(frame)
                return opening, hello.node_id if isinstance(hello, Hello) else ""
        return opening, ""

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for link in self._links.values():
            link.reset()
        for task in list(self._carrying):
            task.cancel()
        if self._carrying:
            await asyncio.wait(self._carrying)
        await asyncio.sleep(0)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S_MAX)
