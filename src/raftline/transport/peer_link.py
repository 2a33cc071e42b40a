"""The way out to one peer: dials, says who it is, queues what is to be sent, and dials again when the link broke.

Messages wait only while the link is open or an attempt to open it runs; between attempts they are dropped, because
by then Raft has something newer to say. What waits is bounded in bytes, and leaves unless the peer turns out to be too
old for it. It refuses to know what a message means.
"""

import asyncio
import enum
import random
from collections.abc import Callable
from typing import Final

import msgspec

from raftline.core.ids import NodeId
from raftline.errors import PeerError
from raftline.transport.address import Address
from raftline.transport.codec import (
    HANDSHAKE_BYTES_MAX,
    Codec,
    Hello,
    Refusal,
    Stranger,
    UnknownKind,
    Versions,
    Welcome,
)
from raftline.transport.connection import Connection
from raftline.transport.notices import Notices
from raftline.transport.settings import TransportSettings
from raftline.transport.status import PeerStatus, Traffic
from raftline.transport.tls import TlsFiles, TlsLayer, TlsRole

__all__ = ["LinkContext", "LinkState", "PeerLink"]

_DIALLER: Final = TlsRole(is_server=False, needs_certificate=True)
_ATTEMPTS_AFTER_REFUSAL: Final = 16
"""A refusal is a wrong setting, which a quick retry does not cure."""
_WRITE_BYTES_MAX: Final = 1 << 20
"""Joined and encrypted at a time, as long as no single frame has more: 32 MiB under TLS held the loop for 70 ms."""


class LinkState(enum.Enum):
    """Where a link is on its way."""

    WAITING = "waiting"
    """Down; the next attempt is due after the backoff."""
    DIALLING = "dialling"
    """Connecting, or connected and waiting for the peer's welcome."""
    OPEN = "open"
    """What is flushed goes out."""
    CLOSED = "closed"
    """Closed for good."""


class LinkContext(msgspec.Struct, frozen=True, kw_only=True):
    """What all links of one node share."""

    node_id: NodeId
    cluster_id: str
    versions: Versions
    settings: TransportSettings
    codec: Codec
    random_source: random.Random
    """Spreads the attempts of several nodes to connect."""
    notices: Notices
    on_connection: Callable[[NodeId, bool], None]
    """Called when a link opens (True) and when an open one breaks (False)."""
    tls: TlsFiles | None = None
    """What to prove oneself with, and whom to believe; None: plain text."""
    on_stranger: Callable[[NodeId, Stranger], None] = lambda _peer, _word: None
    """Called when a peer says that this node is no member of its group."""


class PeerLink:
    """The link to one peer.

    Invariants: `queued_bytes` is the sum of what is queued; the queue is empty while WAITING or CLOSED; queue and
    connection buffer together hold at most `queue_bytes` and one write buffer; nothing goes out that is of a later
    version than the one agreed on.
    """

    def __init__(self, peer_id: NodeId, address: Address, context: LinkContext) -> None:
        self.peer_id = peer_id
        self.address = address
        self.traffic = Traffic()
        """What arrived from this peer, over the connections that it made."""
        self.version = context.versions.oldest
        """The version that the peer speaks with us; the oldest until it was agreed."""
        self._context = context
        self._settings = context.settings
        self._loop = asyncio.get_running_loop()
        self._state = LinkState.WAITING
        self._connection: _Dialled | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._layer: TlsLayer | None = None
        self._attempts = 0
        self._is_back = False
        """The peer has dialled us since the attempt began that runs."""
        self._opened_s = 0.0
        self._trouble = ""
        self._queue: list[bytearray] = []
        self._queue_bytes = 0
        self._later: dict[int, int] = {}
        """Until a version is agreed on: where in the queue is what not every peer knows, and the version it needs."""
        self._dropped = 0
        self._opened_times = 0
        self._sent_messages = 0
        self._sent_bytes = 0

    @property
    def state(self) -> LinkState:
        """Where the link is on its way."""
        return self._state

    def accepts(self, version: int) -> bool:
        """Say whether a message that came with `version` could be queued now; if not, it counts as dropped.

        Until the link is open nobody knows what the peer speaks: whatever it is, it may be queued.
        """
        if self._state is LinkState.DIALLING or (self._state is LinkState.OPEN and version <= self.version):
            return True
        self._dropped += 1
        return False

    @property
    def is_behind(self) -> bool:
        """Say whether the network takes what is sent more slowly than it comes."""
        return self._connection is not None and self._connection.paused

    def queue(self, frame: bytearray, version: int) -> None:
        """Queue `frame` of `version` until the next flush, or drop it if the peer does not keep up; never waits."""
        if self._waiting_bytes() + len(frame) > self._settings.queue_bytes:
            self._dropped += 1
            return
        if version > self.version:
            self._later[len(self._queue)] = version
        self._queue.append(frame)
        self._queue_bytes += len(frame)

    def has_room(self, size_bytes: int) -> bool:
        """Say whether a frame would leave half of the queue free, or has it for itself."""
        waiting = self._waiting_bytes()
        return not waiting or waiting + size_bytes <= self._settings.queue_bytes // 2

    def _waiting_bytes(self) -> int:
        connection = self._connection
        backlog = connection.backlog_bytes if connection is not None and connection.paused else 0
        return self._queue_bytes + backlog

    def drop_one(self) -> None:
        """Count a message that could not be queued."""
        self._dropped += 1

    def flush(self) -> None:
        """Hand what is queued to the network in one write, a long queue in several, until the connection holds back."""
        connection = self._connection
        if self._state is not LinkState.OPEN or connection is None:
            return
        while self._queue and not connection.paused:
            frames = self._take_frames()
            connection.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _take_frames(self) -> list[bytearray]:
        """Return the frames that leave together, from the first one on: all, unless they are too many bytes."""
        frames, size = self._queue, self._queue_bytes
        if size > _WRITE_BYTES_MAX:
            count = size = 0
            while size < _WRITE_BYTES_MAX and count < len(frames):
                size += len(frames[count])
                count += 1
            frames, self._queue = frames[:count], frames[count:]
        else:
            self._queue = []
        self._queue_bytes -= size
        self._sent_messages += len(frames)
        self._sent_bytes += size
        return frames

    def tick(self) -> None:
        """Give a sign of life and count the peer's silence."""
        if self._connection is not None:
            self._connection.tick()

    def dial(self) -> None:
        """Try to connect now, unless the link is up or an attempt runs."""
        if self._state is not LinkState.WAITING:
            return
        self._cancel_retry()
        self._state = LinkState.DIALLING
        self._dialling = self._loop.create_task(self._connect(), name=f"raftline dial {self.peer_id}")

    def on_peer_back(self) -> None:
        """The peer has just dialled us: try to connect now, or again if the attempt that runs began too early."""
        self._is_back = self._state is LinkState.DIALLING
        self.dial()

    async def close(self) -> None:
        """Send what is queued as far as the network takes it, then close for good."""
        self.flush()
        self._state = LinkState.CLOSED
        self._cancel_retry()
        self._drop_queue()
        if self._connection is not None:
            self._connection.end("this node stops or the peer was removed")
        if self._dialling is not None and not self._dialling.done():
            self._dialling.cancel()
            await asyncio.wait([self._dialling])
        if self._connection is not None:
            await self._connection.gone
        elif self._layer is not None:
            self._layer.abort()

    def status(self) -> PeerStatus:
        """Return the link's state and counters."""
        connection = self._connection
        return PeerStatus(
            connected=self._state is LinkState.OPEN,
            version=self.version if self._state is LinkState.OPEN else None,
            address=self.address.bus,
            queued_bytes=self._queue_bytes + (connection.backlog_bytes if connection is not None else 0),
            dropped_messages=self._dropped,
            reconnects=max(0, self._opened_times - 1),
            sent_messages=self._sent_messages,
            sent_bytes=self._sent_bytes,
            received_messages=self.traffic.received_messages,
            received_bytes=self.traffic.received_bytes,
            last_trouble=self._trouble,
        )

    async def _connect(self) -> None:
        """Make the TCP connection; the handshake goes on in `_Dialled`, under TLS in `TlsLayer` first."""
        seconds = self._settings.connect_timeout_s
        try:
            factory = self._factory()
            async with asyncio.timeout(seconds):
                await self._loop.create_connection(factory, self.address.host, self.address.bus_port)
        except TimeoutError:
            if self._connection is not None:  # made at the very moment when its time was up
                self._connection.give_up()
            else:
                self._on_no_connection(f"no connection within {seconds:g} s")
        except (OSError, UnicodeError) as error:
            self._on_no_connection(f"cannot connect: {error}")

    def _factory(self) -> Callable[[], asyncio.Protocol]:
        """Return what makes the protocol of a new connection; under TLS the peer has to be certified by its id."""
        files = self._context.tls
        if files is None:
            return lambda: _Dialled(self, self._context)
        self._layer = layer = TlsLayer(
            _Dialled(self, self._context),
            files.context(_DIALLER),
            handshake_s_max=self._settings.handshake_timeout_s,
            on_failed=self._on_unsecured,
            peer_name=self.peer_id,
        )
        return lambda: layer

    def _on_unsecured(self, layer: TlsLayer, reason: str) -> None:
        """Handle that TLS could not be agreed on; a quick retry would not cure it."""
        if layer is self._layer:
            self._attempts = _ATTEMPTS_AFTER_REFUSAL
            self._on_no_connection(reason)

    def _on_no_connection(self, reason: str) -> None:
        """Handle a failed attempt; one that was cut off after it connected ends as a connection does."""
        if self._state is LinkState.DIALLING and self._connection is None:
            self._on_down(None, reason)

    def on_connected(self, connection: "_Dialled") -> None:
        """Say who we are."""
        context = self._context
        if self._state is not LinkState.DIALLING:
            connection.end("no longer wanted")
            return
        self._connection = connection
        spoken = context.versions
        hello = Hello(spoken.oldest, context.cluster_id, context.node_id, self.peer_id, spoken.newest)
        connection.write(context.codec.opening(hello))

    def on_welcome(self, connection: "_Dialled", welcome: Welcome) -> None:
        """Open the link: the peer knows us, and is the one that we meant."""
        if welcome.node_id != self.peer_id:
            raise PeerError(f"{connection.remote} is {welcome.node_id!r}, not {self.peer_id!r}: check the address")
        spoken = self._context.versions
        if not spoken.oldest <= welcome.version <= spoken.newest:
            raise PeerError(f"the peer wants protocol version {welcome.version}; this node speaks {spoken}")
        connection.become_identified(HANDSHAKE_BYTES_MAX)
        self.version = welcome.version
        self._drop_unknown()
        self._is_back = False
        self._state = LinkState.OPEN
        self._opened_s = self._loop.time()
        self._opened_times += 1
        self._context.notices.info("peer connected", peer=self.peer_id, address=self.address.bus, protocol=self.version)
        self._context.on_connection(self.peer_id, True)  # noqa: FBT003  a callback has no keywords
        self.flush()

    def on_stranger(self, word: Stranger) -> None:
        """Pass on that the peer does not hold this node for a member."""
        self._context.on_stranger(self.peer_id, word)

    def on_refusal(self, connection: "_Dialled", refusal: Refusal) -> None:
        """Note why the peer does not want us, and give it time."""
        self._attempts = _ATTEMPTS_AFTER_REFUSAL
        connection.end(f"the peer refused: {refusal.reason}")

    def on_connection_ended(self, connection: "_Dialled", reason: str) -> None:
        """Handle the end of the connection that carried the link."""
        if connection is self._connection:
            self._on_down(connection, reason)

    def _on_down(self, connection: "_Dialled | None", reason: str) -> None:
        """Drop what waited and try again later; keep it and try at once if the peer came back meanwhile."""
        was_open = self._state is LinkState.OPEN
        is_back, self._is_back = self._is_back, False
        if connection is self._connection:
            self._connection = None
        if self._state is LinkState.CLOSED:
            return
        self._state = LinkState.WAITING
        self._trouble = reason
        self.version = self._context.versions.oldest
        if not is_back:
            self._drop_queue()
        if was_open and self._loop.time() - self._opened_s > 2 * self._settings.backoff_s_max:
            self._attempts = 0
        if is_back:
            self.dial()
        else:
            self._retry = self._loop.call_later(self._backoff_s(), self.dial)
        self._context.notices.warn(
            ("link", self.peer_id, reason), "peer lost" if was_open else "peer not reached",
            peer=self.peer_id, address=self.address.bus, reason=reason,
        )  # fmt: skip
        if was_open:
            self._context.on_connection(self.peer_id, False)  # noqa: FBT003  a callback has no keywords

    def _backoff_s(self) -> float:
        """Return the wait before the next attempt: doubled each time, and spread over its upper half."""
        longest = min(self._settings.backoff_s_max, self._settings.backoff_s_min * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, _ATTEMPTS_AFTER_REFUSAL)
        return longest * (0.5 + self._context.random_source.random() / 2)

    def _drop_unknown(self) -> None:
        """Drop what was queued and is of a later version than the one that was just agreed on."""
        unknown = {position for position, version in self._later.items() if version > self.version}
        self._later = {}
        if unknown:
            self._dropped += len(unknown)
            self._queue = [frame for position, frame in enumerate(self._queue) if position not in unknown]
            self._queue_bytes = sum(map(len, self._queue))

    def _drop_queue(self) -> None:
        self._dropped += len(self._queue)
        self._queue = []
        self._queue_bytes = 0
        self._later = {}

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None


class _Dialled(Connection):
    """The connection that carries a link."""

    def __init__(self, link: PeerLink, context: LinkContext) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop, context.settings, context.codec)
        self._link = link
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done once the connection is closed."""

    def on_opened(self) -> None:
        self._link.on_connected(self)

    def on_frame(self, payload: memoryview) -> None:
        try:
            frame = self.codec.decode_dialled(payload)
        except UnknownKind as kind:
            if not self.identified:
                raise PeerError(f"a frame of the unknown kind {str(kind)!r} instead of a welcome") from None
            return  # only a later version can have sent it, and it can do without an answer
        if isinstance(frame, Refusal):
            self._link.on_refusal(self, frame)
        elif isinstance(frame, Welcome):
            if self.identified:
                raise PeerError("a second welcome")
            self._link.on_welcome(self, frame)
        elif not self.identified:
            raise PeerError(f"a {type(frame).__name__.lower()} instead of a welcome")
        elif isinstance(frame, Stranger):
            self._link.on_stranger(frame)

    def on_writable(self) -> None:
        self._link.flush()

    def on_ended(self, reason: str) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        self._link.on_connection_ended(self, reason)
