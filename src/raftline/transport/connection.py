"""One TCP connection between two nodes, either side of it: frames in, bytes out, silence counted, an orderly end.

Written on asyncio's protocol callbacks, so nothing is created per message. It refuses to know who the other side is;
`Dialled` (peer_link) and `Accepted` (listener) say what the frames mean.
"""

import asyncio
import socket
from typing import Final, cast

from raftline.errors import PeerError
from raftline.transport.codec import HANDSHAKE_BYTES_MAX, Codec, Ping
from raftline.transport.frame import FrameReader
from raftline.transport.settings import TransportSettings
from raftline.transport.tls import certified_names

__all__ = ["Connection"]

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
"""The kernel's own test for a dead host, in seconds and tries; it works while this process does not."""

_LINGER_S: Final = 1.0
"""How long what was written last may take to leave once a connection is closed."""


class Connection(asyncio.Protocol):
    """Base of both sides; `on_opened`, `on_frame` and `on_ended` are the subclass's.

    Invariants: after `end()` no frame is handed out; `on_ended` is called exactly once for a connection that was
    made, with the first reason given.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: TransportSettings, codec: Codec) -> None:
        self._loop = loop
        self._settings = settings
        self.codec = codec
        self._reader = FrameReader(HANDSHAKE_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._handshake_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._silent_ticks = 0
        self._reason = ""
        self._ending = False
        self.identified = False
        """The opening handshake is complete."""
        self.paused = False
        """The connection's buffer is above its mark: whatever can wait should."""
        self.remote = "?"
        """The other end as `host:port`, for logs."""
        self.names: frozenset[str] | None = None
        """Whom the other end's certificate names; None without TLS."""

    def on_opened(self) -> None:
        """Handle that the connection is made."""
        raise NotImplementedError

    def on_frame(self, payload: memoryview) -> None:
        """Handle one complete payload; may raise PeerError, which ends the connection."""
        raise NotImplementedError

    def on_ended(self, reason: str) -> None:
        """Handle that the connection is gone."""
        raise NotImplementedError

    def on_writable(self) -> None:
        """Handle that the connection's buffer has room again."""

    def on_misbehaved(self, reason: str) -> None:
        """Handle that the other side sent what no peer sends, or not in time."""
        self.end(reason)

    @property
    def is_lively(self) -> bool:
        """Say whether something came within the last interval of signs of life."""
        return self._silent_ticks <= 1

    @property
    def backlog_bytes(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes | bytearray) -> None:
        """Hand `data` to the network; dropped if the connection is ending."""
        if self._transport is not None and not self._ending:
            self._transport.write(data)

    def become_identified(self, max_frame_bytes: int) -> None:
        """Note that the handshake is complete; from here on frames may have `max_frame_bytes`."""
        self.identified = True
        self._reader.max_frame_bytes = max_frame_bytes
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None

    def tick(self) -> None:
        """Count an interval of silence, which the next byte resets, and give a sign of life.

        Counted in ticks and not in seconds: a process that was stopped for a while must not blame its peers.
        """
        if not self.identified or self._ending:
            return
        self._silent_ticks += 1
        if self._silent_ticks > self._settings.silent_pings_max:
            self.on_misbehaved(f"silent for {self._settings.silent_pings_max * self._settings.ping_interval_s:g} s")
        elif not self.paused:
            self.write(self.codec.control_frame(Ping()))

    def end(self, reason: str) -> None:
        """Close the connection once what was written has left, or shortly after in any case."""
        if self._ending:
            return
        self._ending = True
        self._reason = reason
        transport = self._transport
        if transport is not None:
            transport.close()
            if transport.get_write_buffer_size():
                self._linger_timer = self._loop.call_later(_LINGER_S, transport.abort)

    def give_up(self) -> None:
        """End at once a connection whose making was cut off: uvloop has closed it then, and does not say so."""
        transport = self._transport
        if transport is not None:
            transport.abort()
            self.connection_lost(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up and start the handshake's clock."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is none, but does all of it
        self._transport = transport
        _set_options(transport, self._settings)
        transport.set_write_buffer_limits(high=self._settings.write_buffer_bytes)
        self.names = certified_names(transport.get_extra_info("ssl_object"))
        name = transport.get_extra_info("peername")
        if name:
            self.remote = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        if self._ending:
            transport.abort()
            return
        seconds = self._settings.handshake_timeout_s
        self._handshake_timer = self._loop.call_later(
            seconds, self.on_misbehaved, f"no complete handshake within {seconds:g} s"
        )
        self.on_opened()

    def data_received(self, data: bytes) -> None:
        """Cut what came into frames and hand them out."""
        if self._ending:
            return
        self._silent_ticks = 0
        reader = self._reader
        try:
            reader.feed(data)
            while not self._ending and (payload := reader.next_frame()) is not None:
                self.on_frame(payload)
        except PeerError as error:
            self.on_misbehaved(str(error))

    def pause_writing(self) -> None:
        """Note that the buffer is above its mark."""
        self.paused = True

    def resume_writing(self) -> None:
        """Note that the buffer is well below its mark again, and let the subclass write."""
        self.paused = False
        if not self._ending:
            self.on_writable()

    def eof_received(self) -> None:
        """Note that the other side closed; asyncio closes this side too."""
        self._reason = self._reason or "closed by the other side"

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection, on purpose or not."""
        if self._transport is None:
            return  # it was given up
        self._ending = True
        self._transport = None
        for timer in (self._handshake_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self.on_ended(self._reason or str(exc or "closed by the other side"))


def _set_options(transport: asyncio.Transport, settings: TransportSettings) -> None:
    """Send small messages at once, and let the kernel give up on a peer that acknowledges nothing."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    unacknowledged_ms = int(settings.silent_pings_max * settings.ping_interval_s * 1000)
    for name, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", unacknowledged_ms)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
