"""What cannot exist under virtual time, refused in one table: threads, sockets, pipes, processes, signals.

Each refusal names the port that stands in for the real thing, so that whoever meets it knows what to use instead.
The loop classes inherit from here; it knows nothing of time and scheduling.
"""

import asyncio
from typing import Any, NoReturn

from raftline.errors import RaftlineError

__all__ = ["Deadlock", "NoProgress", "NodeKilled", "NotSimulated", "RefusingLoop", "SimulationError"]


class SimulationError(RaftlineError):
    """The simulated world cannot go on, or was used in a way that it does not offer."""


class NotSimulated(SimulationError, NotImplementedError):
    """Something that has no meaning under virtual time; the message says what to use instead."""


class Deadlock(SimulationError):
    """Nothing is left to run and what was waited for has not happened: it never will."""


class NoProgress(SimulationError):
    """Callbacks run without end while virtual time stands still."""


class NodeKilled(SimulationError):
    """The simulated node died before the outcome was known."""


_THREADS = "threads do not exist under virtual time: give the work to a disk thread (raftline.sim.disk.SimDiskThread)"
_SOCKETS = "sockets do not exist under virtual time: send through a transport (raftline.sim.network.SimTransport)"
_PROCESSES = "processes do not exist under virtual time: attach another node to the loop (SimLoop.node)"
_SIGNALS = "signals do not exist under virtual time: call what the handler would call, at a virtual time (call_at)"


def _refused(name: str, instead: str) -> Any:
    def refuse(self: asyncio.AbstractEventLoop, *_args: Any, **_kwargs: Any) -> NoReturn:  # noqa: ARG001  a method
        raise NotSimulated(f"{name}: {instead}")

    refuse.__name__ = name
    refuse.__doc__ = f"Refuse: {instead}."
    return refuse


class RefusingLoop(asyncio.AbstractEventLoop):
    """An event loop that has none of the real world; subclasses give it time and callbacks."""

    run_in_executor: Any = _refused("run_in_executor", _THREADS)
    set_default_executor: Any = _refused("set_default_executor", _THREADS)
    getaddrinfo: Any = _refused("getaddrinfo", _SOCKETS)
    getnameinfo: Any = _refused("getnameinfo", _SOCKETS)
    create_connection: Any = _refused("create_connection", _SOCKETS)
    create_server: Any = _refused("create_server", _SOCKETS)
    create_unix_connection: Any = _refused("create_unix_connection", _SOCKETS)
    create_unix_server: Any = _refused("create_unix_server", _SOCKETS)
    create_datagram_endpoint: Any = _refused("create_datagram_endpoint", _SOCKETS)
    connect_accepted_socket: Any = _refused("connect_accepted_socket", _SOCKETS)
    start_tls: Any = _refused("start_tls", _SOCKETS)
    sendfile: Any = _refused("sendfile", _SOCKETS)
    sock_recv: Any = _refused("sock_recv", _SOCKETS)
    sock_recv_into: Any = _refused("sock_recv_into", _SOCKETS)
    sock_recvfrom: Any = _refused("sock_recvfrom", _SOCKETS)
    sock_recvfrom_into: Any = _refused("sock_recvfrom_into", _SOCKETS)
    sock_sendto: Any = _refused("sock_sendto", _SOCKETS)
    sock_sendall: Any = _refused("sock_sendall", _SOCKETS)
    sock_sendfile: Any = _refused("sock_sendfile", _SOCKETS)
    sock_connect: Any = _refused("sock_connect", _SOCKETS)
    sock_accept: Any = _refused("sock_accept", _SOCKETS)
    add_reader: Any = _refused("add_reader", _SOCKETS)
    remove_reader: Any = _refused("remove_reader", _SOCKETS)
    add_writer: Any = _refused("add_writer", _SOCKETS)
    remove_writer: Any = _refused("remove_writer", _SOCKETS)
    connect_read_pipe: Any = _refused("connect_read_pipe", _PROCESSES)
    connect_write_pipe: Any = _refused("connect_write_pipe", _PROCESSES)
    subprocess_shell: Any = _refused("subprocess_shell", _PROCESSES)
    subprocess_exec: Any = _refused("subprocess_exec", _PROCESSES)
    add_signal_handler: Any = _refused("add_signal_handler", _SIGNALS)
    remove_signal_handler: Any = _refused("remove_signal_handler", _SIGNALS)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  asyncio's own
        """Do nothing: there is no executor."""

    def get_debug(self) -> bool:
        """Return False: asyncio's debug mode measures real time, so it stays off."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001  asyncio's own signature
        """Refuse to switch debug mode on."""
        if enabled:
            raise NotSimulated("set_debug: asyncio's debug mode measures real time and would change the run")
