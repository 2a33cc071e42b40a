"""A node as a Redis server without sockets: clients come and go, commands reach the node, keys expire on time.

It is what `KvServer` puts sockets around, and what a simulator drives directly. It owns no timers: whoever drives it
calls `expire` about every 100 ms.
"""

import os
from collections.abc import Callable

from msgspec import structs

from raftline.kv.acl.guard import Guard
from raftline.kv.bundles import Bundles
from raftline.kv.channels import Channels
from raftline.kv.client import Client, ServerFacts, Statistics
from raftline.kv.cluster_view import ClusterView, Keyspace
from raftline.kv.commands.table import COMMANDS
from raftline.kv.connection import Connection
from raftline.kv.limits import Limits
from raftline.kv.machine import TICK_COMMAND, KvMachine
from raftline.kv.memory import MemoryLimit
from raftline.kv.ports import KvNode
from raftline.kv.shards_view import ShardsAdmin
from raftline.kv.slowlog import Slowlog
from raftline.kv.store import Store
from raftline.kv.waiting import Waiting
from raftline.runtime.histogram import Histogram
from raftline.runtime.measurements import Measurements
from raftline.runtime.ports import Clock
from raftline.runtime.requests import Consistency
from raftline.runtime.status import Status

__all__ = ["Service"]

_RELEASES_PER_CALL = 10


class Service:
    """The clients of one node, and what they see of it."""

    def __init__(
        self,
        node: KvNode,
        machine: KvMachine,
        limits: Limits,
        clock: Clock,
        host: str,
        port: int,
        *,
        default_reads: Consistency = "linearizable",
        password: str = "",
    ) -> None:
        """Prepare; `password` is what the user `default` has to give on this node, empty: what the log says."""
        machine.store.users.set_own_password(password)
        self.memory = MemoryLimit(self, limits.maxmemory)
        self.guard = Guard(machine.store.users, COMMANDS, self.memory)
        self.waiting = Waiting(machine.store, limits.waited_keys_max)
        self.channels = Channels(machine.store)
        self._node = node
        self.bundles = Bundles(node)
        self._default_reads = default_reads
        self._machine = machine
        self._clock = clock
        self._last_id = 0
        self._is_ticking = False
        self.shards: ShardsAdmin | None = None
        """What can be done to a sharded cluster; None where all keys are in one group."""
        self.limits = limits
        self.statistics = Statistics()
        self.slowlog = Slowlog(limits.slowlog_log_slower_than, limits.slowlog_max_len)
        self.reply_latency = Histogram()
        self.monotonic_s = clock.monotonic_s
        """A stopwatch: to measure with, never to decide by."""
        self.now_ms = clock.wall_ms
        """The wall clock in milliseconds since 1970."""
        self.clients: dict[int, Client] = {}
        self.facts = ServerFacts(host=host, port=port, process_id=os.getpid(), started_ms=clock.wall_ms())

    @property
    def store(self) -> Store:
        """Return the node's own copy of the data, which may be behind."""
        return self._machine.store

    @property
    def cluster(self) -> ClusterView | None:
        """Return None: all keys are in one group."""
        return None

    @property
    def is_master(self) -> bool:
        """Say whether the node leads."""
        return self._node.status().role == "leader"

    @property
    def used_bytes(self) -> int:
        """Return how much keys and values take, for `maxmemory`."""
        return self._machine.store.used_bytes

    def keyspace(self) -> Keyspace:
        """Return how much the node holds."""
        store = self.store
        return Keyspace(store.count, store.deadline_count, store.used_bytes, store.expired_count)

    def status(self) -> Status:
        """Return what the node knows of itself and of its group."""
        return self._node.status()

    def measure(self) -> Measurements:
        """Return everything that the node measures; what failed inside an entry counts as an entry that failed."""
        measured = self._node.measure()
        if not self._machine.faults:
            return measured
        status = structs.replace(measured.status, apply_errors=measured.status.apply_errors + self._machine.faults)
        return structs.replace(measured, status=status)

    def connect(self, address: str, local_address: str, on_ready: Callable[[], object]) -> Connection | None:
        """Admit a client, or return None if there are too many; `on_ready` asks for a `turn` of the connection."""
        self.statistics.connections += 1
        if len(self.clients) >= self.limits.clients_max:
            self.statistics.rejected_connections += 1
            return None
        self._last_id += 1
        client = Client(self, self._last_id, address, local_address, self._default_reads)
        self.clients[client.id] = client
        return self._connection(client, on_ready)

    def _connection(self, client: Client, on_ready: Callable[[], object]) -> Connection:
        return Connection(client, self._node, self.limits, on_ready)

    def disconnect(self, connection: Connection) -> None:
        """Forget a client whose connection is gone."""
        connection.abandon()
        connection.client.close()
        self.clients.pop(connection.client.id, None)

    def stop_waiting(self) -> None:
        """Let everybody go who waits for something to pop: this node stops."""
        self.waiting.stop()

    def expire(self) -> None:
        """As leader, let the log's time advance if keys are due; give back some memory of what was flushed."""
        store = self.store
        if store.listener is not None:
            self.channels.review()
        for _ in range(_RELEASES_PER_CALL if store.has_garbage else 0):
            store.release_garbage()
        if not self._is_ticking and self._node.is_leader and store.first_due_ms() <= self._clock.wall_ms():
            self._is_ticking = True
            self._node.submit(TICK_COMMAND, self._on_tick)

    def _on_tick(self, outcome: bytes | Exception) -> None:
        self._is_ticking = False
        if isinstance(outcome, bytes) and self.store.first_due_ms() <= self.store.time_ms:
            self.expire()
