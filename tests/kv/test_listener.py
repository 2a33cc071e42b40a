"""Clients that connect while the server stops listening."""

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from raftline.kv.server import KvServer

if TYPE_CHECKING:
    from tests.kv.conftest import PromptNode

Run = Callable[..., None]


@pytest.fixture
def run(serve: Run, prompt_node: "PromptNode") -> Run:
    """Return a function that runs a scenario against a server of its own."""
    return lambda scenario: serve(scenario, prompt_node, 60, {})


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("turns", range(5))
def test_stopping_resets_nobody_who_has_connected(run: Run, turns: int, count: int) -> None:
    """Whoever the kernel let in is answered, and then sees an end, however far asyncio is with the connection."""

    async def scenario(server: KvServer) -> None:
        with ExitStack() as open_sockets:
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
            for client in map(open_sockets.enter_context, clients):
                client.sendall(b"PING\r\n")
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop()
            assert {client.recv(100) + client.recv(100) for client in clients} == {b"+PONG\r\n"}

    run(scenario)


def test_nobody_connects_while_the_last_are_accepted(run: Run) -> None:
    """Clients that connect all the time are answered, see an end or are refused, but are never reset."""

    async def scenario(server: KvServer) -> None:
        ended = asyncio.get_running_loop().run_in_executor(None, until_refused, server.port)
        await asyncio.sleep(0.1)
        await server.stop()
        assert await ended > 0

    run(scenario)


def test_without_room_for_more_files_it_stops_all_the_same(run: Run) -> None:
    """Who cannot be accepted is reset; the others are answered, and nobody listens any more."""

    async def scenario(server: KvServer) -> None:
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(client.fileno() for client in clients)
        with ExitStack() as open_sockets:
            for client in map(open_sockets.enter_context, clients):
                client.sendall(b"PING\r\n")
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, limits[1]))
            try:
                await server.stop()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert b"+PONG\r\n" in {reply_of(client) for client in clients}
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port))

    run(scenario)


def reply_of(client: socket.socket) -> bytes | None:
    """Return what a client is answered; None if it is reset."""
    try:
        return client.recv(100)
    except ConnectionResetError:
        return None


def test_nobody_listens_when_stopping_is_cancelled(run: Run) -> None:
    """The port is free however that ends."""

    async def scenario(server: KvServer) -> None:
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))

    run(scenario)


def until_refused(port: int) -> int:
    """Connect and ask again and again until nobody listens; return how often there was an answer."""
    answered = 0
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            return answered
        with client:
            client.sendall(b"PING\r\n")
            answered += client.recv(100) == b"+PONG\r\n"
