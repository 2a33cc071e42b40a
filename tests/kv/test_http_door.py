"""The monitoring port against well-behaved and ill-behaved callers, on both event loops."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest
import uvloop

from raftline.kv.http_door import HttpDoor, HttpReply, text_reply

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
Run = Callable[..., None]


def _fail() -> HttpReply:
    raise RuntimeError("a page with a fault")


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Return a function that runs a scenario against a door of its own."""

    def run_scenario(scenario: Callable[[HttpDoor], Awaitable[None]], **limits: float) -> None:
        async def main() -> None:
            routes = {"/page": lambda: text_reply(HTTPStatus.OK, "text"), "/fault": _fail}
            door = HttpDoor("127.0.0.1", 0, routes, **({"seconds_max": 60.0} | limits))  # type: ignore[arg-type]
            await door.start()
            try:
                await asyncio.wait_for(scenario(door), 60)
            finally:
                await door.stop()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return run_scenario


async def _exchange(door: HttpDoor, request: bytes) -> bytes:
    """Send bytes and return everything until the door closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


def test_a_page_is_answered_and_the_connection_closed(run: Run) -> None:
    """GET brings the page, HEAD its headers, a query changes nothing."""

    async def scenario(door: HttpDoor) -> None:
        for target in (b"/page", b"/page?x=1"):
            reply = await _exchange(door, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
            head, _, body = reply.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Content-Length: 5" in head
            assert b"Connection: close" in head
            assert body == b"text\n"
        head = await _exchange(door, b"HEAD /page HTTP/1.0\r\n\r\n")
        assert head.endswith(b"\r\n\r\n")
        assert b"Content-Length: 5" in head

    run(scenario)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"POST /page HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /fault HTTP/1.1\r\n\r\n", 500),
        (b"GET /page\r\n\r\n", 400),
        (b"*1\r\n$4\r\nPING\r\n\r\n\r\n", 400),
        (b"\xff\xfe \x00 HTTP/1.1\r\n\r\n", 405),
        (b"GET /page HTTP/1.1\r\nX: " + b"x" * 9000, 431),
    ],
)
def test_everything_else_is_refused(run: Run, request_bytes: bytes, status: int) -> None:
    """Each with its status; a page that fails costs nobody anything."""

    async def scenario(door: HttpDoor) -> None:
        reply = await _exchange(door, request_bytes)
        assert reply.startswith(b"HTTP/1.1 %d " % status)
        assert (await _exchange(door, b"GET /page HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    run(scenario)


def test_a_request_may_come_in_pieces(run: Run) -> None:
    """Byte by byte is slow, not wrong."""

    async def scenario(door: HttpDoor) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for byte in b"GET /page HTTP/1.1\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.read()).endswith(b"text\n")
        writer.close()

    run(scenario)


def test_who_sends_nothing_is_dropped_in_time(run: Run) -> None:
    """Half a request does not hold a connection for longer than the limit."""

    async def scenario(door: HttpDoor) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"GET /pa")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert not door.connections

    run(scenario, seconds_max=0.05)


def test_too_many_connections_are_refused_and_room_comes_back(run: Run) -> None:
    """The bound holds; whoever leaves makes room."""

    async def scenario(door: HttpDoor) -> None:
        held = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(2)]
        while len(door.connections) < 2:  # noqa: ASYNC110  the door tells nobody
            await asyncio.sleep(0)
        assert (await _exchange(door, b"GET /page HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        for _, writer in held:
            writer.close()
        while door.connections:  # noqa: ASYNC110  see above
            await asyncio.sleep(0)
        assert (await _exchange(door, b"GET /page HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    run(scenario, connections_max=2)
