"""The Redis port: sockets around the connections of a service, and the timers that one process needs.

No task, future or timer per client or command: data comes in by callback, everything that became ready in a turn of
the loop is written in the next one, one write per connection, and one sweeper looks after the slow ones.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

from raftline.errors import ConfigError
from raftline.kv.addresses import address_text, is_loopback, keep_alive
from raftline.kv.client_log import ITS_TLS, PROTECTED_MODE, ClientLog
from raftline.kv.connection import Connection
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.ports import KvNode
from raftline.kv.refusals import (
    PROTECTED,
    SPEAK_PLAIN,
    SPEAK_TLS,
    TOO_MANY,
    TOO_MUCH_BEHIND,
    TOO_MUCH_PARTIAL,
    TOO_SLOW,
)
from raftline.kv.service import Service
from raftline.kv.sharded.ports import Groups
from raftline.kv.sharded.router import Redirects
from raftline.kv.sharded.service import HOLD_S_MAX, ShardedService
from raftline.runtime.clock import SystemClock
from raftline.runtime.ports import Clock
from raftline.runtime.requests import Consistency
from raftline.transport.tls import TLS_FIRST_BYTE, TlsLayer

__all__ = ["KvServer"]

_TICK_S = 0.1
_SWEEP_S = 1.0
_BACKLOG = 1024
_QUIET_S = 0.05
_STOP_S = 1.0
_CLOSE_S = 10.0
_HANDSHAKE_S = 10.0


class KvServer:
    """Serves Redis clients on one address; `port` 0 takes any free one, which `port` then says."""

    def __init__(
        self,
        node: KvNode,
        machine: KvMachine,
        host: str,
        port: int,
        limits: Limits | None = None,
        *,
        clock: Clock | None = None,
        default_reads: Consistency = "linearizable",
        drain_s_max: float = 2.0,
        tls: Callable[[], ssl.SSLContext] | None = None,
        password: str = "",
        is_protected: bool = False,
        groups: Groups | None = None,
        redirects: Redirects = "auto",
        hold_s_max: float = HOLD_S_MAX,
    ) -> None:
        """Prepare; `tls` returns the context of a new connection, None for plain text.

        `password` is what the user `default` has to give here. If `is_protected`, clients of other machines are refused
        while that user needs none. `groups` are those of a sharded store, of which `node` and `machine` are the first;
        a command whose slot is not served is held for `hold_s_max`.
        """
        self._groups = groups
        self._redirects: Redirects = redirects
        self._hold_s_max = hold_s_max
        self._password = password
        self._is_protected = is_protected
        self._tls = tls
        self._securing: set[TlsLayer] = set()
        self._node = node
        self._default_reads = default_reads
        self._drain_s_max = drain_s_max
        self._machine = machine
        self._clock = clock or SystemClock()
        self._limits = limits or Limits()
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._service: Service | None = None
        self.log = ClientLog()
        self._ready: list[_Protocol] = []
        self._ready_s = 0.0
        self._protocols: set[_Protocol] = set()
        self._slow: dict[_Protocol, float] = {}
        self._partial_bytes = 0
        self._all_gone: asyncio.Future[None] | None = None
        self._all_ended: asyncio.Future[None] | None = None
        self._ended_count = 0
        self._tick_timer: asyncio.TimerHandle | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self.host = host
        self.port = port

    @property
    def service(self) -> Service:
        """Return what is behind the sockets; raises `ConfigError` before `start`."""
        if self._service is None:
            raise ConfigError("the server was not started: await start() first")
        return self._service

    @property
    def started_service(self) -> Service | None:
        """Return what is behind the sockets, None before `start`."""
        return self._service

    async def start(self) -> None:
        """Listen; raises `OSError` if the address cannot be used."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        listener = await loop.create_server(self._accept, self.host, self.port, backlog=_BACKLOG)
        self.port = listener.sockets[0].getsockname()[1]
        self._server = listener
        self._service = self._make_service()
        self._tick_timer = loop.call_later(_TICK_S, self._on_tick_timer)
        self._sweep_timer = loop.call_later(_SWEEP_S, self._sweep)

    def _make_service(self) -> Service:
        first = (self._node, self._machine, self._limits, self._clock, self.host, self.port)
        if self._groups is None:
            return Service(*first, default_reads=self._default_reads, password=self._password)
        return ShardedService(
            *first,
            groups=self._groups,
            redirects=self._redirects,
            hold_s_max=self._hold_s_max,
            default_reads=self._default_reads,
            password=self._password,
        )

    def _accept(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        protocol = _Protocol(self)
        if self._tls is None:
            return protocol
        return TlsLayer(
            protocol,
            self._tls(),
            handshake_s_max=_HANDSHAKE_S,
            on_failed=self._on_unsecured,
            pending=self._securing,
            pending_max=max(1, self._limits.clients_max - len(self._protocols)),
            refusal_of_plain=SPEAK_TLS,
        )

    def _on_unsecured(self, layer: TlsLayer, reason: str) -> None:
        """Count and tell that a client could not agree with us on TLS."""
        self.service.statistics.rejected_connections += 1
        self.log.refused(layer.remote, reason)

    def is_closed_to(self, peer: object) -> bool:
        """Say whether protected mode keeps a client out that connects from `peer`, as sockets name it."""
        if not self._is_protected or not self._machine.store.users.is_default_open:
            return False
        return isinstance(peer, tuple) and not is_loopback(str(peer[0]))

    async def stop(self) -> None:
        """Stop listening, answer what was sent, and close every connection.

        A connection's end is sent right behind an answer, or when nothing comes for a moment, so that a client learns
        of it before it sends again; at the latest after `drain_s_max`. What is written then gets a second to leave.
        """
        self._stop_listening()
        self.service.stop_waiting()
        for protocol in list(self._protocols):
            protocol.drain()
        await self._until_all_ended(min(_QUIET_S, self._drain_s_max))
        for protocol in list(self._protocols):
            protocol.finish()
        await self._until_all_ended(self._drain_s_max)
        if self._protocols:
            await asyncio.sleep(_QUIET_S)  # what was sent before the end was seen is taken off the wire, not reset
        for timer in (self._tick_timer, self._sweep_timer):
            if timer is not None:
                timer.cancel()
        for protocol in list(self._protocols):
            protocol.close()
        if self._protocols:
            self._all_gone = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone, _STOP_S)
        for protocol in list(self._protocols):
            protocol.abort()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
        for layer in list(self._securing):
            layer.abort()

    async def _until_all_ended(self, seconds: float) -> None:
        """Wait until every connection is answered and its end is sent, but not longer than that."""
        self._all_ended = asyncio.get_running_loop().create_future()
        self._note_ends()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended, seconds)
        self._all_ended = None

    def _note_ends(self) -> None:
        waiting = self._all_ended
        if waiting is not None and not waiting.done() and self._ended_count == len(self._protocols):
            waiting.set_result(None)

    # What the protocols call.

    def on_connected(self, protocol: "_Protocol") -> None:
        """Keep track of an open socket."""
        self._protocols.add(protocol)

    def on_disconnected(self, protocol: "_Protocol") -> None:
        """Forget a socket that is gone."""
        self._protocols.discard(protocol)
        self._slow.pop(protocol, None)
        self._ended_count -= protocol.has_ended
        self._note_ends()
        if not self._protocols and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    def on_ended(self) -> None:
        """Count a connection whose end was sent while the server stops."""
        self._ended_count += 1
        self._note_ends()

    def on_ready(self, protocol: "_Protocol") -> None:
        """Give `protocol` a turn soon, together with all others that are ready by then."""
        if not self._ready:
            assert self._loop is not None, "the server was started"
            self._loop.call_soon(self._take_turns)
            self._ready_s = self._clock.monotonic_s()
        self._ready.append(protocol)

    def on_partial(self, change_bytes: int) -> bool:
        """Count what half-received requests hold; return False if that is too much."""
        self._partial_bytes += change_bytes
        return change_bytes <= 0 or self._partial_bytes <= self._limits.partial_bytes_max

    def watch(self, protocol: "_Protocol", limit_s: float) -> None:
        """End `protocol` if it is not unwatched, or watched anew, within `limit_s`."""
        assert self._loop is not None, "the server was started"
        self._slow[protocol] = self._loop.time() + limit_s

    def unwatch(self, protocol: "_Protocol") -> None:
        """`protocol` is no longer slow."""
        self._slow.pop(protocol, None)

    def _take_turns(self) -> None:
        ready, self._ready = self._ready, []
        for protocol in ready:
            protocol.turn()
        self.service.reply_latency.observe(self._clock.monotonic_s() - self._ready_s, len(ready))

    def _on_tick_timer(self) -> None:
        assert self._loop is not None, "the server was started"
        self.service.expire()
        self._tick_timer = self._loop.call_later(_TICK_S, self._on_tick_timer)

    def _sweep(self) -> None:
        """End the connections whose clients are too slow."""
        assert self._loop is not None, "the server was started"
        now = self._loop.time()
        for protocol in [protocol for protocol, deadline in self._slow.items() if deadline <= now]:
            protocol.on_too_slow()
        if self._limits.idle_s_max:
            since_ms = self.service.now_ms() - self._limits.idle_s_max * 1000
            for protocol in list(self._protocols):
                protocol.close_if_idle(since_ms)
        self._sweep_timer = self._loop.call_later(_SWEEP_S, self._sweep)


class _Protocol(asyncio.Protocol):
    """One socket."""

    __slots__ = (
        "_connection",
        "_is_draining",
        "_is_fresh",
        "_is_paused",
        "_now_ms",
        "_partial_after",
        "_partial_bytes",
        "_server",
        "_statistics",
        "_transport",
        "has_ended",
    )

    def __init__(self, server: KvServer) -> None:
        self._server = server
        self._transport: Any = None
        self._connection: Connection | None = None
        self._is_paused = False
        self._is_draining = False
        self._is_fresh = True
        self.has_ended = False
        """This side's end was sent while the server stops; what still comes is not taken."""
        self._partial_bytes = 0
        self._partial_after = -1

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        service = self._server.service
        self._statistics, self._now_ms = service.statistics, service.now_ms
        self._server.on_connected(self)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if self._server.is_closed_to(peer):
            self._statistics.rejected_connections += 1
            self._server.log.refused(address_text(peer), PROTECTED_MODE)
            self._refuse(PROTECTED)
            return
        self._connection = service.connect(address_text(peer), address_text(local), self._on_ready)
        if self._connection is None:
            self._refuse(TOO_MANY)
            return
        self._connection.client.kill = self.abort
        self._transport.set_write_buffer_limits(high=service.limits.output_pause_bytes)
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        if connection is not None:
            if self._is_fresh:
                self._is_fresh = False
                if data[0] == TLS_FIRST_BYTE:
                    self._server.log.refused(connection.client.address, ITS_TLS)
                    self._refuse(SPEAK_PLAIN)
                    return
            self._statistics.input_bytes += len(data)
            connection.client.last_ms = self._now_ms()
            connection.feed(data)
            connection.client.is_at_end = connection.client.is_at_end or self._is_draining
            self._settle(connection)

    def eof_received(self) -> bool:
        """Keep the socket open for what is still to be answered."""
        connection = self._connection
        if connection is None or self.has_ended or connection.client.blocked is not None:
            return False
        connection.client.is_at_end = True
        self._settle(connection)
        return True

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.is_output_blocked = True
            self._server.watch(self, self._server.service.limits.stalled_s_max)

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.is_output_blocked = False
            self._server.unwatch(self)
            self._partial_after = -1
            self._server.on_ready(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  how it ended changes nothing
        connection, self._connection = self._connection, None
        self._server.on_partial(-self._partial_bytes)
        self._partial_bytes = 0
        self._server.on_disconnected(self)
        if connection is not None:
            self._server.service.disconnect(connection)

    # What the server calls.

    def turn(self) -> None:
        """Let the connection go on, and send what it has."""
        connection = self._connection
        if connection is not None:
            connection.turn()
            self._settle(connection)

    def on_too_slow(self) -> None:
        """The client took too long to send a request, or to take its replies, or to let go."""
        connection = self._connection
        self._server.service.statistics.slow_clients_closed += 1
        if connection is not None:
            self._server.log.too_slow(connection, self._transport.get_write_buffer_size())
        if self._transport.is_closing() or connection is None or connection.is_output_blocked:
            self._server.unwatch(self)
            self._transport.abort()
        else:
            self._refuse(TOO_SLOW)

    def close_if_idle(self, since_ms: float) -> None:
        """Close if nothing was asked since then and nothing is waited for."""
        connection = self._connection
        if connection is not None and connection.is_idle and connection.client.last_ms < since_ms:
            self.close()

    def drain(self) -> None:
        """Close behind the next answer; a request may be on its way to an idle connection."""
        self._is_draining = True
        connection = self._connection
        if connection is not None and not connection.is_idle:
            self.finish()

    def finish(self) -> None:
        """Close as soon as what was received is answered; half a request will never be whole."""
        connection = self._connection
        if connection is not None and not self._transport.is_closing():
            connection.client.is_at_end = True
            self._settle(connection)

    def _send_end(self, connection: Connection) -> None:
        """Say that nothing more is answered, at once; the socket itself stays for what is on its way."""
        connection.client.closing = True
        self.has_ended = True
        self._transport.write_eof()
        self._server.on_ended()

    def close(self) -> None:
        """Close once what was written has left, or after a while in any case."""
        self._server.watch(self, _CLOSE_S)
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _on_ready(self, _connection: Connection) -> None:
        self._server.on_ready(self)

    def _settle(self, connection: Connection) -> None:
        """Send what there is, and see to it that neither side's buffers grow beyond their limits."""
        transport = self._transport
        output = connection.take_output()
        if output and not transport.is_closing():
            self._statistics.output_bytes += len(output)
            transport.write(output)
            if connection.is_output_blocked and transport.get_write_buffer_size() > connection.client.output_bytes_max:
                self._statistics.output_limit_disconnections += 1
                self.on_too_slow()
                return
        if not connection.is_in_order or self._is_paused or self._partial_bytes:
            self._look_after(connection)

    def _look_after(self, connection: Connection) -> None:
        """See to an end, to a backlog, to half a request: seldom needed, so ordinary replies do not pay for it."""
        transport = self._transport
        if transport.is_closing():
            return
        if connection.is_finished:
            if self._is_draining and not self.has_ended:
                self._send_end(connection)
            elif not self.has_ended:
                self.close()
            return
        is_blocked = connection.client.blocked is not None
        must_pause = connection.intake.has_backlog and not is_blocked  # the end of one that waits has to be seen
        if must_pause != self._is_paused:
            self._is_paused = must_pause
            (transport.pause_reading if self._is_paused else transport.resume_reading)()
        partial_bytes = connection.partial_bytes
        if partial_bytes or self._partial_bytes:
            self._note_partial(connection, partial_bytes)

    def _note_partial(self, connection: Connection, partial_bytes: int) -> None:
        """Half a request arrived, or its other half did: the time for each is limited, and the memory for all."""
        server = self._server
        change_bytes = partial_bytes - self._partial_bytes
        self._partial_bytes = partial_bytes
        if not server.on_partial(change_bytes):
            self._refuse(TOO_MUCH_PARTIAL)
        elif connection.client.blocked is not None and partial_bytes > server.service.limits.request_bytes_max:
            self._refuse(TOO_MUCH_BEHIND)
        elif connection.is_output_blocked:
            pass  # already watched, as a client that does not take its replies
        elif not connection.intake.waits_for_bytes:
            server.unwatch(self)
            self._partial_after = -1
        elif connection.parser.parsed_count != self._partial_after:
            self._partial_after = connection.parser.parsed_count
            server.watch(self, server.service.limits.receive_s_max)

    def _refuse(self, reply: bytes) -> None:
        """Close behind this, and behind the replies that are due; one that waits for an element may wait for ever."""
        connection = self._connection
        if connection is None or connection.client.blocked is not None:
            self._transport.write(reply)
            self.close()
            return
        self._server.unwatch(self)
        connection.intake.give_up(reply)
        if connection.client.transaction is not None:
            connection.client.transaction.break_()
        connection.turn()
        self._settle(connection)
