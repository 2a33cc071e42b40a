"""A small HTTP door for monitoring: one GET or HEAD for each connection, answered at once, then closed.

Bounded in connections, bytes and time, so that nobody outside can hold anything of the node; no thread, no keep-alive,
no request body. It knows nothing of what its routes tell.
"""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import cast

import structlog

__all__ = ["HttpDoor", "HttpReply", "Route", "text_reply"]

_log = structlog.get_logger("raftline.http")
_TEXT = "text/plain; charset=utf-8"

HttpReply = tuple[HTTPStatus, str, bytes]
"""Status, content type, body."""
Route = Callable[[], HttpReply]


def text_reply(status: HTTPStatus, text: str) -> HttpReply:
    """Return a line of text."""
    return status, _TEXT, f"{text}\n".encode()


class HttpDoor:
    """Listens on one address; `port` 0 takes any free one, which `port` then says."""

    def __init__(
        self,
        host: str,
        port: int,
        routes: Mapping[str, Route],
        *,
        connections_max: int = 32,
        request_bytes_max: int = 8192,
        seconds_max: float = 5.0,
    ) -> None:
        self.host = host
        self.port = port
        self.routes = routes
        self.connections_max = connections_max
        self.request_bytes_max = request_bytes_max
        self.seconds_max = seconds_max
        self.connections: set[_Exchange] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; raises `OSError` if the address cannot be used."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Exchange(self, loop), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for exchange in list(self.connections):
            exchange.abort()


class _Exchange(asyncio.Protocol):
    """One request and its reply."""

    def __init__(self, door: HttpDoor, loop: asyncio.AbstractEventLoop) -> None:
        self._door = door
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = b""
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none, but does the same
        self._door.connections.add(self)
        self._timer = self._loop.call_later(self._door.seconds_max, self.abort)
        if len(self._door.connections) > self._door.connections_max:
            self._answer(text_reply(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"), is_head=False)

    def data_received(self, data: bytes) -> None:
        if self._is_answered:
            return
        self._received += data
        if b"\r\n\r\n" in self._received:
            self._take(self._received)
        elif len(self._received) > self._door.request_bytes_max:
            self._answer(text_reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  how it ended changes nothing
        self._door.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Drop the connection: it took too long, or the node stops."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, request: bytes) -> None:
        """Answer a request whose headers are complete; they change nothing."""
        words = request.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            self._answer(text_reply(HTTPStatus.BAD_REQUEST, "this port speaks HTTP/1"))
            return
        is_head = words[0] == b"HEAD"
        path = words[1].split(b"?", 1)[0].decode("ascii", "replace")
        route = self._door.routes.get(path)
        if not is_head and words[0] != b"GET":
            self._answer(text_reply(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD"))
        elif route is None:
            known = ", ".join(self._door.routes)
            self._answer(text_reply(HTTPStatus.NOT_FOUND, f"nothing here: try {known}"), is_head=is_head)
        else:
            try:
                reply = route()
            except Exception:  # noqa: BLE001  a faulty page must not cost the node anything
                _log.exception("a page failed", path=path)
                reply = text_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "this page failed: the node's log says more")
            self._answer(reply, is_head=is_head)

    def _answer(self, reply: HttpReply, *, is_head: bool = False) -> None:
        assert self._transport is not None, "connected"
        self._is_answered = True
        self._received = b""
        status, kind, body = reply
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD")
        head = "\r\n".join([*lines, "", ""]).encode()
        self._transport.write(head if is_head else head + body)
        self._transport.close()
