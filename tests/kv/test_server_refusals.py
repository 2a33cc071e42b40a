"""Whom the server refuses in the middle of a request gets, first, every reply that is due."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from raftline.kv import server as server_module
from raftline.kv.limits import Limits
from raftline.kv.server import KvServer

if TYPE_CHECKING:
    from tests.kv.conftest import HeldNode

    Encode = Callable[..., bytes]

HALF = b"*2\r\n$3\r\nGET\r\n$90000\r\n" + b"x" * 60_000
TOO_SLOW = b"-ERR Protocol error: the request was not complete in time\r\n"
TOO_MUCH = b"-ERR too many half-received requests are held by this server: try again later\r\n"


async def end_of(node: "HeldNode", sent: bytes, limits: Limits, slow_clients: int) -> tuple[KvServer, bytes]:
    """Send this, and let the node answer only once so many clients were refused as slow; return all that came."""
    server = KvServer(node, node.machine, "127.0.0.1", 0, limits, clock=node.clock)
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        everything = asyncio.create_task(reader.read())
        statistics = server.service.statistics
        while statistics.input_bytes < len(sent) or statistics.slow_clients_closed < slow_clients:
            assert not everything.done(), "it ended before anything was answered"
            await asyncio.sleep(0)
        while not everything.done():
            if node.waiting:
                node.answer()
            await asyncio.sleep(0)
        writer.close()
        return server, everything.result()
    finally:
        await server.stop()


def run(node: "HeldNode", sent: bytes, limits: Limits, *, slow_clients: int = 0) -> tuple[KvServer, bytes]:
    """Do so in a loop of its own."""
    return asyncio.run(asyncio.wait_for(end_of(node, sent, limits, slow_clients), 30))


def test_a_request_that_never_ends_is_refused_behind_the_replies_that_are_due(
    held_node: "HeldNode", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was whole is carried out and answered, also what was not yet begun, and the refusal comes last."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)
    words = ((b"SET", b"k", b"1"), (b"GET", b"k"), (b"INCR", b"k"), (b"PING",))
    sent = b"".join(request_of(*args) for args in words) + b"*2\r\n$3\r\nGET\r\n$5\r\nab"
    server, replies = run(held_node, sent, Limits(receive_s_max=0.05, pipeline_max=2), slow_clients=1)
    assert replies == b"+OK\r\n$1\r\n1\r\n:2\r\n+PONG\r\n" + TOO_SLOW
    assert server._partial_bytes == 0


def test_a_refusal_is_not_held_up_by_a_command_that_would_wait(
    held_node: "HeldNode", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood before it was not begun when the client was refused, and then there is nobody to wait for."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)
    sent = request_of(b"SET", b"k", b"1") + request_of(b"BLPOP", b"l", b"0") + b"*2\r\n$3\r\nGET\r\n$5\r\nab"
    _, replies = run(held_node, sent, Limits(receive_s_max=0.05), slow_clients=1)
    assert replies == b"+OK\r\n*-1\r\n" + TOO_SLOW


def test_half_a_request_too_much_is_refused_behind_the_replies_that_are_due(
    held_node: "HeldNode", request_of: "Encode"
) -> None:
    """Its memory is given back at once, whenever they come."""
    server, replies = run(held_node, request_of(b"SET", b"k", b"1") + HALF, Limits(partial_bytes_max=50_000))
    assert replies == b"+OK\r\n" + TOO_MUCH
    assert server._partial_bytes == 0


def test_a_transaction_too_much_is_refused_behind_the_replies_that_are_due(
    held_node: "HeldNode", request_of: "Encode"
) -> None:
    """What was queued is forgotten; nothing of it can be carried out."""
    queued = request_of(b"MULTI") + request_of(b"SET", b"k", b"v" * 20_000) * 3
    sent = request_of(b"SET", b"k", b"1") + queued
    _, replies = run(held_node, sent, Limits(partial_bytes_max=50_000))
    assert replies == b"+OK\r\n+OK\r\n" + b"+QUEUED\r\n" * 3 + TOO_MUCH


def test_a_client_that_waits_for_an_element_is_refused_at_once(
    held_node: "HeldNode", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is due to it, and may never be."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)

    async def scenario() -> bytes:
        server = KvServer(held_node, held_node.machine, "127.0.0.1", 0, Limits(receive_s_max=0.05))
        await server.start()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request_of(b"BLPOP", b"k", b"0"))
            while not any(client.blocked and client.blocked.is_queued for client in server.service.clients.values()):
                held_node.answer()
                await asyncio.sleep(0)
            writer.write(b"*2\r\n$3\r\nGET\r\n$5\r\nab")
            everything = await reader.read()
            writer.close()
            return everything
        finally:
            await server.stop()

    assert asyncio.run(asyncio.wait_for(scenario(), 30)) == TOO_SLOW
