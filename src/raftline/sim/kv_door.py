"""How simulated clients reach a node: the production connection and commands, without the socket.

Each ask opens a connection in the node's own loop, as a client does that was redirected or cut off; bytes take a
moment in either direction, and are lost with the node.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis

from raftline.errors import SafetyViolation
from raftline.kv.acl.guard import Guard
from raftline.kv.bundles import Bundles
from raftline.kv.channels import Channels
from raftline.kv.client import Client, ServerFacts, Statistics
from raftline.kv.cluster_view import Keyspace
from raftline.kv.commands.table import COMMANDS
from raftline.kv.connection import Connection
from raftline.kv.limits import Limits
from raftline.kv.machine import KvMachine
from raftline.kv.memory import MemoryLimit
from raftline.kv.plans import find_plan
from raftline.kv.slowlog import Slowlog
from raftline.kv.store import Store
from raftline.kv.waiting import Waiting
from raftline.runtime.histogram import Histogram
from raftline.runtime.measurements import Measurements
from raftline.runtime.node import Node
from raftline.runtime.requests import Consistency
from raftline.runtime.status import Status
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.workload import Answer

__all__ = ["KvDoor"]

_TRAVEL_S = 0.0002
_CRLF = b"\r\n"
_BUNDLED_EACH = 3
"""Every so many commands have one before and one after them, so that they share an entry if they may."""
_BESIDE = b"beside"


class _NodeServer:
    """One incarnation's server as its commands see it."""

    def __init__(self, member: Member, node: Node, machine: KvMachine) -> None:
        self.node = node
        self.bundles = Bundles(node)
        self.facts = ServerFacts(host=member.name, port=0, process_id=member.incarnation, started_ms=0)
        self.limits = Limits()
        self.statistics = Statistics()
        self.slowlog = Slowlog(self.limits.slowlog_log_slower_than, self.limits.slowlog_max_len)
        self.reply_latency = Histogram()
        self.store: Store = machine.store
        self.memory = MemoryLimit(machine.store, self.limits.maxmemory)
        self.guard = Guard(machine.store.users, COMMANDS, self.memory)
        self.clients: dict[int, Client] = {}
        self.shards = None
        self.channels = Channels(machine.store)
        self.waiting = Waiting(machine.store, self.limits.waited_keys_max)
        self._clock = member.clock
        self.cluster = None

    @property
    def is_master(self) -> bool:
        """Say whether the node leads."""
        return self.node.is_leader

    def keyspace(self) -> Keyspace:
        """Return how much the node holds."""
        store = self.store
        return Keyspace(store.count, store.deadline_count, store.used_bytes, store.expired_count)

    def status(self) -> Status:
        """Return the node's status."""
        return self.node.status()

    def measure(self) -> Measurements:
        """Return what the node measures."""
        return self.node.measure()

    def monotonic_s(self) -> float:
        """Return virtual time."""
        return self._clock.monotonic_s()

    def now_ms(self) -> int:
        """Return the machine's wall clock."""
        return self._clock.wall_ms()


class KvDoor:
    """Implements `Door` with the production connection."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._servers: dict[str, _NodeServer] = {}
        self._numbers = 0
        self.lease_reads = 0
        """Reads that asked for no more than the leader's lease."""

    def ask(self, member: Member, arguments: list[bytes], done: Callable[[Answer], None]) -> None:
        """Send one command as a Redis client would."""
        loop, node, machine = member.loop, member.node, member.machine
        if loop is None or node is None or not isinstance(machine, KvMachine):
            return
        server = self._servers.get(member.name)
        if server is None or server.node is not node:
            server = self._servers[member.name] = _NodeServer(member, node, machine)
        loop.call_later(_TRAVEL_S, self._serve, server, arguments, done)

    def _serve(self, server: _NodeServer, arguments: list[bytes], done: Callable[[Answer], None]) -> None:
        """Run as the node: one connection, one command."""
        self._numbers += 1
        on_lease = self._cluster.relies_on_clocks and self._numbers % 2 == 0
        self.lease_reads += on_lease and arguments[0] == b"GET"
        reads: Consistency = "lease" if on_lease else "linearizable"
        client = Client(server, self._numbers, "127.0.0.1:1", "127.0.0.1:2", reads)

        requests = [arguments]
        if self._numbers % _BUNDLED_EACH == 1 and _goes_through_the_log(arguments):
            requests = [[b"SET", _BESIDE, b"1"], arguments, [b"INCR", _BESIDE]]
        replies = _Replies(len(requests), done)

        def on_ready() -> None:
            connection.turn()
            self._send(connection, replies)

        connection = Connection(client, server.node, server.limits, on_ready)
        connection.feed(b"".join(map(_request, requests)))
        self._send(connection, replies)

    def _send(self, connection: Connection, replies: "_Replies") -> None:
        output = connection.take_output()
        if output:
            replies.under_way.append(output)
            self._world.call_later(_TRAVEL_S, replies.arrive)


class _Replies:
    """What comes back on one connection: what was asked for, alone or between the replies to what went beside it."""

    def __init__(self, count: int, done: Callable[[Answer], None]) -> None:
        self._reader = hiredis.Reader(replyError=_Refusal)
        self._place = count // 2
        self._done = done
        self._seen = 0
        self.under_way: deque[bytes] = deque()

    def arrive(self) -> None:
        """Take in what was sent first; raises `SafetyViolation` for a reply that is not of its command."""
        self._reader.feed(self.under_way.popleft())
        while (value := self._reader.gets()) is not False:
            place, self._seen = self._seen, self._seen + 1
            if place == self._place:
                self._done(_answer(value))
            elif not isinstance(value, _Refusal | (bytes if place == 0 else int)):
                raise SafetyViolation(f"a command of several was told the reply of another one: {value!r} (G20)")


def _goes_through_the_log(arguments: list[bytes]) -> bool:
    """Say whether a command waits for nothing that came before it on its connection."""
    plan = find_plan(arguments)
    return plan is not None and (plan.write or plan.executes or plan.command.wraps > 0)


def _request(arguments: list[bytes]) -> bytes:
    pieces = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        pieces += (b"$%d\r\n" % len(argument), argument, _CRLF)
    return b"".join(pieces)


def _answer(value: Any) -> Answer:
    """Read a reply as redis-py would."""
    if isinstance(value, _Refusal):
        text = str(value)
        refused = text.startswith(("CLUSTERDOWN", "TRYAGAIN")) and "may have been applied" not in text
        return Answer(error=text, may_take_effect=not refused)
    if isinstance(value, bytes):
        return Answer(value=value.decode("utf-8", "surrogateescape"))
    return Answer(value=value)


class _Refusal(Exception):
    """An error reply."""
