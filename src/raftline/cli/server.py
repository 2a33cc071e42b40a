"""`raftline server`: one node in this process, from settings to exit code.

Start-up: settings, log, loop, node (recovers, joins), Redis port, one line on standard output. It ends by a signal
(exit code 0) or because the node stopped itself, whose reason decides the code. It refuses to know Raft and RESP.
"""

import asyncio
import contextlib
import os
import resource
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import uvloop

from raftline.cli.access import Access
from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.logs import set_up_logs
from raftline.cli.output import complain, say
from raftline.cli.settings import (
    COMMAND_SPARE_BYTES,
    VARIABLE_PREFIX,
    ServerSettings,
    keeper_settings_of,
    limits_of,
    node_config_of,
    own_address_of,
    tls_files_of,
)
from raftline.cli.settings_loading import Loaded
from raftline.cli.sharding import is_sharded, mark_sharded, running_keeper, sharded_config
from raftline.errors import ConfigError
from raftline.kv.addresses import is_loopback
from raftline.kv.machine import KvMachine
from raftline.kv.monitor import Monitor
from raftline.kv.server import KvServer
from raftline.kv.sharded.keeper import Keeper
from raftline.kv.sharded.meta import MetaMachine
from raftline.runtime.collector import settle_garbage_collector
from raftline.runtime.node import Node, Ports
from raftline.transport.address import parse_client_address
from raftline.transport.settings import TransportSettings
from raftline.transport.tcp import TcpTransport
from raftline.transport.tls import TlsFiles, TlsRole
from raftline.wal.files import ReadOnlyOsFiles
from raftline.wal.segment import owner_of

if TYPE_CHECKING:
    from raftline.cli.node_info import NodeInfo

__all__ = ["run_server", "with_cluster_id"]

_log = structlog.get_logger("raftline.server")
_STOP_S_MAX = 6.0
"""Beside twice `drain_s_max`, for clients and for successors."""
_FILES_OF_ITS_OWN = 256
"""Open files that a node needs beside its clients' connections, at most."""
_JOIN_S_MAX = 30.0
_JOIN_POLL_S = 0.5
_JOIN_TOLD_EACH = 10


def run_server(loaded: Loaded) -> ExitCode:
    """Serve until a signal or a failure; return what the process should exit with."""
    settings = loaded.settings
    set_up_logs(settings.log_level, settings.log_format, node=settings.id)
    for name in loaded.unknown_variables:
        _log.warning("unknown variable: it changes nothing", variable=name, see="raftline server --help")
    settings = msgspec.structs.replace(settings, clients_max=_room_for_clients(settings.clients_max))
    _warn_of_open_doors(settings)
    try:
        sharded = is_sharded(settings, lambda: _is_joined_sharded(settings))
        settings = with_cluster_id(settings)
        if sharded:
            mark_sharded(settings.data_dir)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, sharded=sharded))
    except Exception as error:  # noqa: BLE001  every end has a code and a line that says why
        return _told(settings, error)


def with_cluster_id(settings: ServerSettings) -> ServerSettings:
    """Return the settings with the cluster that the data directory is of, or that is joined, unless one was given.

    Raises Unreachable if the node to join does not answer in time, ConfigError if it is none.
    """
    if settings.cluster_id:
        return settings
    owner = owner_of(ReadOnlyOsFiles(), settings.data_dir)
    if owner is not None:
        cluster_id = owner[0]
    elif settings.join:
        cluster_id = _cluster_of(settings.join, _access_of(settings))
        _log.info("joining", cluster=cluster_id, next=f"raftline member add {settings.id}={own_address_of(settings)}")
    else:
        return settings
    return msgspec.structs.replace(settings, cluster_id=cluster_id)


def _is_joined_sharded(settings: ServerSettings) -> bool:
    return _joined(settings.join, _access_of(settings)).fields.get("sharded") == "1"


def _cluster_of(target: str, access: Access) -> str:
    """Ask the node at `target` which cluster it is of."""
    return _joined(target, access).fields["cluster_id"]


def _joined(target: str, access: Access) -> "NodeInfo":
    """Ask the node at `target` what it is; it may be starting, too, so for a while it is asked again."""
    from raftline.cli.node_info import NotAServer, Unreachable, ask_node  # noqa: PLC0415  a Redis client, which other starts need not load

    address = parse_client_address(target)
    assert address is not None, "settings are checked"
    deadline = time.monotonic() + _JOIN_S_MAX
    tries = 0
    while True:
        try:
            return ask_node(address.host, address.port, access=access)
        except NotAServer as error:
            raise ConfigError(f"--join: {error}") from None
        except Unreachable as error:
            if time.monotonic() >= deadline:
                raise Unreachable(f"--join: {error}: start that node, or name another one of its cluster") from None
            if tries % _JOIN_TOLD_EACH == 0:
                _log.warning(
                    "the node to join does not answer: start it, or correct --join",
                    trouble=str(error), given_up_in_s=round(deadline - time.monotonic()),
                )  # fmt: skip
            tries += 1
            time.sleep(_JOIN_POLL_S)


def _access_of(settings: ServerSettings) -> Access:
    """Return how this node reaches the client port of another one of its cluster: as its own is reached."""
    if settings.tls_clients == "off":
        return Access(password=settings.password)
    return Access(
        tls=True, ca=settings.tls_ca, cert=settings.tls_cert, key=settings.tls_key, password=settings.password
    )


async def _serve(settings: ServerSettings, *, sharded: bool) -> ExitCode:
    """Run the node beside the signals; whichever comes first decides."""
    loop = asyncio.get_running_loop()
    signalled: asyncio.Future[Any] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, signalled, number)
    tls = tls_files_of(settings)
    loop.add_signal_handler(signal.SIGHUP, _on_hangup, tls)
    machine = MetaMachine() if sharded else KvMachine()
    config = node_config_of(settings)
    node = Node(sharded_config(config) if sharded else config, machine, ports=_ports(settings, tls))
    keeper = (
        Keeper(node, settings.id, machine, keeper_settings_of(settings)) if isinstance(machine, MetaMachine) else None
    )
    address = own_address_of(settings)
    server = KvServer(
        node,
        machine,
        settings.bind or address.host,
        address.port,
        limits_of(settings),
        default_reads=settings.reads,
        drain_s_max=settings.drain_s_max,
        tls=_client_tls(settings, tls),
        password=settings.password,
        is_protected=settings.protected_mode == "on" and settings.tls_clients != "mutual",
        groups=keeper,
        redirects=settings.redirects,
    )
    running = contextlib.AsyncExitStack()
    monitor = _monitor(settings, node, server)
    started: asyncio.Future[Any] = loop.create_task(_start(settings, node, keeper, server, monitor, running))
    await asyncio.wait([started, signalled], return_when=asyncio.FIRST_COMPLETED)
    error: BaseException | None = None
    try:
        if started.done():
            started.result()
            settle_garbage_collector()
            _announce(settings)
            failed: asyncio.Future[Any] = loop.create_task(node.wait_failed())
            await asyncio.wait([failed, signalled], return_when=asyncio.FIRST_COMPLETED)
            error = failed.result() if failed.done() else None
            failed.cancel()
    finally:
        await _stop(running, started, _STOP_S_MAX + 2 * settings.drain_s_max)
    return ExitCode.OK if error is None else _told(settings, error)


def _monitor(settings: ServerSettings, node: Node, server: KvServer) -> Monitor | None:
    """Return the monitoring port, if there is to be one."""
    address = parse_client_address(settings.metrics) if settings.metrics else None
    if address is None:
        return None
    return Monitor(address.host, address.port, lambda: server.started_service, lambda: node.failure)


async def _start(
    settings: ServerSettings,
    node: Node,
    keeper: Keeper | None,
    server: KvServer,
    monitor: Monitor | None,
    running: contextlib.AsyncExitStack,
) -> None:
    """Start the monitoring port, the node, its groups, then its Redis port; `running` stops them in reverse."""
    began = time.monotonic()
    if monitor is not None:
        with _listening("monitoring", monitor.door.host, monitor.door.port):
            await monitor.start()
        running.push_async_callback(monitor.stop)
    await node.start()
    running.push_async_callback(node.stop)
    _check_members_named(settings, node)
    if keeper is not None:
        await running_keeper(keeper, running)
    with _listening("clients", server.host, server.port):
        await server.start()
    server.service.shards = keeper
    running.push_async_callback(server.stop)
    _log.info("serving", start_s=round(time.monotonic() - began, 3))


@contextlib.contextmanager
def _listening(what: str, host: str, port: int) -> Iterator[None]:
    """Raise ConfigError with the address if it cannot be listened on; the port for peers says so itself."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"cannot listen for {what} on {host}:{port}: {error}") from error


def _check_members_named(settings: ServerSettings, node: Node) -> None:
    """Raise `ConfigError` if there have been members, and neither the log nor the settings say who: it would wait."""
    is_told = settings.cluster or settings.join
    if not is_told and node.status().last_index and not node.members():
        raise ConfigError(
            f"cluster: the log in {settings.data_dir} names no members yet: start the node with the --cluster, or "
            "--join, of its first start"
        )


async def _stop(running: contextlib.AsyncExitStack, started: asyncio.Future[Any], seconds_max: float) -> None:
    """Close connections, then the log; give up on a disk that does not answer."""
    try:
        async with asyncio.timeout(seconds_max):
            if not started.done():
                started.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await started
            await running.aclose()
        _log.info("stopped")
    except TimeoutError:
        _log.error(
            "the disk did not answer within the time for stopping: leaving as after a crash", seconds=seconds_max
        )


def _on_signal(signalled: asyncio.Future[Any], number: signal.Signals) -> None:
    if not signalled.done():
        signalled.set_result(number)
        _log.info("stopping", signal=number.name)


def _on_hangup(tls: TlsFiles | None) -> None:
    """Read certificates again, for connections made from now on; the old ones stay if the new cannot be used."""
    if tls is None:
        _log.info("SIGHUP changes nothing: there are no certificates to read again")
        return
    try:
        tls.reload()
        _log.info("certificates read again", counts_for="connections made from now on")
    except ConfigError as error:
        _log.error("certificates not read again: the old ones stay in use", reason=str(error))


def _client_tls(settings: ServerSettings, tls: TlsFiles | None) -> Callable[[], ssl.SSLContext] | None:
    """Return what gives the context for a new client; None if clients speak plain text."""
    if tls is None or settings.tls_clients == "off":
        return None
    role = TlsRole(is_server=True, needs_certificate=settings.tls_clients == "mutual")
    tls.context(role)
    return lambda: tls.context(role)


def _ports(settings: ServerSettings, tls: TlsFiles | None = None) -> Ports:
    """Return the real world, with a transport that listens where `bind` says and carries the largest request."""
    config = node_config_of(settings)
    ports = Ports.real(config)
    address = own_address_of(settings)
    frame_bytes = max(
        TransportSettings().max_frame_bytes,
        config.command_bytes_max + config.core.append_bytes_max + COMMAND_SPARE_BYTES,
    )
    ports.transport = TcpTransport(
        config.node_id,
        config.cluster_id,
        (settings.bind or address.host, address.bus_port),
        settings=TransportSettings(max_frame_bytes=frame_bytes, queue_bytes=2 * frame_bytes),
        tls=tls if settings.tls_peers == "mutual" else None,
    )
    return ports


def _warn_of_open_doors(settings: ServerSettings) -> None:
    """Say what everybody who reaches this machine could do, and the ways to prevent it."""
    host = settings.bind or own_address_of(settings).host
    if is_loopback(host):
        return
    if settings.tls_peers == "off":
        _log.warning(
            "the peer port is open: whoever reaches it can act as a node; set tls_peers, or shield the network",
            host=host,
        )
    if not settings.password and settings.tls_clients != "mutual":
        if settings.protected_mode == "on":
            _log.warning(
                "protected mode: clients of other machines are refused while the user default needs no password; set "
                f"{VARIABLE_PREFIX}PASSWORD, or use ACL SETUSER, or tls_clients=mutual, or protected_mode=off",
                host=host,
            )
        else:
            _log.warning("the client port is open: whoever reaches it may do everything, unless ACL says no", host=host)


def _room_for_clients(clients_max: int) -> int:
    """Allow as many open files as the system lets us; return for how many clients, up to `clients_max`, that is enough.

    A node that could open no file for its log would have to stop, so clients never take the last ones.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY or hard >= clients_max + _FILES_OF_ITS_OWN:
        return clients_max
    room = max(1, hard - _FILES_OF_ITS_OWN)
    _log.warning("fewer clients than clients_max are let in: raise ulimit -n", files=hard, clients_max=room)
    return room


def _announce(settings: ServerSettings) -> None:
    """Print the one line that says that clients can connect."""
    address = own_address_of(settings)
    line = (
        f"raftline {settings.id} serves Redis clients on {address.client} "
        f"(peers on {address.bus}, data in {settings.data_dir}, pid {os.getpid()})"
    )
    say(line)


def _told(settings: ServerSettings, error: BaseException) -> ExitCode:
    """Say on standard error why the server ends, and return its exit code."""
    code = exit_code_of(error)
    complain(f"raftline {settings.id} stops: {_reason(error)} [exit code {code:d}]")
    if code is ExitCode.SAFETY:
        complain(_how_to_report(settings))
        _log.error("failure", exc_info=error)
    return code


def _how_to_report(settings: ServerSettings) -> str:
    """Return what to do about what must not happen: keep the evidence, start nothing again from it, tell somebody."""
    return (
        f"This must not happen: keep a copy of {settings.data_dir} and of this log, do not start the node again from "
        f"it, and report both to whoever maintains raftline {version('raftline')}, or your state machine if it is at "
        "fault. The other nodes go on. What follows is for that report:"
    )


def _reason(error: Any) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
