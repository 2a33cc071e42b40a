"""Protected mode: without a password only clients on the same machine are served."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import uvloop
from tests.kv.test_server import connected

from raftline.kv import server as server_module
from raftline.kv.key_walks import alive_keys
from raftline.kv.machine import KvMachine
from raftline.kv.server import KvServer

if TYPE_CHECKING:
    from tests.kv.conftest import PromptNode


def test_protected_mode_refuses_other_machines_until_there_is_a_password(
    prompt_node: "PromptNode", machine: KvMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While `default` needs no password a client of another machine is told the ways out, and closed."""
    monkeypatch.setattr(server_module, "is_loopback", lambda _host: False)

    async def main() -> None:
        server = KvServer(prompt_node, machine, "127.0.0.1", 0, clock=prompt_node.clock, is_protected=True)
        await server.start()
        try:
            async with connected(server) as (reader, writer):
                told = await reader.read()
                assert told.startswith(b"-DENIED this node is in protected mode")
                assert all(way in told for way in (b"RAFTLINE_PASSWORD", b"ACL SETUSER", b"tls_clients=mutual"))
            machine.store.users.set_own_password("x")
            async with connected(server) as (reader, writer):
                writer.write(b"AUTH x\r\nPING\r\n")
                assert await reader.readexactly(12) == b"+OK\r\n+PONG\r\n"
        finally:
            await server.stop()

    asyncio.run(main())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_protected_mode_refuses_whom_nobody_can_name(
    prompt_node: "PromptNode",
    machine: KvMachine,
    monkeypatch: pytest.MonkeyPatch,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A client that sent its command and was gone before it was accepted has no address, and its command is there."""
    monkeypatch.setattr(server_module, "is_loopback", lambda _host: False)

    async def main() -> None:
        server = KvServer(prompt_node, machine, "127.0.0.1", 0, clock=prompt_node.clock, is_protected=True)
        await server.start()
        try:
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(b"SET k v\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            async with connected(server) as (reader, _):  # it is behind the other
                assert (await reader.read()).startswith(b"-DENIED ")
        finally:
            await server.stop()
        assert server.service.statistics.rejected_connections == 2
        assert list(alive_keys(machine.store, 0)) == []

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.wait_for(main(), 30))
