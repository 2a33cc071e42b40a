"""One client's socket: what asyncio says of it becomes turns of its connection, and replies become writes.

Here it is decided when it is read and when not, and when a client is too slow, sends too much, or has had its answers;
the timers and what all clients share are the server's.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from raftline.kv.addresses import address_text, keep_alive
from raftline.kv.client_log import ITS_TLS, PROTECTED_MODE
from raftline.kv.connection import Connection
from raftline.kv.refusals import PROTECTED, SPEAK_PLAIN, TOO_MANY, TOO_MUCH_BEHIND, TOO_MUCH_PARTIAL, TOO_SLOW
from raftline.transport.tls import TLS_FIRST_BYTE

if TYPE_CHECKING:
    from raftline.kv.server import KvServer

__all__ = ["ClientSocket", "partial_bytes_of"]

_CLOSE_S = 10.0


class ClientSocket(asyncio.Protocol):
    """One client's socket, and the limits of what it may hold up."""

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

    def __init__(self, server: "KvServer") -> None:
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
        """Ask the server whether the client is served, and keep track of it."""
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
        self._connection = service.connect(
            address_text(peer), address_text(local), partial(self._server.on_ready, self)
        )
        if self._connection is None:
            self._refuse(TOO_MANY)
            return
        self._connection.client.kill = self.abort
        self._transport.set_write_buffer_limits(high=service.limits.output_pause_bytes)
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Carry out what has come."""
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
            has_more = connection.feed(data)
            if self._is_draining:
                connection.client.is_at_end = has_more = True
            if has_more or self._is_paused or self._partial_bytes:
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
        """Carry out nothing further: the client is behind with taking its replies."""
        if self._connection is not None:
            self._connection.is_output_blocked = True
            self._server.watch(self, self._server.service.limits.stalled_s_max)

    def resume_writing(self) -> None:
        """Go on: the client has taken most of them."""
        if self._connection is not None:
            self._connection.is_output_blocked = False
            self._server.unwatch(self)
            self._partial_after = -1
            self._server.on_ready(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  how it ended changes nothing
        """Let go of all that is held for the client."""
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
        if connection is None:
            return
        if not (self._is_paused or self._partial_bytes) and (reply := connection.take_lone_reply()):
            self._send(connection, reply)
        else:
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
        self._server.on_ended()
        try:
            self._transport.write_eof()
        except OSError:  # the client is gone, which was not noticed yet
            self.abort()

    def close(self) -> None:
        """Close once what was written has left, or after a while in any case."""
        self._server.watch(self, _CLOSE_S)
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _settle(self, connection: Connection) -> None:
        """Send what there is, and see to it that neither side's buffers grow beyond their limits."""
        output = connection.take_output()
        if output and not self._send(connection, output):
            return
        if not connection.is_in_order or self._is_paused or self._partial_bytes:
            self._look_after(connection)

    def _send(self, connection: Connection, output: bytes) -> bool:
        """Send replies; return False if the client was ended because too many wait for it."""
        transport = self._transport
        if not transport.is_closing():
            self._statistics.output_bytes += len(output)
            transport.write(output)
            if connection.is_output_blocked and transport.get_write_buffer_size() > connection.client.output_bytes_max:
                self._statistics.output_limit_disconnections += 1
                self.on_too_slow()
                return False
        return True

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
        partial_bytes = partial_bytes_of(connection)
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
        if not connection.is_output_blocked:  # else how long the client may take no replies counts on
            self._server.unwatch(self)
        connection.client.is_at_end = True
        connection.intake.give_up(reply)
        if connection.client.transaction is not None:
            connection.client.transaction.break_()
        connection.turn()
        self._settle(connection)


def partial_bytes_of(connection: Connection) -> int:
    """Return what half a request, queued commands, and all behind a command that waits take; 0 if there is none."""
    client, transaction = connection.client, connection.client.transaction
    behind_bytes = 0 if client.blocked is None else connection.intake.backlog_bytes
    return connection.parser.partial_bytes + behind_bytes + (0 if transaction is None else transaction.memory_bytes)
