"""The Redis port: sockets around the connections of a service, and the timers that one process needs.

No task, future or timer per client or command: data comes in by callback, everything that became ready in a turn of
the loop is written in the next one, one write per connection, and one sweeper looks after the slow ones.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from raftline.errors import ConfigError
from raftline.kv.addresses import is_loopback
from raftline.kv.client_log import ClientLog
from raftline.kv.client_socket import ClientSocket
from raftline.kv.limits import Limits
from raftline.kv.listener import stop_listening
from raftline.kv.machine import KvMachine
from raftline.kv.ports import KvNode
from raftline.kv.refusals import SPEAK_TLS
from raftline.kv.service import Service
from raftline.kv.sharded.ports import Groups
from raftline.kv.sharded.router import Redirects
from raftline.kv.sharded.service import HOLD_S_MAX, ShardedService
from raftline.runtime.clock import SystemClock
from raftline.runtime.ports import Clock
from raftline.runtime.requests import Consistency
from raftline.transport.tls import TlsLayer

__all__ = ["KvServer"]

_TICK_S = 0.1
_SWEEP_S = 1.0
_BACKLOG = 1024
_QUIET_S = 0.05
_STOP_S = 1.0
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
        self._ready: list[ClientSocket] = []
        self._ready_s = 0.0
        self._protocols: set[ClientSocket] = set()
        self._slow: dict[ClientSocket, float] = {}
        self._partial_bytes = 0
        self._all_gone: asyncio.Future[None] | None = None
        self._all_ended: asyncio.Future[None] | None = None
        self._ended_count = 0
        self._is_stopping = False
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
        self._is_stopping = False
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
        protocol = ClientSocket(self)
        if self._tls is None:
            return protocol
        return TlsLayer(
            protocol,
            self._tls(),
            handshake_s_max=_HANDSHAKE_S,
            on_failed=self._on_unsecured,
            on_gone=self._note_ends,
            pending=self._securing,
            pending_max=max(1, self._limits.clients_max - len(self._protocols)),
            refusal_of_plain=SPEAK_TLS,
        )

    def _on_unsecured(self, layer: TlsLayer, reason: str) -> None:
        """Count and tell that a client could not agree with us on TLS."""
        self.service.statistics.rejected_connections += 1
        self.log.refused(layer.remote, reason)

    def is_closed_to(self, peer: object) -> bool:
        """Say whether protected mode keeps a client out that connects from `peer`, as sockets name it.

        One that was gone before it could be named may be anybody; what it sent is still read.
        """
        if not self._is_protected or not self._machine.store.users.is_default_open:
            return False
        return not (isinstance(peer, tuple) and is_loopback(str(peer[0])))

    async def stop(self) -> None:
        """Stop listening, answer what was sent, and close every connection.

        A connection's end is sent right behind an answer, or when nothing comes for a moment, so that a client learns
        of it before it sends again; at the latest after `drain_s_max`. A TLS handshake that is under way gets a second,
        and with it the first request, which cannot come before. What is written then gets a second to leave.
        """
        self._is_stopping = True
        secured = list(self._protocols)
        await self._stop_listening()
        self.service.stop_waiting()
        for protocol in list(self._protocols):
            protocol.drain()
        await self._until_all_ended(min(_QUIET_S, self._drain_s_max))
        for protocol in list(self._protocols) if self._tls is None else secured:
            protocol.finish()
        assert self._loop is not None, "the server was started"
        patience = self._loop.call_later(_STOP_S, self._end_newcomers)
        await self._until_all_ended(self._drain_s_max)
        patience.cancel()
        self._end_newcomers()
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

    async def _stop_listening(self) -> None:
        """Let nobody in but who has connected already: such a one is answered, and told of the end, as all others."""
        if self._server is not None:
            await stop_listening(self._server, self._accept)

    def _end_newcomers(self) -> None:
        """Give up the TLS handshakes that are under way, and wait for no request of those whose handshakes ended."""
        for protocol in list(self._protocols):
            protocol.finish()
        for layer in list(self._securing):
            layer.abort()
        self._securing.clear()
        self._note_ends()

    async def _until_all_ended(self, seconds: float) -> None:
        """Wait until every connection is answered and its end is sent, but not longer than that."""
        self._all_ended = asyncio.get_running_loop().create_future()
        self._note_ends()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended, seconds)
        self._all_ended = None

    def _note_ends(self) -> None:
        waiting = self._all_ended
        has_all = self._ended_count == len(self._protocols) and not self._securing
        if waiting is not None and not waiting.done() and has_all:
            waiting.set_result(None)

    # What the protocols call.

    def on_connected(self, protocol: ClientSocket) -> None:
        """Keep track of an open socket."""
        self._protocols.add(protocol)
        if self._is_stopping:  # its TLS handshake was under way
            protocol.drain()

    def on_disconnected(self, protocol: ClientSocket) -> None:
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

    def on_ready(self, protocol: ClientSocket) -> None:
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

    def watch(self, protocol: ClientSocket, limit_s: float) -> None:
        """End `protocol` if it is not unwatched, or watched anew, within `limit_s`."""
        assert self._loop is not None, "the server was started"
        self._slow[protocol] = self._loop.time() + limit_s

    def unwatch(self, protocol: ClientSocket) -> None:
        """`protocol` is no longer slow."""
        self._slow.pop(protocol, None)

    def _take_turns(self) -> None:
        ready, self._ready = self._ready, []
        for protocol in ready:
            try:
                protocol.turn()
            except Exception as error:  # noqa: BLE001  the others are to have their turns
                assert self._loop is not None, "the server was started"
                self._loop.call_exception_handler({"message": "a client's turn failed", "exception": error})
                protocol.abort()
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
