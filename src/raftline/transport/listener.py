"""The way in: accepts connections, learns who is there, and hands on what they send.

Whoever has not said who it is gets little: a short time, a kilobyte, and a place among few. A node is connected once;
the newer connection wins, because the older is what a restarted node left behind. It refuses to know about membership:
what a node of this cluster sends is delivered, and the core decides.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Message
from raftline.errors import ConfigError, PeerError
from raftline.transport.codec import (
    Codec,
    Envelope,
    Hello,
    Ping,
    Stranger,
    UnknownKind,
    Versions,
    Welcome,
    agreed_version,
    version_of,
)
from raftline.transport.connection import Connection
from raftline.transport.frame import HEADER_BYTES
from raftline.transport.notices import Notices
from raftline.transport.settings import TransportSettings
from raftline.transport.status import Traffic
from raftline.transport.tls import TlsFiles, TlsLayer, TlsRole, is_certified_as
from raftline.transport.twins import Twins

__all__ = ["Listener", "ListenerContext"]

_ACCEPTOR: Final = TlsRole(is_server=True, needs_certificate=True)
_BACKLOG: Final = 128

_SPEAK_TLS: Final = "this node speaks TLS with its peers: set tls_peers, tls_cert, tls_key and tls_ca"
_ACCEPT_TURNS: Final = 4
"""Loop turns after which a connection that the kernel has given us has been announced, and so can be closed."""


class ListenerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the listening side needs of its node."""

    node_id: NodeId
    cluster_id: str
    versions: Versions
    settings: TransportSettings
    codec: Codec
    notices: Notices
    on_message: Callable[[NodeId, GroupId, Message], None]
    on_identified: Callable[[NodeId], None]
    """Called when a node has connected to us: it is alive."""
    traffic_of: Callable[[NodeId], Traffic]
    """Where to count what a node sends."""
    tls: TlsFiles | None = None
    """What to prove oneself with, and whom to believe; None: plain text."""


class Listener:
    """Owns the listening socket and the connections that others made.

    Invariants: a connection is in exactly one of `_unidentified` (oldest first) and `_identified`, until it is ended.
    """

    def __init__(self, host: str, port: int, context: ListenerContext) -> None:
        self._host = host
        self._port = port
        self.context = context
        self._server: asyncio.Server | None = None
        self._unidentified: dict[_Accepted, None] = {}
        self._identified: dict[NodeId, _Accepted] = {}
        self._open: set[_Accepted] = set()
        self._securing: set[TlsLayer] = set()
        self._all_gone = asyncio.Event()
        self.twins = Twins(asyncio.get_running_loop().time)
        self._stopped = False
        self.passed_over = 0
        """Messages of a kind that this version does not know."""
        self.refused = 0
        """Connections that were closed because of what they sent, or did not send."""

    @property
    def port(self) -> int:
        """The port that is listened on; the kernel's choice if 0 was asked for."""
        assert self._server is not None, "the listener has not started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def unidentified(self) -> int:
        """Connections that have not said who they are."""
        return len(self._unidentified)

    @property
    def identified(self) -> list[NodeId]:
        """The nodes that are connected to this one, sorted."""
        return sorted(self._identified)

    async def start(self) -> None:
        """Listen; raise ConfigError if the address cannot be listened on."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._accept, self._host, self._port, backlog=_BACKLOG
            )
        except OSError as error:
            raise ConfigError(f"cannot listen for peers on {self._host}:{self._port}: {error}") from error

    def _accept(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        context = self.context
        accepted = _Accepted(self)
        if context.tls is None:
            return accepted
        return TlsLayer(
            accepted,
            context.tls.context(_ACCEPTOR),
            handshake_s_max=context.settings.handshake_timeout_s,
            on_failed=self._on_unsecured,
            pending=self._securing,
            pending_max=context.settings.unidentified_max,
            refusal_of_plain=bytes(context.codec.opening(context.codec.refusal(_SPEAK_TLS))),
        )

    def _on_unsecured(self, layer: TlsLayer, reason: str) -> None:
        """Count and tell that a connection came to nothing before anybody said who it is."""
        self.refused += 1
        self.context.notices.warn(
            ("refused", layer.remote.rpartition(":")[0], reason), "peer connection refused",
            remote=layer.remote, peer=None, reason=reason,
        )  # fmt: skip

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        self._stopped = True
        if self._server is not None:
            self._server.close()
        for layer in list(self._securing):
            layer.abort()
        for connection in list(self._open):
            connection.end("this node stops")
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        while self._open:
            self._all_gone.clear()
            await self._all_gone.wait()
        if self._server is not None:
            await self._server.wait_closed()

    def tick(self) -> None:
        """Give signs of life and count silence."""
        for connection in list(self._identified.values()):
            connection.tick()

    def recount(self) -> None:
        """Ask again where to count what each node sends: the peers have changed."""
        for node, connection in self._identified.items():
            connection.traffic = self.context.traffic_of(node)

    def tell_stranger(self, to: NodeId, word: Stranger) -> None:
        """Tell a node that is connected, unless it does not know the word or does not read what it is sent."""
        connection = self._identified.get(to)
        if connection is not None and connection.version >= version_of(Stranger) and not connection.paused:
            connection.write(self.context.codec.stranger_frame(word))

    def on_opened(self, connection: "_Accepted") -> None:
        """Give a new connection a place, the oldest unidentified one's if there is no other."""
        self._open.add(connection)
        self._unidentified[connection] = None
        if self._stopped:
            connection.end("this node stops")
        elif len(self._unidentified) > self.context.settings.unidentified_max:
            oldest = next(iter(self._unidentified))
            oldest.on_misbehaved("too many connections that do not say who they are")

    def on_hello(self, connection: "_Accepted", hello: Hello) -> tuple[int, Traffic]:
        """Accept a node, or raise PeerError with the reason not to; return the version, and where to count."""
        context = self.context
        sender = hello.node_id
        version = _check_hello(hello, context)
        if connection.names is not None and not is_certified_as(connection.names, sender):
            known = ", ".join(sorted(connection.names)) or "nobody"
            raise PeerError(f"it calls itself {sender!r}, but its certificate names {known}")
        older = self._identified.get(sender)
        if older is None and len(self._identified) >= context.settings.identified_max:
            raise PeerError(f"{len(self._identified)} nodes are connected already")
        del self._unidentified[connection]
        self._identified[sender] = connection
        if older is not None:
            context.notices.warn(
                ("again", sender), "peer connected again", peer=sender, remote=connection.remote, before=older.remote
            )
            if older.is_lively and (words := self.twins.on_replaced(sender, older.remote, connection.remote)):
                context.notices.warn(("twins", sender), words, peer=sender)
            older.end("the same node connected again")
        return version, context.traffic_of(sender)

    def on_unknown(self, sender: NodeId, kind: UnknownKind) -> None:
        """Pass over what only a later version can have sent: Raft repeats what matters in a way that all know."""
        self.passed_over += 1
        self.context.notices.warn(
            ("unknown", sender, str(kind)),
            "message of an unknown kind passed over: is the sender of a newer version?",
            peer=sender,
            kind=str(kind),
        )

    def on_refused(self, connection: "_Accepted", reason: str) -> None:
        """Count and tell that a connection is closed because of what came over it."""
        self.refused += 1
        host = connection.remote.rpartition(":")[0]
        self.context.notices.warn(
            ("refused", host, connection.sender), "peer connection refused",
            remote=connection.remote, peer=connection.sender, reason=reason,
        )  # fmt: skip

    def on_ended(self, connection: "_Accepted") -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self.on_ending(connection)
        if not self._open:
            self._all_gone.set()

    def on_ending(self, connection: "_Accepted") -> None:
        """Take a connection's place away."""
        self._unidentified.pop(connection, None)
        if connection.sender is not None and self._identified.get(connection.sender) is connection:
            del self._identified[connection.sender]


class _Accepted(Connection):
    """A connection that another node, or somebody else, made to this one."""

    def __init__(self, listener: Listener) -> None:
        context = listener.context
        super().__init__(asyncio.get_running_loop(), context.settings, context.codec)
        self._listener = listener
        self._on_message = context.on_message
        self.traffic = Traffic()
        self.sender: NodeId | None = None
        """Who is there; None until it has said so."""
        self.version = 0
        """What the other side speaks with us, once that is agreed."""

    def on_opened(self) -> None:
        self._listener.on_opened(self)

    def on_frame(self, payload: memoryview) -> None:
        sender = self.sender
        try:
            frame = self.codec.decode_accepted(payload)
        except UnknownKind as kind:
            if sender is None:
                raise PeerError(f"a frame of the unknown kind {str(kind)!r} before the handshake") from None
            self._listener.on_unknown(sender, kind)
            return
        if type(frame) is Envelope:
            if sender is None:
                raise PeerError("a message before the handshake")
            traffic = self.traffic
            traffic.received_messages += 1
            traffic.received_bytes += len(payload) + HEADER_BYTES
            self._on_message(sender, frame.group, frame.message)
        elif type(frame) is Hello:
            if sender is not None:
                raise PeerError("a second handshake")
            self._greet(frame)
        elif sender is None:
            assert type(frame) is Ping
            raise PeerError("a ping before the handshake")

    def _greet(self, hello: Hello) -> None:
        """Let the node in and say so."""
        context = self._listener.context
        self.version, self.traffic = self._listener.on_hello(self, hello)
        self.sender = hello.node_id
        self.write(self.codec.opening(Welcome(self.version, context.node_id)))
        self.become_identified(context.settings.max_frame_bytes)
        context.on_identified(hello.node_id)

    def on_misbehaved(self, reason: str) -> None:
        """Say why in a last frame, so that the other side's log has it too, and close."""
        self._listener.on_refused(self, reason)
        refusal = self.codec.refusal(reason)
        self.write(self.codec.control_frame(refusal) if self.identified else self.codec.opening(refusal))
        self.end(reason)

    def end(self, reason: str) -> None:
        """Close, and give the place free at once."""
        self._listener.on_ending(self)
        super().end(reason)

    def on_ended(self, reason: str) -> None:  # noqa: ARG002  the reason was told when it arose
        self._listener.on_ended(self)


def _check_hello(hello: Hello, context: ListenerContext) -> int:
    """Return the version to speak; raise PeerError if there is none, or the node is a stranger or meant another."""
    version = agreed_version(context.versions, hello.versions)
    if version is None:
        older = context.node_id if context.versions.newest < hello.versions.oldest else hello.node_id
        raise PeerError(
            f"protocol {hello.versions}; {context.node_id!r} speaks {context.versions}: upgrade {older!r} first"
        )
    if hello.cluster_id != context.cluster_id:
        raise PeerError(f"cluster {hello.cluster_id!r}; {context.node_id!r} is of cluster {context.cluster_id!r}")
    if hello.target_id != context.node_id:
        raise PeerError(f"{hello.target_id!r} was meant, but this is {context.node_id!r}: check the address")
    if hello.node_id == context.node_id:
        raise PeerError(f"two nodes call themselves {context.node_id!r}")
    if not hello.node_id:
        raise PeerError("the node id is empty")
    return version
