"""A node of a sharded store as a Redis server: its first group has users and channels, the others have the keys."""

from collections.abc import Callable
from functools import partial
from typing import Any

from raftline.kv.channels import Channels
from raftline.kv.client import Client
from raftline.kv.cluster_view import ClusterView, Keyspace
from raftline.kv.connection import Connection
from raftline.kv.hooks import Listener
from raftline.kv.limits import Limits
from raftline.kv.machine import TICK_COMMAND, KvMachine
from raftline.kv.ports import KvNode
from raftline.kv.service import Service
from raftline.kv.sharded.connection import ShardedConnection
from raftline.kv.sharded.ports import Groups
from raftline.kv.sharded.router import Here, Redirects, Router
from raftline.kv.sharded.topology import Topology
from raftline.kv.store import Store
from raftline.kv.waiting import STOPPING
from raftline.runtime.ports import Clock
from raftline.runtime.requests import Consistency

__all__ = ["HOLD_S_MAX", "ShardedService"]

_RELEASES_PER_CALL = 10
_TURNS_TO_LOOK = 10
"""Who hosts what is looked at whenever that is told to have changed, and this often in any case."""
HOLD_S_MAX = 5.0
"""How long a command is held whose slot is not served."""


class ShardedService(Service):
    """The clients of one node, and what they see of all groups."""

    def __init__(
        self,
        node: KvNode,
        machine: KvMachine,
        limits: Limits,
        clock: Clock,
        host: str,
        port: int,
        *,
        groups: Groups,
        redirects: Redirects = "auto",
        hold_s_max: float = HOLD_S_MAX,
        default_reads: Consistency = "linearizable",
        password: str = "",
    ) -> None:
        """Prepare; `node` and `machine` are the first group's."""
        self._used_bytes = self._turns = 0
        super().__init__(node, machine, limits, clock, host, port, default_reads=default_reads, password=password)
        self.router = Router(groups, redirects, limits.waited_keys_max, self._on_begun, self._on_gone)
        self.channels = ShardedChannels(machine.store, self.router)
        self._topology = Topology(groups, redirects)
        self._hold_s_max = hold_s_max
        groups.watch(self._on_change)

    @property
    def cluster(self) -> ClusterView | None:
        """Return the cluster as this node sees it."""
        return self._topology

    @property
    def is_master(self) -> bool:
        """Say whether the node leads any group of keys."""
        return any(place.group.is_leader for place in self.router.all_here())

    @property
    def used_bytes(self) -> int:
        """Return how much the keys and values of all groups take here; it is some milliseconds old."""
        return self._used_bytes

    def _hosted_bytes(self) -> int:
        """Return what every replica here takes: one that catches up fills this node's memory as any other."""
        return sum(hosted.used_bytes for hosted in self.router.groups.hosted_groups().values())

    def keyspace(self) -> Keyspace:
        """Return the keys of the groups that this node leads, and the memory of all that it hosts."""
        here = self.router.all_here()
        led = [place.store for place in here if place.group.is_leader]
        return Keyspace(
            sum(store.count for store in led),
            sum(store.deadline_count for store in led),
            self._hosted_bytes(),
            sum(place.store.expired_count for place in here),
        )

    def _connection(self, client: Client, on_ready: Callable[[], object]) -> Connection:
        return ShardedConnection(client, self._node, self.limits, on_ready, self.router, self._hold_s_max)

    def expire(self) -> None:
        """Do so in every group that this node leads; let go on whoever waits for a slot that has moved."""
        super().expire()
        self._used_bytes = self.store.used_bytes + self._hosted_bytes()
        self._turns += 1
        for place in self.router.all_here() if self._turns % _TURNS_TO_LOOK == 0 else self.router.known_here():
            store = place.store
            for _ in range(_RELEASES_PER_CALL if store.has_garbage else 0):
                store.release_garbage()
            if store.waited is not None:
                place.review()
            self._tick(place)

    def _on_change(self) -> None:
        """Look at what has changed: groups that are new here, or gone."""
        self.router.all_here()

    def _tick(self, place: Here) -> None:
        store = place.store
        if not place.is_ticking and store.first_due_ms() <= self._clock.wall_ms() and place.group.is_leader:
            place.is_ticking = True
            place.group.submit(TICK_COMMAND, partial(self._on_ticked, place))

    def _on_ticked(self, place: Here, outcome: bytes | Exception) -> None:
        place.is_ticking = False
        if isinstance(outcome, bytes) and place.store.first_due_ms() <= place.store.time_ms:
            self._tick(place)

    def stop_waiting(self) -> None:
        """Let everybody go who waits for something to pop: this node stops."""
        super().stop_waiting()
        for place in self.router.known_here():
            place.waiting.stop()
        for client in self.clients.values():
            if client.blocked is not None:
                client.blocked.give_up(STOPPING)

    def _on_begun(self, place: Here) -> None:
        if self.waiting.is_stopping:
            place.waiting.stop()
        if self.store.listener is not None:
            place.store.listener = _KeyEvents(self.channels, place.store)

    def _on_gone(self, place: Here) -> None:
        place.store.listener = None
        place.waiting.wake_unless(lambda _key: False)


class ShardedChannels(Channels):
    """Channels are of the first group; events of keys come from every group with a replica here."""

    __slots__ = ("_router",)

    def __init__(self, store: Store, router: Router) -> None:
        super().__init__(store)
        self._router = router

    def listen(self, listener: Listener | None) -> None:
        """Let all stores know."""
        super().listen(listener)
        for place in self._router.all_here():
            place.store.listener = None if listener is None else _KeyEvents(self, place.store)


class _KeyEvents:
    """Who listens to one group's store."""

    __slots__ = ("_channels", "_store")

    def __init__(self, channels: Channels, store: Store) -> None:
        self._channels = channels
        self._store = store

    def on_message(self, channel: bytes, message: bytes, *, is_shard: bool = False) -> None:
        """Hand on a message."""
        self._channels.on_message(channel, message, is_shard=is_shard)

    def carry_out(self, write: Callable[[Any, list[bytes], int], bytes], args: list[bytes]) -> bytes:
        """Carry a write out, return its reply, and tell of its events."""
        return self._channels.carry_out_on(self._store, write, args)

    def on_expired(self, keys: list[bytes]) -> None:
        """Tell that keys expired."""
        self._channels.on_expired(keys)

    def on_missed(self, key: bytes) -> None:
        """Tell that a key was read that is not there."""
        self._channels.on_missed(key)
