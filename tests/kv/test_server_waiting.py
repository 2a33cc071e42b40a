"""Clients that wait for something to pop, on real sockets: the end of one is noticed whatever it sent behind."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.server import KvServer

if TYPE_CHECKING:
    from tests.kv.conftest import HeldNode, PromptNode

    Encode = Callable[..., bytes]

Scenario = Callable[[KvServer], Awaitable[None]]
Run = Callable[..., None]
RESET = b"\x01\0\0\0\0\0\0\0"


@pytest.fixture
def run(serve: Run, prompt_node: "PromptNode") -> Run:
    """Return a function that runs a scenario against a server of its own."""
    return lambda scenario, node=None, **limits: serve(scenario, node or prompt_node, 60, limits)


@asynccontextmanager
async def client_that_sends(server: KvServer, data: bytes) -> AsyncIterator[socket.socket]:
    """Connect, and send `data` while the client waits, all of it unless the server ends the connection."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(0)
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, data))
        while not server.service.clients or not all(c.blocked for c in server.service.clients.values()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.wait([sending])
        yield sock


async def until_forgotten(server: KvServer) -> None:
    """Wait until the server knows of no client."""
    while server.service.clients:  # noqa: ASYNC110  what the test waits for has no event
        await asyncio.sleep(0)


async def next_gets(server: KvServer, item: bytes) -> None:
    """Check that what is pushed goes to the next one who asks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"RPUSH k " + item + b"\r\nBLPOP k 0\r\n")
    assert await reader.readexactly(len(b":1\r\n*2\r\n$1\r\nk\r\n$1\r\nx\r\n")) == b":1\r\n*2\r\n$1\r\nk\r\n$1\r\nx\r\n"
    writer.close()


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("size_bytes", [100_000, 20_000_000])
def test_the_end_of_a_client_that_waits_is_seen(
    run: Run, request_of: "Encode", size_bytes: int, *, is_reset: bool
) -> None:
    """However much it sent behind the command that waits; nothing is popped for it then."""
    behind = request_of(b"SET", b"a", b"v" * 50_000)

    async def scenario(server: KvServer) -> None:
        data = request_of(b"BLPOP", b"k", b"0") + behind * (size_bytes // 50_000)
        async with client_that_sends(server, data) as sock:
            if is_reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await until_forgotten(server)
        assert server._partial_bytes == 0
        await next_gets(server, b"x")

    run(scenario)


def test_a_client_that_ends_before_it_waits_never_waits(
    run: Run, held_node: "HeldNode", request_of: "Encode", machine: KvMachine
) -> None:
    """What it sent before is carried out, and then nobody is there for whom something could be popped."""

    async def scenario(server: KvServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(request_of(b"SET", b"a", b"v") + request_of(b"BLPOP", b"k", b"0"))
        while not held_node.waiting or not all(client.is_at_end for client in server.service.clients.values()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        while server.service.clients:
            held_node.answer()
            await asyncio.sleep(0)
        assert machine.store.get(b"a") == b"v"

    run(scenario, node=held_node)


def test_a_client_that_closed_one_direction_gets_what_is_there(run: Run, request_of: "Encode") -> None:
    """As `printf ... | nc` does; for what is not there it does not wait."""

    async def scenario(server: KvServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        blpop = request_of(b"BLPOP", b"k", b"0")
        writer.write(request_of(b"RPUSH", b"k", b"x") + blpop + blpop)
        writer.write_eof()
        assert await reader.read() == b":1\r\n*2\r\n$1\r\nk\r\n$1\r\nx\r\n*-1\r\n"
        writer.close()

    run(scenario)


def test_a_client_that_closed_one_direction_gets_what_a_node_that_is_behind_finds(
    run: Run, held_node: "HeldNode", request_of: "Encode", machine: KvMachine
) -> None:
    """It does not wait for what is not there, but the node takes the time to be sure that it is not."""

    async def scenario(server: KvServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request_of(b"SET", b"a", b"v") + request_of(b"BLPOP", b"k", b"0"))
        writer.write_eof()
        while not held_node.waiting or not all(client.is_at_end for client in server.service.clients.values()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        held_node.answer()
        while not held_node.waiting:  # noqa: ASYNC110  it asks whether its copy is level
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        machine.apply(encode_command([b"RPUSH", b"k", b"x"]), machine.store.index + 1, 1)
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            held_node.answer()
            await asyncio.sleep(0)
        assert answer.result() == b"+OK\r\n*2\r\n$1\r\nk\r\n$1\r\nx\r\n"
        writer.close()

    run(scenario, node=held_node)


def test_a_short_wait_at_a_node_that_is_behind_finds_what_is_there(
    run: Run, held_node: "HeldNode", request_of: "Encode", machine: KvMachine
) -> None:
    """The time may be over before the node knows whether there is something; only then it says that there is not."""

    async def scenario(server: KvServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for reply in (b"*2\r\n$1\r\nk\r\n$1\r\nx\r\n", b"*-1\r\n"):
            writer.write(request_of(b"BLPOP", b"k", b"0.001"))
            while not held_node.waiting:  # noqa: ASYNC110  it asks whether its copy is level
                await asyncio.sleep(0)
            (client,) = server.service.clients.values()
            while client.blocked is None or client.blocked.end is None:  # noqa: ASYNC110  its time runs
                await asyncio.sleep(0)
            if reply != b"*-1\r\n":
                machine.apply(encode_command([b"RPUSH", b"k", b"x"]), machine.store.index + 1, 1)
            answer = asyncio.create_task(reader.read(100))
            while not answer.done():
                held_node.answer()
                await asyncio.sleep(0)
            assert answer.result() == reply
        writer.close()

    run(scenario, node=held_node)


def test_what_stood_behind_is_carried_out_in_its_order(run: Run, request_of: "Encode") -> None:
    """A client that did not leave gets its element, and all that it asked behind it."""

    async def scenario(server: KvServer) -> None:
        count = 100
        data = request_of(b"BLPOP", b"k", b"0") + request_of(b"APPEND", b"a", b"v" * 50_000) * count
        async with client_that_sends(server, data) as sock:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"RPUSH k x\r\n")
            assert await reader.readexactly(4) == b":1\r\n"
            writer.close()
            expected = b"*2\r\n$1\r\nk\r\n$1\r\nx\r\n" + b"".join(b":%d\r\n" % (50_000 * (i + 1)) for i in range(count))
            received = b""
            while len(received) < len(expected):
                received += await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
            assert received == expected
            assert server._partial_bytes == 0

    run(scenario)


def test_too_much_behind_a_command_that_waits_ends_the_connection(run: Run, request_of: "Encode") -> None:
    """What stands there has a limit, which is told, and it counts as what all clients together may have half-sent."""

    async def scenario(server: KvServer) -> None:
        data = request_of(b"BLPOP", b"k", b"0") + request_of(b"SET", b"a", b"v" * 5_000) * 100
        async with client_that_sends(server, data) as sock:
            told = await asyncio.get_running_loop().sock_recv(sock, 1000)
            assert b"request_bytes_max" in told
        await until_forgotten(server)
        assert server._partial_bytes == 0

    run(scenario, request_bytes_max=200_000)
