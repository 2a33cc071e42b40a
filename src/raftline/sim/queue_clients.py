"""Clients of queues: some push elements, others wait for them and pop; nothing comes twice, nothing gets lost.

Each consumer waits for a key of its own and for one that all share, through any node, and sometimes hangs up while it
waits. An element that was acknowledged and is neither delivered nor left must be explained by a pop whose outcome its
client does not know: one that hung up while its pop was on the way, lost its node, or was told so.
"""

from random import Random
from typing import Any, NoReturn

from raftline.errors import SafetyViolation
from raftline.kv.connection import Connection
from raftline.kv.machine import KvMachine
from raftline.kv.values.list import List
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.service_door import Line, Refusal, ServiceDoor

__all__ = ["QueueClients"]

_THINK_S = 0.3
_OPEN_S = 0.001
"""After so long a connection is open."""
_PATIENCE_S = 1.5
_PATIENCE_S_MAX = 20.0
_SHARED = b"queue"
_UNSURE = "may have been applied"


class QueueClients:
    """All of them: as many producers as consumers.

    Invariant: an element is in at most one of `acknowledged` and `unsure`, and stays there.
    """

    def __init__(self, cluster: SimCluster, door: ServiceDoor, count: int, random: Random) -> None:
        self.cluster = cluster
        self.door = door
        self.random = random.random
        self.stopping = False
        self.pushed = 0
        self.acknowledged: set[bytes] = set()
        self.unsure: set[bytes] = set()
        """They may have been pushed, or still be."""
        self.delivered: dict[bytes, str] = {}
        self.unknown_pops = 0
        self.hang_ups = 0
        self._consumers = [_Consumer(self, number) for number in range(count)]
        self._producers = [_Producer(self, number, count) for number in range(count)]

    def start(self) -> None:
        """Let every client begin."""
        for consumer in self._consumers:
            consumer.begin()
        for producer in self._producers:
            producer.begin()

    def stop(self) -> None:
        """Let no client begin anything new; those who wait go on waiting."""
        self.stopping = True

    def ready(self) -> Member | None:
        """Return some node that takes requests."""
        ready = self.cluster.ready()
        return ready[int(self.random() * len(ready))] if ready else None

    def deliver(self, element: bytes, consumer: str) -> None:
        """Note that a consumer got an element."""
        if element in self.delivered:
            self.violated(f"{element!r} came to {self.delivered[element]} and to {consumer} (G7)")
        if element not in self.acknowledged | self.unsure:
            self.violated(f"{consumer} got {element!r}, which was not pushed, as its producer was told (G19)")
        self.delivered[element] = consumer

    def check_end(self) -> None:
        """Nothing twice, nothing lost without an excuse, and nobody waits for what is there."""
        for consumer in self._consumers:
            consumer.check_waiting()
        for member in self.cluster.members.values():
            if isinstance(member.machine, KvMachine):
                self._check_left(member.name, member.machine)

    def _check_left(self, node: str, machine: KvMachine) -> None:
        keys = (_SHARED, *(consumer.key for consumer in self._consumers))
        lists = [value for key in keys if isinstance(value := machine.store.get(key), List)]
        left = [element for list_ in lists for element in list_.items]
        if twice := (set(left) & set(self.delivered)) or {each for each in left if left.count(each) > 1}:
            self.violated(f"{node} holds {sorted(twice)[:5]}, which were delivered, or more than once (G7)")
        lost = self.acknowledged - set(self.delivered) - set(left)
        unknown = self.unknown_pops + sum(consumer.has_unknown_pop for consumer in self._consumers)
        if len(lost) > unknown:
            self.violated(
                f"{node}: {sorted(lost)[:5]} were pushed and are neither delivered nor left: {len(lost)} are lost, "
                f"with {unknown} pops of unknown outcome (G6)"
            )

    def violated(self, what: str) -> NoReturn:
        """Say what is broken."""
        raise SafetyViolation(f"queues: {what}")


class _Producer:
    """Pushes numbered elements, to everybody's key or to that of one consumer."""

    def __init__(self, clients: QueueClients, number: int, count: int) -> None:
        self._clients = clients
        self._keys = (_SHARED, b"queue%d" % (number % count))
        self._attempt = 0

    def begin(self) -> None:
        """Push the next element after a while."""
        clients = self._clients
        clients.cluster.world.call_later(_THINK_S * clients.random(), self._push)

    def _push(self) -> None:
        clients = self._clients
        if clients.stopping:
            return
        member = clients.ready()
        line = None if member is None else clients.door.connect(member)
        if line is None:
            self.begin()
            return
        clients.pushed += 1
        element = b"%d" % clients.pushed
        key = self._keys[int(clients.random() * 2)]
        self._attempt += 1
        attempt = self._attempt
        clients.unsure.add(element)

        def done(reply: Any) -> None:
            if attempt != self._attempt:
                return
            self._attempt += 1
            line.close()
            if isinstance(reply, int):
                clients.unsure.discard(element)
                clients.acknowledged.add(element)
            elif isinstance(reply, Refusal) and _UNSURE not in str(reply):
                clients.unsure.discard(element)
            self.begin()

        clients.cluster.world.call_later(_OPEN_S, line.ask, (b"RPUSH", key, element), done)
        clients.cluster.world.call_later(_PATIENCE_S, done, None)


class _Consumer:
    """Waits for elements, one connection after the other."""

    def __init__(self, clients: QueueClients, number: int) -> None:
        self._clients = clients
        self.key = b"queue%d" % number
        self._name = f"consumer{number}"
        self._attempt = 0
        self._member: Member | None = None
        self._line: Line | None = None

    def begin(self) -> None:
        """Wait for the next element after a moment."""
        clients = self._clients
        clients.cluster.world.call_later(0.1 * clients.random(), self._wait)

    @property
    def has_unknown_pop(self) -> bool:
        """Whether it waits for a reply that may be on the way, or was when its node died."""
        waiter = None if self._line is None else self._line.blocked
        return self._line is not None and (waiter is None or not waiter.is_idle)

    def check_waiting(self) -> None:
        """While everything is well nobody waits for what its own node holds."""
        member, line = self._member, self._line
        waiter = None if line is None else line.blocked
        if member is None or waiter is None or not isinstance(member.machine, KvMachine):
            return
        held = [key for key in waiter.keys if member.machine.store.get(key) is not None]
        if held and waiter.is_idle:
            self._clients.violated(f"{self._name} waits for {held} on {member.name}, and nobody wakes it (G5)")

    def _wait(self) -> None:
        clients = self._clients
        if clients.stopping:
            return
        member = clients.ready()
        line = None if member is None else clients.door.connect(member)
        if line is None:
            self.begin()
            return
        self._member, self._line = member, line
        self._attempt += 1
        attempt = self._attempt
        seconds = b"0" if clients.random() < 0.6 else b"%.3f" % (0.1 + 3 * clients.random())
        name = b"BLPOP" if clients.random() < 0.5 else b"BRPOP"
        words = (name, self.key, _SHARED, seconds)
        world = clients.cluster.world
        world.call_later(_OPEN_S, line.ask, words, lambda reply: self._on_reply(attempt, line, reply))
        patience_s = 0.2 + _PATIENCE_S_MAX * clients.random() ** 2
        world.call_later(patience_s, self._hang_up, attempt, line)

    def _on_reply(self, attempt: int, line: Line, reply: Any) -> None:
        if attempt != self._attempt:
            return
        self._attempt += 1
        self._line = None
        line.close()
        if isinstance(reply, list):
            self._clients.deliver(reply[1], self._name)
        elif isinstance(reply, Refusal) and _UNSURE in str(reply):
            self._clients.unknown_pops += 1
        self.begin()

    def _hang_up(self, attempt: int, line: Line) -> None:
        """Close the connection; unless its node says that nothing was on the way, the outcome is unknown."""
        if attempt != self._attempt:
            return
        clients = self._clients
        self._attempt += 1
        self._line = None
        clients.unknown_pops += 1
        clients.hang_ups += 1
        line.close(self._on_end)
        self.begin()

    def _on_end(self, connection: Connection) -> None:
        waiter = connection.client.blocked
        if waiter is not None and waiter.is_idle:
            self._clients.unknown_pops -= 1
