"""The production transport: each node dials each peer and sends over that connection; what it accepted it only reads.

`send` queues, `flush` joins a turn's messages into one write per peer, and everything else happens in callbacks: no
task or future per message, no lock, no wait. It refuses to know Raft; whether a message is sensible is the core's
question.
"""

import asyncio
import random
from collections.abc import Callable

import structlog

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Message, SnapshotRequest
from raftline.errors import ConfigError
from raftline.transport.address import Address, parse_address
from raftline.transport.codec import VERSIONS, Codec, Stranger, Versions, version_of
from raftline.transport.frame import HEADER_BYTES
from raftline.transport.listener import Listener, ListenerContext
from raftline.transport.notices import Log, Notices
from raftline.transport.peer_link import LinkContext, LinkState, PeerLink
from raftline.transport.settings import TransportSettings
from raftline.transport.status import PeerStatus, Traffic
from raftline.transport.tls import TlsFiles

__all__ = ["TcpTransport"]

_NAME_BYTES_MAX = 200


class TcpTransport:
    """Implements `runtime.ports.Transport` over TCP, on uvloop or plain asyncio; all calls from the loop's thread.

    Invariants: one link per peer that was set; `_unflushed` holds every link that was given something since the last
    flush; nothing is delivered after `stop`.
    """

    def __init__(
        self,
        node_id: NodeId,
        cluster_id: str,
        listen: tuple[str, int],
        *,
        settings: TransportSettings | None = None,
        versions: Versions = VERSIONS,
        random_source: random.Random | None = None,
        on_connection: Callable[[NodeId, bool], None] | None = None,
        log: Log | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        `listen` is (host, port) for peers, port 0 for one of the kernel's choice; raises ConfigError for names that do
        not fit the handshake. `on_connection(peer, up)` hears of each link that opened or broke. With `tls`, every
        connection is encrypted, and each side's certificate must name its node id.
        """
        for what, name in (("node id", node_id), ("cluster id", cluster_id)):
            if not 0 < len(name.encode()) <= _NAME_BYTES_MAX:
                raise ConfigError(f"the {what} {name[:80]!r} must have 1 to {_NAME_BYTES_MAX} bytes")
        self.node_id = node_id
        self.cluster_id = cluster_id
        self.settings = settings or TransportSettings()
        self.versions = versions
        self._listen = listen
        self._random = random_source or random.Random()  # noqa: S311  spreads retries, guards nothing
        self._on_connection = on_connection or (lambda _peer, _up: None)
        self._on_lost: Callable[[NodeId], None] = lambda _peer: None
        self._tls = tls
        self._log: Log = log or structlog.get_logger("raftline.transport")
        self._codec = Codec()
        self._addresses: dict[NodeId, Address] = {}
        self._links: dict[NodeId, PeerLink] = {}
        self._unflushed: dict[PeerLink, None] = {}
        self._listener: Listener | None = None
        self._context: LinkContext | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that peers connect to; only after `start`."""
        assert self._listener is not None, "the transport has not started"
        return self._listener.port

    @property
    def refused_connections(self) -> int:
        """Connections that were closed because of what came over them, or did not come."""
        return 0 if self._listener is None else self._listener.refused

    @property
    def passed_over_messages(self) -> int:
        """Messages that came and were of a kind that this version does not know."""
        return 0 if self._listener is None else self._listener.passed_over

    @property
    def unidentified_connections(self) -> int:
        """Connections that have not said yet who they are."""
        return 0 if self._listener is None else self._listener.unidentified

    def status(self) -> dict[NodeId, PeerStatus]:
        """Return state and counters of each peer."""
        return {peer: link.status() for peer, link in sorted(self._links.items())}

    def send(self, to: NodeId, group: GroupId, message: Message) -> None:
        """Queue `message` for the next flush.

        It is dropped for a stranger, a peer that is away or too old to know it, and a full queue.
        """
        link = self._links.get(to)
        version = version_of(type(message))
        if link is None or not link.accepts(version):
            return
        if type(message) is SnapshotRequest and link.is_behind:
            link.drop_one()  # the piece before it, or this one, is still on its way: it will be asked for again
            return
        frame = self._codec.frame_of(group, message)
        if len(frame) - HEADER_BYTES > self.settings.max_frame_bytes:
            link.drop_one()
            assert self._context is not None
            self._context.notices.warn(
                ("too long", to), "message dropped: longer than a frame may be", peer=to,
                message=type(message).__name__, size=len(frame), size_max=self.settings.max_frame_bytes,
            )  # fmt: skip
            return
        link.queue(frame, version)
        self._unflushed[link] = None

    def reaches(self, to: NodeId) -> bool:
        """Say whether there is a connection to `to` that what is flushed goes out by."""
        link = self._links.get(to)
        return link is not None and link.state is LinkState.OPEN

    def has_room(self, to: NodeId, size_bytes: int) -> bool:
        """Say whether a message would leave half of a peer's queue free; True for one that is away."""
        link = self._links.get(to)
        return link is None or link.has_room(size_bytes)

    def tell_stranger(self, to: NodeId, word: Stranger) -> None:
        """Tell a node, over the connection that it made, that it is no member; dropped if there is none."""
        if self._listener is not None:
            self._listener.tell_stranger(to, word)

    def trouble(self) -> str | None:
        """Return in words that two processes call themselves by one node's name, None if nobody does."""
        return None if self._listener is None else self._listener.twins.trouble()

    def flush(self) -> None:
        """Hand everything queued in this turn to the network, one write per peer."""
        for link in self._unflushed:
            link.flush()
        self._unflushed.clear()
        self._codec.forget()

    def set_peers(self, addresses: dict[NodeId, str]) -> None:
        """Replace the set of peers, id → `host:port@busport`; raises ConfigError before anything is changed.

        This node's own id is skipped. A peer whose address changed gets a new link.
        """
        parsed = {peer: parse_address(text) for peer, text in addresses.items() if peer != self.node_id}
        self._addresses = parsed
        if self._context is None:
            return
        for peer, link in list(self._links.items()):
            if parsed.get(peer) != link.address:
                del self._links[peer]
                self._unflushed.pop(link, None)
                task = asyncio.get_running_loop().create_task(link.close(), name=f"raftline close {peer}")
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        for peer, address in parsed.items():
            if peer not in self._links:
                self._links[peer] = link = PeerLink(peer, address, self._context)
                link.dial()
        assert self._listener is not None
        self._listener.recount()

    async def start(
        self,
        on_message: Callable[[NodeId, GroupId, Message], None],
        on_stranger: Callable[[NodeId, Stranger], None] | None = None,
        on_lost: Callable[[NodeId], None] | None = None,
    ) -> None:
        """Listen and connect; each message that arrives is handed to `on_message(sender, group, message)`.

        `on_stranger(peer, word)` hears it when a peer says that this node is no member of its group, `on_lost(peer)`
        when a link that was open broke. Raises ConfigError if the address cannot be listened on.
        """
        assert self._context is None, "a transport starts once"
        loop = asyncio.get_running_loop()
        self._on_lost = on_lost or (lambda _peer: None)
        notices = Notices(self._log, loop.time)
        listener = Listener(
            *self._listen,
            ListenerContext(
                node_id=self.node_id, cluster_id=self.cluster_id, versions=self.versions,
                settings=self.settings, codec=self._codec,
                notices=notices, on_message=on_message, on_identified=self._on_identified, traffic_of=self._traffic_of,
                tls=self._tls,
            ),
        )  # fmt: skip
        await listener.start()
        self._listener = listener
        self._context = LinkContext(
            node_id=self.node_id, cluster_id=self.cluster_id, versions=self.versions,
            settings=self.settings, codec=self._codec,
            random_source=self._random, notices=notices, on_connection=self._on_link,
            on_stranger=on_stranger or (lambda _peer, _word: None), tls=self._tls,
        )  # fmt: skip
        self.set_peers({peer: str(address) for peer, address in self._addresses.items()})
        self._ticker = loop.call_later(self.settings.ping_interval_s, self._tick)

    async def stop(self) -> None:
        """Send what is queued as far as the network takes it, close every connection and stop listening."""
        if self._ticker is not None:
            self._ticker.cancel()
        links, self._links = list(self._links.values()), {}
        self._unflushed.clear()
        self._codec.forget()
        closing = [link.close() for link in links]
        if self._listener is not None:
            closing.append(self._listener.stop())
        await asyncio.gather(*closing, *self._closing)

    def _tick(self) -> None:
        """Let every connection give a sign of life; runs once per ping interval."""
        assert self._listener is not None
        for link in self._links.values():
            link.tick()
        self._listener.tick()
        self._ticker = asyncio.get_running_loop().call_later(self.settings.ping_interval_s, self._tick)

    def _on_link(self, peer: NodeId, up: bool) -> None:  # noqa: FBT001  a callback has no keywords
        """Pass on that a link opened or broke; one that was given up on purpose is not lost."""
        self._on_connection(peer, up)
        if not up:
            self._on_lost(peer)

    def _on_identified(self, node: NodeId) -> None:
        """Dial a peer at once that has just dialled us: it is back."""
        link = self._links.get(node)
        if link is not None:
            link.on_peer_back()

    def _traffic_of(self, node: NodeId) -> Traffic:
        """Return the counters of a peer; a node that is no peer is counted nowhere."""
        link = self._links.get(node)
        return link.traffic if link is not None else Traffic()
