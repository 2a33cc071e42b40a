"""What the log says of clients that are closed: whose connection it was, and which setting it met."""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from raftline.kv import server as server_module
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.server import KvServer

if TYPE_CHECKING:
    from tests.kv.conftest import PromptNode

Run = Callable[..., tuple[str, KvServer, list[dict[str, Any]]]]
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Heard:
    """A log that remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warn(self, _key: object, event: str, **fields: object) -> None:
        self.lines.append({"event": event, **fields})


@pytest.fixture(params=list(LOOPS))
def close_after(request: pytest.FixtureRequest, prompt_node: "PromptNode", machine: KvMachine) -> Run:
    """Return what sends data and reads nothing until the connection is closed; it returns its address and the log."""

    def run(data: bytes, **limits: Any) -> tuple[str, KvServer, list[dict[str, Any]]]:
        heard: Any = Heard()

        async def main() -> tuple[str, KvServer]:
            server = KvServer(prompt_node, machine, "127.0.0.1", 0, Limits(**limits), clock=prompt_node.clock)
            server.log.notices = heard
            await server.start()
            try:
                with socket.create_connection(("127.0.0.1", server.port)) as lazy:
                    host, port = lazy.getsockname()
                    lazy.settimeout(0)
                    await asyncio.get_running_loop().sock_sendall(lazy, data)
                    while not heard.lines:  # noqa: ASYNC110  what the test waits for has no event
                        await asyncio.sleep(0)
                return f"{host}:{port}", server
            finally:
                await server.stop()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return *runner.run(asyncio.wait_for(main(), 60)), heard.lines

    return run


def test_a_reply_above_the_limit_is_told(close_after: Run) -> None:
    """The client only sees its connection end: the reason, its size and the setting stand in the log and in INFO."""
    size = 12_000_000
    data = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\nGET k\r\n" % (size, b"v" * size)
    address, server, lines = close_after(data, output_buffer_bytes_max=1 << 20, output_pause_bytes=1 << 16)
    (line,) = lines
    assert (line["event"], line["remote"]) == ("client closed", address)
    assert line["reason"] == "what waits for it to be taken is above output_buffer_bytes_max (1048576)"
    assert line["held_bytes"] > 1 << 20
    statistics = server.service.statistics
    assert (statistics.output_limit_disconnections, statistics.slow_clients_closed) == (1, 1)


def test_a_client_that_takes_nothing_is_told(close_after: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed after a while, under another setting."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)
    data = b"SET k " + b"v" * 60_000 + b"\r\n" + b"GET k\r\n" * 2000
    address, server, lines = close_after(data, stalled_s_max=0.05)
    assert lines[0]["remote"] == address
    assert lines[0]["reason"] == "it did not take its replies within stalled_s_max (0.05)"
    assert server.service.statistics.output_limit_disconnections == 0


def test_half_a_request_is_told(close_after: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the other half does not come."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)
    _, _, lines = close_after(b"*2\r\n$3\r\nGET\r\n$5\r\nab", receive_s_max=0.05)
    assert lines[0]["reason"] == "its request was not complete within receive_s_max (0.05)"
