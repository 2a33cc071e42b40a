"""The server on real sockets, with real clients, on both event loops."""

import asyncio
import resource
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from raftline.errors import ConfigError
from raftline.kv import server as server_module
from raftline.kv.machine import KvMachine
from raftline.kv.server import KvServer

if TYPE_CHECKING:
    from tests.kv.conftest import HeldNode, PromptNode

    Encode = Callable[..., bytes]

Scenario = Callable[[KvServer], Awaitable[None]]
Run = Callable[..., None]
IDLE_CONNECTIONS = 10_000


@pytest.fixture
def run(serve: Run, prompt_node: "PromptNode") -> Run:
    """Return a function that runs a scenario against a server of its own."""
    return lambda scenario, node=None, **limits: serve(scenario, node or prompt_node, 60, limits)


@asynccontextmanager
async def connected(server: KvServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection and close it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def is_served(server: KvServer) -> None:
    """Check that another client notices nothing."""
    async with connected(server) as (reader, writer):
        writer.write(b"SET other x\r\nGET other\r\n")
        assert await reader.readexactly(12) == b"+OK\r\n$1\r\nx\r\n"


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_python_client_works(run: Run, protocol: int) -> None:
    """redis-py connects, uses single commands, pipelines and many keys, in both protocols."""

    async def scenario(server: KvServer) -> None:
        async with redis.asyncio.Redis(port=server.port, protocol=protocol, client_name="test") as client:
            assert await client.set("k", "v", ex=100, nx=True)
            assert await client.set("k", "v", nx=True) is None
            assert await client.get("k") == b"v"
            assert 0 < await client.ttl("k") <= 100
            assert await client.incrby("n", 5) == 5
            assert await client.mget("k", "nosuch", "n") == [b"v", None, b"5"]
            pipeline = client.pipeline(transaction=False)
            for number in range(500):
                pipeline.set(f"p{number}", number)
                pipeline.get(f"p{number}")
            replies = await pipeline.execute()
            assert replies[1::2] == [b"%d" % number for number in range(500)]
            assert len([key async for key in client.scan_iter("p*", count=50)]) == 500
            assert len(await client.keys("p?")) == 10
            assert await client.dbsize() == 502
            assert (await client.config_get("save")) == {"save": ""}
            assert (await client.info("raft"))["raft_role"] == "leader"
            assert await client.client_getname() in {"test", b"test"}
            assert str((await client.client_info())["lib-name"]).startswith("redis-py")
            assert await client.command_count() >= 40
            assert "get" in await client.command()
            with pytest.raises(redis.ResponseError, match="not an integer"):
                await client.incr("k")
            assert await client.flushall()
            assert await client.dbsize() == 0

    run(scenario)


def test_the_blocking_client_works(run: Run) -> None:
    """The synchronous client, in a thread of its own, does too."""

    def talk(port: int) -> None:
        with redis.Redis(port=port) as client:
            assert client.set("k", "v")
            assert client.getdel("k") == b"v"
            assert client.exists("k") == 0

    async def scenario(server: KvServer) -> None:
        await asyncio.to_thread(talk, server.port)

    run(scenario)


@pytest.mark.parametrize(
    ("program", "args", "expected"),
    [
        ("redis-cli", ["SET", "k", "v"], b"OK"),
        ("redis-cli", ["-3", "HELLO", "3"], b"proto"),
        ("redis-cli", ["INFO", "raft"], b"raft_node_id:n1"),
        ("redis-cli", ["--scan"], b""),
        ("redis-benchmark", ["-t", "set,get,incr,mset,ping", "-n", "2000", "-c", "20", "-P", "8", "--csv"], b'"SET"'),
    ],
)
def test_the_tools_of_redis_work(run: Run, program: str, args: list[str], expected: bytes) -> None:
    """redis-cli and redis-benchmark run unchanged and without an error."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")

    async def scenario(server: KvServer) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            program, "-p", str(server.port), *args, stdout=pipe, stderr=pipe, stdin=asyncio.subprocess.DEVNULL
        )
        output, errors = await process.communicate()
        assert process.returncode == 0
        assert expected in output
        assert b"ERR" not in output + errors
        assert b"rror" not in errors

    run(scenario)


def test_too_many_clients_are_told_so(run: Run) -> None:
    """Beyond the limit a client gets Redis's error and the end; when one leaves there is room again."""

    async def scenario(server: KvServer) -> None:
        async with connected(server) as (reader, writer):
            writer.write(b"PING\r\n")
            assert await reader.readexactly(7) == b"+PONG\r\n"
            async with connected(server) as (refused, _):
                assert await refused.read() == b"-ERR max number of clients reached\r\n"
            writer.write(b"QUIT\r\n")
            assert await reader.read() == b"+OK\r\n"
        await is_served(server)
        assert server.service.statistics.rejected_connections == 1

    run(scenario, clients_max=1)


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"*1\r\nxyz\r\n", b"-ERR Protocol error: expected '$', got 'x'\r\n"),
        (b"*-5\r\n*99999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$100001\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b'SET "open\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"\x00\x01\x02" * 30_000, b"-ERR Protocol error: too big inline request\r\n"),
    ],
)
def test_garbage_and_too_large_requests_are_refused_at_once(run: Run, data: bytes, reply: bytes) -> None:
    """A clear error, then the end, as soon as the header is there and without waiting for the rest."""

    async def scenario(server: KvServer) -> None:
        async with connected(server) as (reader, writer):
            writer.write(data)
            assert await reader.read() == reply
        await is_served(server)
        assert server.service.statistics.protocol_errors == 1

    run(scenario, request_bytes_max=100_000)


def test_a_request_that_never_ends_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a request is held for a limited time; a client that keeps completing requests is not disturbed."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)

    async def scenario(server: KvServer) -> None:
        async with connected(server) as (reader, writer):
            writer.write(b"*2\r\n$3\r\nGET\r\n$5\r\nab")
            assert await reader.read() == b"-ERR Protocol error: the request was not complete in time\r\n"
        await is_served(server)
        assert server.service.statistics.slow_clients_closed == 1
        assert server._slow == {}

    run(scenario, receive_s_max=0.05)


def test_half_requests_share_one_limit(run: Run) -> None:
    """All clients together cannot make the server hold more half-received bytes than is allowed."""

    async def scenario(server: KvServer) -> None:
        async with connected(server) as (_, first), connected(server) as (reader, second):
            first.write(b"*2\r\n$3\r\nGET\r\n$90000\r\n" + b"x" * 60_000)
            while server._partial_bytes < 60_000:  # noqa: ASYNC110  the bytes are on their way
                await asyncio.sleep(0)
            second.write(b"*2\r\n$3\r\nGET\r\n$90000\r\n" + b"x" * 60_000)
            await second.drain()
            refused = asyncio.create_task(reader.read())
            first.write(b"x" * 10)
            assert b"half-received" in await refused
        await is_served(server)
        assert server._partial_bytes < 100_000

    run(scenario, partial_bytes_max=100_000)


def test_a_client_that_does_not_read_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies that nobody takes are held up to a limit and for a limited time; then the connection ends."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)

    async def scenario(server: KvServer) -> None:
        gone = asyncio.Event()
        forget = server.service.disconnect

        def disconnect(connection: Any) -> None:
            forget(connection)
            gone.set()

        monkeypatch.setattr(server.service, "disconnect", disconnect)
        with socket.create_connection(("127.0.0.1", server.port)) as lazy:
            lazy.settimeout(0)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(lazy, b"SET k " + b"v" * 60_000 + b"\r\n" + b"GET k\r\n" * 2000)
            await gone.wait()
        await is_served(server)
        assert server.service.statistics.slow_clients_closed == 1
        assert len(server.service.clients) <= 1

    run(scenario, stalled_s_max=0.05)


def test_a_client_that_reads_late_gets_everything(run: Run) -> None:
    """While nobody reads, the server stops carrying out commands; when somebody does, it goes on where it was."""

    async def scenario(server: KvServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as late:
            late.settimeout(0)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(late, b"SET k " + b"v" * 60_000 + b"\r\n" + b"GET k\r\n" * 500)
            while not any(p._connection and p._connection.is_output_blocked for p in server._protocols):  # noqa: ASYNC110
                await asyncio.sleep(0)
            await is_served(server)
            left = 5 + 500 * 60_010
            while left:
                data = await loop.sock_recv(late, 1 << 20)
                assert data
                left -= len(data)
            late.sendall(b"PING\r\n")
            assert await loop.sock_recv(late, 100) == b"+PONG\r\n"
        assert server.service.statistics.slow_clients_closed == 0

    run(scenario)


def test_a_pipeline_that_waits_here_is_no_slow_client(
    run: Run, held_node: "HeldNode", request_of: "Encode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a request whose other half came already, and waits behind commands under way, is not given up."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.001)

    async def scenario(server: KvServer) -> None:
        async with connected(server) as (reader, writer):
            count = 1500
            data = request_of(b"SET", b"k", b"v" * 100) * count
            writer.write(data)
            while not any(p._is_paused for p in server._protocols):
                if server.service.statistics.input_bytes == len(data):
                    break
                await asyncio.sleep(0)
            server._slow = dict.fromkeys(server._slow, 0.0)
            swept = asyncio.Event()
            asyncio.get_running_loop().call_later(0.05, swept.set)
            await swept.wait()
            replies = asyncio.create_task(reader.readexactly(5 * count))
            while not replies.done():
                held_node.answer()
                await asyncio.sleep(0)
            assert replies.result() == b"+OK\r\n" * count
        assert server.service.statistics.slow_clients_closed == 0

    run(scenario, node=held_node)


def test_one_reply_above_the_limit_ends_the_connection(run: Run) -> None:
    """A reply larger than what may be held for a client that does not read is not held."""

    async def scenario(server: KvServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as lazy:
            lazy.settimeout(0)
            loop = asyncio.get_running_loop()
            value = b"v" * 12_000_000
            await loop.sock_sendall(lazy, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12000000\r\n" + value + b"\r\nGET k\r\n")
            received = 0
            try:
                while data := await loop.sock_recv(lazy, 1 << 16):
                    received += len(data)
            except ConnectionResetError:
                pass
            assert received < len(value)
        await is_served(server)

    run(scenario, output_buffer_bytes_max=1 << 20, output_pause_bytes=1 << 16)


def test_a_client_that_leaves_early_harms_nobody(
    run: Run, held_node: "HeldNode", machine: KvMachine, request_of: "Encode"
) -> None:
    """Commands whose client is gone are carried out; their answers go nowhere."""

    async def scenario(server: KvServer) -> None:
        gone = asyncio.Event()
        forget = server.service.disconnect

        def disconnect(connection: Any) -> None:
            forget(connection)
            gone.set()

        server.service.disconnect = disconnect  # type: ignore[method-assign]
        with socket.create_connection(("127.0.0.1", server.port)) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            hasty.sendall(request_of(b"SET", b"k", b"v"))
            while not held_node.waiting:  # noqa: ASYNC110  the bytes are on their way
                await asyncio.sleep(0)
        await gone.wait()
        held_node.answer()
        assert machine.store.get(b"k") == b"v"

    run(scenario, node=held_node)


def test_half_closed_clients_get_their_answers(run: Run) -> None:
    """Whoever sends requests and closes only that direction, as `printf ... | nc` does, gets all replies."""

    async def scenario(server: KvServer) -> None:
        async with connected(server) as (reader, writer):
            writer.write(b"SET k v\r\nGET k\r\n")
            writer.write_eof()
            assert await reader.read() == b"+OK\r\n$1\r\nv\r\n"

    run(scenario)


def test_a_large_pipeline_of_large_values(run: Run) -> None:
    """Many megabytes up and down one connection arrive in order, and nothing else has to wait for them."""

    async def scenario(server: KvServer) -> None:
        async with connected(server) as (reader, writer):
            value = bytes(range(256)) * 400
            header = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % len(value)
            for _ in range(100):
                writer.write(header + value + b"\r\n" + b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
            await is_served(server)
            expected = b"+OK\r\n$%d\r\n" % len(value) + value + b"\r\n"
            for _ in range(100):
                assert await reader.readexactly(len(expected)) == expected

    run(scenario)


def test_stopping_closes_every_connection(run: Run) -> None:
    """After `stop` clients see the end of their connections, and the port is free."""

    async def scenario(server: KvServer) -> None:
        async with connected(server) as (reader, writer):
            writer.write(b"PING\r\n")
            assert await reader.readexactly(7) == b"+PONG\r\n"
            port = server.port
            await server.stop()
            assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    run(scenario)


async def until_asked(node: "HeldNode") -> None:
    """Wait until a command has reached the node."""
    while not node.waiting:  # noqa: ASYNC110  the stand-in has no events
        await asyncio.sleep(0)


def test_stopping_answers_what_was_received(run: Run, held_node: "HeldNode") -> None:
    """Commands that had arrived are carried out and answered, then the connection ends; idle ones end at once."""

    async def scenario(server: KvServer) -> None:
        server._drain_s_max = 60.0
        async with (
            connected(server) as (reader, writer),
            connected(server) as (idle, _),
            connected(server) as (half, w),
        ):
            w.write(b"*2\r\n$3\r\nGET\r\n")
            writer.write(b"SET k v\r\nPING\r\nGET k\r\nSET k w\r\n")
            await until_asked(held_node)
            stopping = asyncio.ensure_future(server.stop())
            assert await idle.read() == b""
            assert await half.read() == b""
            assert not stopping.done()
            while len(server.service.clients) and not stopping.done():
                held_node.answer()
                await asyncio.sleep(0)
            assert await reader.read() == b"+OK\r\n+PONG\r\n$1\r\nv\r\n+OK\r\n"
            await stopping

    run(scenario, node=held_node)


def test_stopping_does_not_wait_for_answers_for_ever(run: Run, held_node: "HeldNode") -> None:
    """After `drain_s_max` the connections are closed all the same."""

    async def scenario(server: KvServer) -> None:
        server._drain_s_max = 0.01
        async with connected(server) as (reader, writer):
            writer.write(b"SET k v\r\n")
            await until_asked(held_node)
            await server.stop()
            assert await reader.read() == b""

    run(scenario, node=held_node)


def test_a_server_that_was_not_started_says_so(prompt_node: "PromptNode", machine: KvMachine) -> None:
    """Before `start` there is nothing to look at."""
    with pytest.raises(ConfigError, match="start"):
        _ = KvServer(prompt_node, machine, "127.0.0.1", 0).service


IDLE_CLIENTS = f"""
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
address = ("127.0.0.1", int(sys.argv[1]))
idle = [socket.create_connection(address) for _ in range({IDLE_CONNECTIONS})]
print("connected", flush=True)
sys.stdin.read()
"""


def test_ten_thousand_idle_connections_are_cheap(run: Run) -> None:
    """Idle clients cost a few kilobytes each and no work; the others are served as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE_CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"only {hard} open files are allowed here, {needed} are needed")

    async def scenario(server: KvServer) -> None:
        before_kib = _resident_kib()
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", IDLE_CLIENTS, str(server.port), stdin=pipe, stdout=pipe
        )
        assert process.stdout is not None
        assert process.stdin is not None
        assert await process.stdout.readline() == b"connected\n"
        await is_served(server)
        async with connected(server) as (reader, writer):
            writer.write(b"INFO clients\r\n")
            assert b"connected_clients:%d\r\n" % (IDLE_CONNECTIONS + 1) in await reader.readuntil(b"maxclients")
        assert (_resident_kib() - before_kib) / IDLE_CONNECTIONS < 10
        assert server._slow == {}
        process.stdin.close()
        await process.wait()
        await is_served(server)

    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        run(scenario)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _resident_kib() -> int:
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_idle_clients_are_closed_if_that_is_wanted(
    run: Run, held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks nothing for too long is closed, one that waits for an answer is not; by default nobody is."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.01)

    async def scenario(server: KvServer) -> None:
        clock: Any = server._clock
        async with connected(server) as (reader, writer), connected(server) as (_, waiting):
            writer.write(b"PING\r\n")
            assert await reader.readexactly(7) == b"+PONG\r\n"
            waiting.write(b"GET never\r\n")
            while not held_node.waiting:  # noqa: ASYNC110  the bytes are on their way
                await asyncio.sleep(0)
            clock.now_ms += 10_001
            assert await reader.read() == b""
            assert len(server.service.clients) == 1

    run(scenario, node=held_node, idle_s_max=10)
