"""Clients' lasting connections to simulated nodes: the production service of each incarnation, without sockets.

What a server process owns beside its node is here, too: clients come and go, statistics, the slow log, the timer that
lets keys expire. Bytes take a moment in either direction; a connection ends with its node.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from raftline.kv.connection import Connection
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.service import Service
from raftline.kv.waiting import Waiter
from raftline.runtime.node import Node
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.node_loop import NodeLoop

__all__ = ["Line", "Refusal", "ServiceDoor"]

_TRAVEL_S = 0.0002
_TICK_S = 0.1
_pack: Callable[[tuple[bytes, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]


class Refusal(Exception):
    """An error reply."""


class _Served:
    """One incarnation's service."""

    def __init__(self, node: Node, loop: NodeLoop, service: Service) -> None:
        self.node = node
        self.loop = loop
        self.service = service
        loop.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self.service.expire()
        self.loop.call_later(_TICK_S, self._tick)


MakeService = Callable[[Member, Node, KvMachine], Service]


def _make_service(member: Member, node: Node, machine: KvMachine) -> Service:
    return Service(node, machine, Limits(), member.clock, member.name, 6379)


class ServiceDoor:
    """All services."""

    def __init__(self, cluster: SimCluster, make_service: "MakeService | None" = None) -> None:
        self._cluster = cluster
        self._make_service = make_service or _make_service
        self._served: dict[str, _Served] = {}

    def service(self, member: Member) -> Service | None:
        """Return the service of a node that is ready."""
        served = self._find(member)
        return None if served is None else served.service

    def connect(self, member: Member) -> "Line | None":
        """Return a new connection to a node, None if it does not serve."""
        served = self._find(member)
        return None if served is None else Line(self._cluster, served)

    def _find(self, member: Member) -> _Served | None:
        node, loop, machine = member.node, member.loop, member.machine
        if node is None or loop is None or not member.ready or not isinstance(machine, KvMachine):
            return None
        served = self._served.get(member.name)
        if served is None or served.node is not node:
            service = self._make_service(member, node, machine)
            served = self._served[member.name] = _Served(node, loop, service)
        return served


class Line:
    """One connection; one command, or some together, at a time. A node that dies never answers."""

    def __init__(self, cluster: SimCluster, served: _Served) -> None:
        self._world = cluster.world
        self._served = served
        self._reader = hiredis.Reader(replyError=Refusal)
        self._connection: Connection | None = None
        self._done: Callable[[Any], None] | None = None
        self._missing = 0
        self._under_way: deque[bytes] = deque()
        self._replies: list[Any] = []
        served.loop.call_later(_TRAVEL_S, self._open)

    def ask(self, words: tuple[bytes, ...], done: Callable[[Any], None]) -> None:
        """Send a command; `done` gets its reply, a `Refusal` included, at most once."""
        self.ask_all((words,), lambda replies: done(replies[0]))

    def ask_all(self, commands: Sequence[tuple[bytes, ...]], done: Callable[[list[Any]], None]) -> None:
        """Send some commands at once, as a pipeline; `done` gets all replies, at most once."""
        self._done, self._missing, self._replies = done, len(commands), []
        self._served.loop.call_later(_TRAVEL_S, self._feed, b"".join(map(_pack, commands)))

    def close(self, on_end: Callable[[Connection], object] | None = None) -> None:
        """Hear nothing any more, and let the node know; `on_end` looks at what is there when it does."""
        self._done = None
        self._served.loop.call_later(_TRAVEL_S, self._end, on_end)

    @property
    def blocked(self) -> Waiter | None:
        """Return the command that waits for something to pop, as its node knows it."""
        return None if self._connection is None or self._served.loop.gone else self._connection.client.blocked

    def _open(self) -> None:
        self._connection = self._served.service.connect("127.0.0.1:1", "127.0.0.1:2", self._on_ready)

    def _end(self, on_end: Callable[[Connection], object] | None) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if on_end is not None:
                on_end(connection)
            self._served.service.disconnect(connection)

    def _feed(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.feed(data)
            self._send(self._connection.take_output())

    def _on_ready(self) -> None:
        self._served.loop.call_soon(self._turn, self._connection)

    def _turn(self, connection: Connection | None) -> None:
        if connection is not None and connection is self._connection:
            reply = connection.take_lone_reply()
            if not reply:
                connection.turn()
            self._send(reply or connection.take_output())

    def _send(self, output: bytes) -> None:
        if output:
            self._under_way.append(output)
            self._world.call_later(_TRAVEL_S, self._receive)

    def _receive(self) -> None:
        """Take in what was sent first: of what arrives at one moment the simulator calls any first."""
        self._reader.feed(self._under_way.popleft())
        while self._missing and (reply := self._reader.gets()) is not False:
            self._missing -= 1
            self._replies.append(reply)
        if not self._missing:
            done, self._done = self._done, None
            if done is not None:
                done(self._replies)
