"""TLS on the client port, with redis-py and redis-cli: who is served, and what the refused are told."""

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
import trustme
import uvloop
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from raftline.kv import server as server_module
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.server import KvServer
from raftline.transport.tls import TlsFiles, TlsRole

if TYPE_CHECKING:
    from tests.conftest import Office
    from tests.kv.conftest import PromptNode

Scenario = Callable[[KvServer], Awaitable[None]]
Run = Callable[..., list[str]]
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Heard:
    """A log that only remembers why clients were refused."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def warn(self, _key: object, _event: str, **fields: object) -> None:
        self.reasons.append(str(fields["reason"]))


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest, prompt_node: "PromptNode", machine: KvMachine) -> Run:
    """Return a function that runs a scenario against a TLS server of its own, and returns why clients were refused."""

    def run_scenario(
        scenario: Scenario, files: TlsFiles | None, *, is_mutual: bool = False, **limits: Any
    ) -> list[str]:
        role = TlsRole(is_server=True, needs_certificate=is_mutual)
        tls = None if files is None else lambda: files.context(role)
        heard: Any = Heard()

        async def main() -> None:
            server = KvServer(prompt_node, machine, "127.0.0.1", 0, Limits(**limits), clock=prompt_node.clock, tls=tls)
            server.log.notices = heard
            await server.start()
            try:
                await asyncio.wait_for(scenario(server), 60)
            finally:
                await server.stop()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())
        return list(heard.reasons)

    return run_scenario


def client_of(server: KvServer, office: "Office | None", files: TlsFiles | None = None) -> redis.asyncio.Redis:
    """Return a redis-py client that speaks TLS, believes `office`, and shows the certificate of `files`."""
    shown: dict[str, Any] = {} if files is None else {"ssl_certfile": files._cert_file, "ssl_keyfile": files._key_file}
    authority: dict[str, Any] = {} if office is None else {"ssl_ca_certs": str(office.ca_file)}
    return redis.asyncio.Redis(
        host="127.0.0.1",
        port=server.port,
        retry=Retry(NoBackoff(), 0),
        ssl=True,
        ssl_check_hostname=True,
        **authority,
        **shown,
    )


async def is_served(server: KvServer, office: "Office", files: TlsFiles | None = None) -> None:
    """Check that a client can write and read, small and large."""
    async with client_of(server, office, files) as client:
        assert await client.set("key", "x" * 1_000_000)
        assert await client.get("key") == b"x" * 1_000_000
        async with client.pipeline(transaction=False) as pipeline:
            for number in range(300):
                pipeline.set(f"k{number}", number)
            assert await pipeline.execute() == [True] * 300


async def refusal(server: KvServer, office: "Office | None", files: TlsFiles | None = None) -> str:
    """Ask for something as a client that must not get it, and return the error."""
    async with client_of(server, office, files) as client:
        with pytest.raises(redis.ConnectionError) as caught:
            await client.ping()
    return str(caught.value)


def test_clients_are_served_over_tls(run: Run, office: "Office") -> None:
    """redis-py works over TLS as without it, with no certificate of its own."""
    assert run(lambda server: is_served(server, office), office.files("127.0.0.1")) == []


def test_mutual_tls_asks_for_a_certificate(run: Run, office: "Office") -> None:
    """A client with a certificate of our authority is served; one without, or of another authority, is told why not."""
    mine, foreign = office.files("somebody"), office.files("somebody", by=trustme.CA())

    async def scenario(server: KvServer) -> None:
        await is_served(server, office, mine)
        assert "certificate required" in await refusal(server, office)
        assert "unknown ca" in await refusal(server, office, foreign)
        await is_served(server, office, mine)

    assert run(scenario, office.files("127.0.0.1"), is_mutual=True) == [
        "it shows no certificate, and one is required",
        "its certificate is not accepted: unable to get local issuer certificate",
    ]


def test_an_expired_client_certificate_is_refused(run: Run, office: "Office") -> None:
    """A client learns that its certificate has expired, and the log says so."""
    old = office.files("somebody", ends=datetime.now(UTC) - timedelta(days=1))

    async def scenario(server: KvServer) -> None:
        assert "certificate expired" in await refusal(server, office, old)

    reasons = run(scenario, office.files("127.0.0.1"), is_mutual=True)
    assert reasons == ["its certificate is not accepted: certificate has expired"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("name", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("expired", "certificate has expired"),
        ("authority", "unable to get local issuer certificate"),
    ],
)
def test_clients_refuse_a_server_that_they_cannot_verify(run: Run, office: "Office", fault: str, words: str) -> None:
    """A certificate for another host, an old one, and one of an unknown authority: the client says which it is."""
    ends = datetime.now(UTC) - timedelta(days=1) if fault == "expired" else None
    by = trustme.CA() if fault == "authority" else None
    files = office.files("example.org" if fault == "name" else "127.0.0.1", by=by, ends=ends)

    async def scenario(server: KvServer) -> None:
        assert words in await refusal(server, office)

    assert len(run(scenario, files)) == 1, "the log tells it, too"


def test_plain_text_to_a_tls_port_is_answered(run: Run, office: "Office") -> None:
    """A client without TLS gets an error in plain text, and the connection is closed at once."""

    async def scenario(server: KvServer) -> None:
        async with redis.asyncio.Redis(host="127.0.0.1", port=server.port) as client:
            with pytest.raises(redis.ResponseError, match="this port speaks TLS: connect with TLS"):
                await client.ping()

    assert run(scenario, office.files("127.0.0.1")) == ["it sent plain text where TLS is spoken"]


def test_tls_to_a_plain_port_is_refused(run: Run, office: "Office") -> None:
    """A client with TLS learns at once that the port has none, and the log says so."""

    async def scenario(server: KvServer) -> None:
        assert "wrong version number" in (await refusal(server, office)).lower().replace("_", " ")

    assert run(scenario, None) == ["it speaks TLS, and this port plain text: see tls_clients"]


def test_redis_cli_is_served_over_tls(run: Run, office: "Office") -> None:
    """redis-cli writes and reads over mutual TLS, and closes as it likes."""
    mine = office.files("somebody")

    async def scenario(server: KvServer) -> None:
        command = ["redis-cli", "-p", str(server.port), "--tls", "--cacert", str(office.ca_file)]
        shown = ["--cert", mine._cert_file, "--key", mine._key_file]
        process = await asyncio.create_subprocess_exec(
            *command, *shown, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await process.communicate(b"SET greeting hello\nGET greeting\n")
        assert output == b"OK\nhello\n"

    assert run(scenario, office.files("127.0.0.1"), is_mutual=True) == []


def test_what_was_sent_before_the_farewell_is_answered(run: Run, office: "Office") -> None:
    """A client that says it will send no more still gets its replies (TLS 1.3 may be closed one way)."""

    async def scenario(server: KvServer) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(office.ca_file))
        end = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def until(action: Callable[[], Any]) -> Any:
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))

        await until(end.do_handshake)
        end.write(b"SET key value\r\nGET key\r\n")
        with pytest.raises(ssl.SSLWantReadError):
            end.unwrap()
        writer.write(outgoing.read())
        answer = b""
        while len(answer) < len(b"+OK\r\n$5\r\nvalue\r\n"):
            answer += await until(lambda: end.read(65536))
        assert answer == b"+OK\r\n$5\r\nvalue\r\n"
        assert await reader.read() or True
        writer.close()

    run(scenario, office.files("127.0.0.1"))


def test_a_client_that_does_not_read_is_closed_under_tls_too(
    run: Run, office: "Office", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encrypted replies that nobody takes are waited for no longer than plain ones."""
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)

    async def scenario(server: KvServer) -> None:
        context = ssl.create_default_context(cafile=str(office.ca_file))
        _, lazy = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, limit=1024)
        lazy.write(b"SET k " + b"v" * 60_000 + b"\r\n" + b"GET k\r\n" * 2000)
        while not server.service.statistics.slow_clients_closed:  # noqa: ASYNC110  a socket's buffers tell nobody
            await asyncio.sleep(0.01)
        lazy.transport.abort()
        await is_served(server, office)

    run(scenario, office.files("127.0.0.1"), stalled_s_max=0.05)


def test_clients_beyond_the_limit_are_refused_under_tls_too(run: Run, office: "Office") -> None:
    """A handshake counts as a connection: one that never ends keeps its place, and no more than that."""

    async def scenario(server: KvServer) -> None:
        _, silent = await asyncio.open_connection("127.0.0.1", server.port)
        while not server._securing:  # noqa: ASYNC110  the connection is on its way
            await asyncio.sleep(0)
        assert await refusal(server, office)
        silent.close()
        while server._securing:  # noqa: ASYNC110  likewise
            await asyncio.sleep(0)
        await is_served(server, office)

    reasons = run(scenario, office.files("127.0.0.1"), clients_max=1)
    assert reasons[0] == "too many TLS handshakes are under way"


def test_stopping_lets_handshakes_end(run: Run, office: "Office", monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has connected is answered, and then sees an end, also if it takes its time over the first request."""
    monkeypatch.setattr(server_module, "_STOP_S", 30.0)

    async def scenario(server: KvServer) -> None:
        context = ssl.create_default_context(cafile=str(office.ca_file))
        raw = socket.create_connection(("127.0.0.1", server.port))

        def ask() -> tuple[bytes, bytes]:
            with context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
                time.sleep(2 * server_module._QUIET_S)
                client.sendall(b"PING\r\n")
                return client.recv(100), client.recv(100)

        asked = asyncio.get_running_loop().run_in_executor(None, ask)
        await server.stop()
        assert await asked == (b"+PONG\r\n", b"")

    run(scenario, office.files("127.0.0.1"))


def test_a_request_that_does_not_come_holds_no_stop_up(
    run: Run, office: "Office", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends a handshake during the stop and then says nothing sees the end after a moment, too."""
    monkeypatch.setattr(server_module, "_STOP_S", 0.5)

    async def scenario(server: KvServer) -> None:
        server._drain_s_max = 1000.0
        context = ssl.create_default_context(cafile=str(office.ca_file))
        raw = socket.create_connection(("127.0.0.1", server.port))

        def ask() -> bytes:
            try:
                with context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
                    return client.recv(100)
            except OSError:  # this machine took longer over the handshake than a stop waits for it
                return b""

        asked = asyncio.get_running_loop().run_in_executor(None, ask)
        await server.stop()
        assert await asked == b""

    run(scenario, office.files("127.0.0.1"))


def test_a_handshake_that_does_not_come_holds_no_stop_up(
    run: Run, office: "Office", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects and says nothing is let go after a moment, however long commands may take to be answered."""
    monkeypatch.setattr(server_module, "_STOP_S", 0.05)

    async def scenario(server: KvServer) -> None:
        server._drain_s_max = 1000.0
        with socket.create_connection(("127.0.0.1", server.port)) as silent:
            await server.stop()
            assert silent.recv(100) == b""

    run(scenario, office.files("127.0.0.1"))


@pytest.mark.parametrize("says", [b"", b"PING\r\n"])
def test_a_handshake_that_fails_holds_no_stop_up(
    run: Run, office: "Office", monkeypatch: pytest.MonkeyPatch, says: bytes
) -> None:
    """Whoever leaves in the middle of a handshake, or begins none, is not waited for any longer."""
    monkeypatch.setattr(server_module, "_STOP_S", 1000.0)

    async def scenario(server: KvServer) -> None:
        server._drain_s_max = 1000.0
        client = socket.create_connection(("127.0.0.1", server.port))

        def leave() -> None:
            with client:
                if says:
                    client.sendall(says)
                    while client.recv(100):
                        pass

        stopping = asyncio.ensure_future(server.stop())
        while server._all_ended is None or not server._securing:  # noqa: ASYNC110  it is on its way
            await asyncio.sleep(0.01)
        await asyncio.get_running_loop().run_in_executor(None, leave)
        await stopping

    run(scenario, office.files("127.0.0.1"))
