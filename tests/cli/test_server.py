"""What the server makes of its settings; the process itself is shown in tests/cluster."""

import asyncio
import contextlib
import errno
import resource
import signal
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import structlog

from raftline.cli import server
from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.node_info import Unreachable
from raftline.cli.settings import ServerSettings, limits_of, node_config_of
from raftline.errors import ConfigError, SafetyViolation
from raftline.kv.sharded.chunks import START, Giving, Marks, next_chunk
from raftline.kv.sharded.machine import arrive
from raftline.kv.store import Store
from raftline.replica.sessions import Sessions

FakeNode = Callable[..., int]
SETTINGS = ServerSettings(
    id="n1", cluster={"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002@9000"}, data_dir="d", request_bytes_max=48 << 20
)


def test_addresses_are_passed_on_in_full() -> None:
    """Every member is known with its bus port, written or not."""
    assert node_config_of(SETTINGS).members == {"n1": "127.0.0.1:7001@17001", "n2": "127.0.0.1:7002@9000"}


def test_the_largest_request_fits_through_every_layer() -> None:
    """What a client may send fits into a command, and that into a frame between peers."""
    config = node_config_of(SETTINGS)
    transport: Any = server._ports(SETTINGS).transport
    assert limits_of(SETTINGS).request_bytes_max == 48 << 20
    assert config.command_bytes_max > 48 << 20
    assert transport.settings.max_frame_bytes > config.command_bytes_max + config.core.append_bytes_max
    assert transport.settings.queue_bytes >= 2 * transport.settings.max_frame_bytes


def test_a_remembered_reply_moves_with_its_slot_however_small_requests_are() -> None:
    """The longest that a session keeps fits into the command that brings it to another group (G16)."""
    sessions = Sessions()
    sessions.open(1, 0)
    for length in range(sessions.reply_bytes_max, 0, -(1 << 20)):
        sessions.remember(1, length, failed=False, reply=bytes(length), time_ms=0)
        if not [session for _, session in sessions.dump() if session.reply_forgotten]:
            break
    giving = Giving(1, 1, [7], Store(), Marks(), sessions.dump())
    chunk = next_chunk(giving, START)
    assert chunk is not None
    assert len(chunk.sessions[0][1].reply) == length >= 4 << 20
    config = node_config_of(msgspec.structs.replace(SETTINGS, request_bytes_max=1024))
    assert len(arrive(chunk)) < config.command_bytes_max


@pytest.mark.parametrize(("bind", "host"), [("", "127.0.0.1"), ("0.0.0.0", "0.0.0.0")])  # noqa: S104  never opened
def test_peers_are_listened_to_where_bind_says(bind: str, host: str) -> None:
    """The address in `cluster` is for the others; `bind` is where this node listens."""
    transport: Any = server._ports(msgspec.structs.replace(SETTINGS, bind=bind)).transport
    assert transport._listen == (host, 17001)


def test_limits_that_cannot_work_are_refused() -> None:
    """The store's own ceiling on keys counts."""
    with pytest.raises(ConfigError, match="key_bytes_max"):
        limits_of(msgspec.structs.replace(SETTINGS, key_bytes_max=1 << 20))


def test_open_files_are_raised_to_what_the_system_allows() -> None:
    """Ten thousand clients need as many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert server._room_for_clients(10) == 10
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_clients_leave_the_node_the_files_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that cannot open its next file ends the node: fewer clients are let in than asked for."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 1000))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert [server._room_for_clients(wanted) for wanted in (100, 744, 745, 20_000)] == [100, 744, 744, 744]


def test_a_second_signal_changes_nothing() -> None:
    """The first one decides; an impatient Ctrl-C does not tear the stop apart."""

    async def twice() -> signal.Signals:
        signalled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        server._on_signal(signalled, signal.SIGTERM)
        server._on_signal(signalled, signal.SIGINT)
        return await signalled  # type: ignore[no-any-return]

    assert asyncio.run(twice()) is signal.SIGTERM


def test_a_disk_that_hangs_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping is bounded: what hangs is given up, and said."""

    async def hang() -> None:
        await asyncio.sleep(1000)

    async def stop() -> None:
        running = contextlib.AsyncExitStack()
        running.push_async_callback(hang)
        started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        started.set_result(None)
        await server._stop(running, started, 0.05)

    said = structlog.testing.CapturingLogger()
    monkeypatch.setattr(server, "_log", said)
    asyncio.run(stop())
    assert ["did not answer" in call.args[0] for call in said.calls] == [True]


@pytest.mark.parametrize("drain_s_max", [0.0, 2.0, 60.0])
def test_stopping_is_given_the_time_for_which_it_may_drain(monkeypatch: pytest.MonkeyPatch, drain_s_max: float) -> None:
    """Clients and successors are waited for so long each, and the rest has its own time beside."""

    async def fail(*_: object) -> None:
        raise ConfigError("nothing is started")

    async def stop(_: object, __: object, seconds_max: float) -> None:
        given.append(seconds_max)

    given: list[float] = []
    monkeypatch.setattr(server, "_start", fail)
    monkeypatch.setattr(server, "_stop", stop)
    with pytest.raises(ConfigError, match="nothing is started"):
        asyncio.run(server._serve(msgspec.structs.replace(SETTINGS, drain_s_max=drain_s_max), sharded=False))
    assert given == [server._STOP_S_MAX + 2 * drain_s_max]
    assert server._STOP_S_MAX >= 5.0


def test_an_address_that_cannot_be_listened_on_is_named() -> None:
    """A port that is taken may be free later; one that nobody may use here, or a host that is none, is a setting."""
    for error, code in (
        (OSError(errno.EADDRINUSE, "address already in use"), ExitCode.UNAVAILABLE),
        (PermissionError(errno.EACCES, "permission denied"), ExitCode.CONFIG),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), ExitCode.CONFIG),
    ):
        with (
            pytest.raises(ConfigError, match="cannot listen for monitoring on h:80: ") as raised,
            server._listening("monitoring", "h", 80),
        ):
            raise error
        assert exit_code_of(raised.value) is code


JOINING = ServerSettings(id="n4", listen="127.0.0.1:7004", join="127.0.0.1:1", data_dir="gone")


def test_a_node_that_joins_asks_which_cluster_it_is(fake_node: FakeNode, lines_of: Callable[..., str]) -> None:
    """Unless it was told, or its directory says so."""
    port = fake_node(lines_of("n1", {"n1": 1}, cluster_id="orders"))
    settings = msgspec.structs.replace(JOINING, join=f"127.0.0.1:{port}")
    assert server.with_cluster_id(settings).cluster_id == "orders"
    told = msgspec.structs.replace(settings, cluster_id="told")
    assert server.with_cluster_id(told).cluster_id == "told"


def test_what_must_not_happen_is_said_in_words_first(capsys: pytest.CaptureFixture[str]) -> None:
    """What, the exit code, what to keep and whom to tell; the traceback comes behind it, in the log."""
    assert server._told(JOINING, SafetyViolation("two leaders")) == ExitCode.SAFETY
    told, kept = capsys.readouterr().err.splitlines()[:2]
    assert told == "raftline n4 stops: SafetyViolation: two leaders [exit code 70]"
    assert kept.startswith("This must not happen: keep a copy of gone and of this log, do not start the node again")
    assert "report both to whoever maintains raftline " in kept


def test_a_port_for_peers_is_no_node_to_join(fake_node: FakeNode) -> None:
    """Asking it again would not help."""
    settings = msgspec.structs.replace(JOINING, join=f"127.0.0.1:{fake_node(raw=b'RLp1')}")
    with pytest.raises(ConfigError, match=r"--join: 127.0.0.1:\d+ answers, but not as a raftline server does"):
        server.with_cluster_id(settings)


def test_a_node_to_join_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while of asking again: it may be starting, too."""
    waits: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append)
    monkeypatch.setattr(server, "_JOIN_S_MAX", 1.0)
    monkeypatch.setattr(server, "time", clock)
    with pytest.raises(Unreachable, match=r"--join: 127.0.0.1:1: .*: start that node, or name another one"):
        server.with_cluster_id(JOINING)
    assert waits == [0.5, 0.5]
    assert server._told(JOINING, Unreachable("x")) == ExitCode.UNAVAILABLE
