"""One client's socket while nothing leaves it, and when something is wrong with it: nobody else suffers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from raftline.kv import server as server_module
from raftline.kv.connection import Connection
from raftline.kv.machine import encode_command
from raftline.kv.server import KvServer

if TYPE_CHECKING:
    from tests.kv.conftest import HeldNode

    Encode = Callable[..., bytes]

Scenario = Callable[[KvServer], Awaitable[None]]
Run = Callable[..., None]
LONG_S = 600.0
RESET = b"\x01\0\0\0\0\0\0\0"


@pytest.fixture
def run(serve: Run, held_node: "HeldNode") -> Run:
    """Return a function that runs a scenario against a server of its own, whose node answers when told to."""
    return lambda scenario, **limits: serve(scenario, held_node, 60, limits)


def connection_of(server: KvServer, number: int) -> Connection:
    """Return that of the client that came as this one; raises `LookupError` if it is gone."""
    found = [p._connection for p in server._protocols if p._connection and p._connection.client.id == number]
    if not found:
        raise LookupError(number)
    return found[0]


@asynccontextmanager
async def connected(server: KvServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection and close it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until this holds."""
    while not condition():  # noqa: ASYNC110  what the tests wait for has no event
        await asyncio.sleep(0)


def test_who_is_refused_and_takes_no_replies_is_closed_in_time(
    run: Run, held_node: "HeldNode", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal stands behind replies that it does not take, so only the limit for those ends the connection."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)
    held_node.machine.apply(encode_command([b"SET", b"k", b"v" * 1_000_000]), 1, 0)
    half = b"*2\r\n$3\r\nGET\r\n$60000\r\nx"

    async def scenario(server: KvServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(request_of(b"GET", b"k") * 100 + half)
            await until(lambda: len(held_node.waiting) == 1)
            connection = connection_of(server, 1)
            while not connection.is_output_blocked:
                held_node.answer()
                await asyncio.sleep(0)
            sock.sendall(b"x" * 50_000)
            await until(lambda: connection.intake.refusal)
            server._slow = {protocol: until_s - LONG_S for protocol, until_s in server._slow.items()}
            await until(lambda: not server.service.clients)
        assert server._partial_bytes == 0

    run(scenario, stalled_s_max=LONG_S, partial_bytes_max=10_000, output_pause_bytes=100_000)


def test_a_client_that_is_gone_takes_no_answers_from_others_while_the_server_stops(
    run: Run, held_node: "HeldNode", request_of: "Encode"
) -> None:
    """No end can be sent to it; whoever is answered in the same turn of the loop is, and the server stops."""

    async def scenario(server: KvServer) -> None:
        server._drain_s_max = 60.0
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            gone.sendall(request_of(b"CLIENT", b"REPLY", b"OFF") + request_of(b"SET", b"a", b"1"))
            await until(lambda: len(held_node.waiting) == 1)
            async with connected(server) as (reader, writer):
                writer.write(request_of(b"SET", b"b", b"1"))
                await until(lambda: len(held_node.waiting) == 2)
                stopping = asyncio.create_task(server.stop())
                await until(lambda: all(client.is_at_end for client in server.service.clients.values()))
                gone.close()
                held_node.answer()
                assert await reader.read() == b"+OK\r\n"
                await stopping

    run(scenario)


def test_a_fault_costs_its_own_connection_only(
    run: Run, held_node: "HeldNode", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and whoever is answered in the same turn of the loop notices nothing."""
    told: list[str] = []
    take_lone_reply = Connection.take_lone_reply

    def faulty(connection: Connection) -> bytes:
        if connection.client.id == 1 and connection.client.pending:
            raise ZeroDivisionError
        return take_lone_reply(connection)

    async def scenario(server: KvServer) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: told.append(type(context["exception"]).__name__))
        async with connected(server) as (reader, writer), connected(server) as (other_reader, other_writer):
            writer.write(request_of(b"INCR", b"a"))
            await until(lambda: len(held_node.waiting) == 1)
            other_writer.write(request_of(b"INCR", b"a"))
            await until(lambda: len(held_node.waiting) == 2)
            monkeypatch.setattr(Connection, "take_lone_reply", faulty)
            held_node.answer()
            assert await other_reader.readexactly(4) == b":2\r\n"
            assert await reader.read() == b""
        assert told == ["ZeroDivisionError"]

    run(scenario)
