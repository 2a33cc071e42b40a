"""Clients: they write, append, increment, compare and read through any node, time out, retry, and remember it all.

Each client has one operation under way. What it asked, what it was told and when becomes the history that is held
against the model afterwards; an answer that never came, or that left the outcome open, may take effect at any time.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

import msgspec

from raftline.errors import SafetyViolation
from raftline.linearizability.history import Operation
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.node_loop import NodeLoop

__all__ = ["Answer", "Door", "Workload", "WorkloadPlan"]

_TIMEOUT_FACTOR = 1.3
"""A node's clock may be slow, and looks at what is due from time to time only."""


class Answer(msgspec.Struct, frozen=True):
    """What a client was told: a value, or why there is none and whether the command may still take effect."""

    value: Any = None
    error: str | None = None
    may_take_effect: bool = False


class Door(Protocol):
    """How a client reaches a node: the production server's connection, without the socket."""

    def ask(self, member: Member, arguments: list[bytes], done: Callable[[Answer], None]) -> None:
        """Send one command to the node of `member`; `done` is called at most once, on the world's loop."""


_QUEUES_SHARE = 1 / 3


class WorkloadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is asked, and of what."""

    clients: int = 8
    keys: int = 6
    think_s_max: float = 0.5
    timeout_s: float = 4.0
    read_share: float = 0.4
    value_bytes_max: int = 40
    session_clients: int = 1
    """Others, that repeat commands in sessions until they know; none where sessions have to give way."""
    once_clients: int = 2
    """Others, that do so over RESP, with the decisions of raftline.Client, and give up at a deadline."""
    expiry_clients: int = 1
    """Others, with keys that expire."""
    lock_clients: int = 0
    """Others, that take turns with locks."""
    queue_clients: int = 0
    """Others, that wait for elements of queues, and as many that push them."""
    transaction_clients: int = 0
    """Others, with transactions and watched keys."""
    lull_s: float = 0.0
    """Everybody asks for so long and then asks nothing for as long, so that a group may fall asleep; 0: always busy."""

    @property
    def everybody(self) -> int:
        """Return how many clients of all kinds there are."""
        others = self.session_clients + self.once_clients + self.expiry_clients + self.lock_clients
        return self.clients + others + 2 * self.queue_clients + self.transaction_clients

    @staticmethod
    def draw(random: Random) -> "WorkloadPlan":
        """Draw a workload."""
        return WorkloadPlan(
            keys=2 + int(random.random() * 8),
            read_share=round(0.2 + 0.5 * random.random(), 2),
            think_s_max=round(0.2 + 0.5 * random.random(), 2),
            lock_clients=2,
            transaction_clients=2,
            value_bytes_max=8 + int((40_000 if random.random() < 0.2 else 4000) * random.random() ** 4),
        )

    def with_queues(self, random: Random) -> "WorkloadPlan":
        """Return it with clients of queues in a third of all runs: they ask for much."""
        return msgspec.structs.replace(self, queue_clients=2) if random.random() < _QUEUES_SHARE else self

    @staticmethod
    def draw_sleepy(random: Random) -> "WorkloadPlan":
        """Draw a workload that leaves a group time to sleep."""
        return WorkloadPlan(
            clients=8,
            keys=2 + int(random.random() * 4),
            think_s_max=round(0.1 + 0.9 * random.random(), 2),
            session_clients=0,
            once_clients=0,
            expiry_clients=0,
            lull_s=round(0.5 + 3.0 * random.random(), 2),
        )


class Workload:
    """All clients and their common history.

    Invariant: an operation stands in `operations` exactly once, when its outcome is known or given up.
    """

    def __init__(self, cluster: SimCluster, door: Door, plan: WorkloadPlan, random: Random) -> None:
        self.cluster = cluster
        self.plan = plan
        self._door = door
        self._random = random
        self._world = cluster.world
        self._stopping = False
        self._counter = 0
        self.under_way = 0
        self.operations: list[Operation] = []
        self.answered = 0
        self.refused = 0
        self.unknown = 0
        self.last_answer_at = 0.0
        self.has_lulls = plan.lull_s > 0

    def start(self) -> None:
        """Let every client begin after a moment of its own."""
        for number in range(self.plan.clients):
            client = _Client(self, f"c{number}", self._random)
            self._world.call_later(self._random.random(), client.go_on)

    def stop(self) -> None:
        """Let no client begin anything new."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        """Say whether the clients are to end."""
        return self._stopping

    def lull_left_s(self) -> float:
        """Return for how long nobody is to ask anything, 0 if everybody may."""
        if not self.has_lulls:
            return 0.0
        into_s = self._world.now % (2 * self.plan.lull_s)
        return 2 * self.plan.lull_s - into_s if into_s >= self.plan.lull_s else 0.0

    def next_value(self) -> str:
        """Return a value that nobody wrote before."""
        self._counter += 1
        padding = int(self._random.random() ** 3 * self.plan.value_bytes_max)
        return f"v{self._counter}" + "." * padding

    def ask(self, member: Member, arguments: list[bytes], done: Callable[[Answer], None]) -> None:
        """Pass a command on to a node."""
        self._door.ask(member, arguments, done)

    def record(self, operation: Operation, answer: Answer) -> None:
        """Remember what became of an operation."""
        if answer.error is None:
            self.answered += 1
            self.last_answer_at = self._world.now
        elif answer.may_take_effect:
            self.unknown += 1
        else:
            self.refused += 1
            return
        self.operations.append(operation)


class _Client:
    """One client."""

    def __init__(self, workload: Workload, name: str, random: Random) -> None:
        self._workload = workload
        self._name = name
        self._random = random
        self._world = workload.cluster.world
        self._asked = 0

    def go_on(self) -> None:
        """Ask the next thing of some node that is up, or look again a little later."""
        workload = self._workload
        if workload.stopping:
            return
        lull_s = workload.lull_left_s()
        if lull_s:
            self._world.call_later(lull_s + 0.3 * self._random.random(), self.go_on)
            return
        up = workload.cluster.ready()
        if not up:
            self._world.call_later(0.2, self.go_on)
            return
        member = up[int(self._random.random() * len(up))]
        kind, key, entered, arguments = self._choose()
        called_at = self._world.now
        self._asked += 1
        asked = self._asked
        workload.under_way += 1

        def done(answer: Answer) -> None:
            if self._asked != asked:
                return
            self._asked += 1
            workload.under_way -= 1
            known = answer.error is None
            reads = kind == "get"
            if known or not reads:
                operation = Operation(
                    client=self._name,
                    kind=kind,
                    key=key,
                    input=entered,
                    output=answer.value if known else None,
                    call_time=called_at,
                    return_time=self._world.now if known else None,
                    note=member.name,
                )
                workload.record(operation, answer)
            else:
                workload.refused += 1
            self._world.call_later(workload.plan.think_s_max * self._random.random(), self.go_on)

        loop = member.loop
        node_asked_at = 0.0 if loop is None else loop.time()

        def give_up() -> None:
            if self._asked == asked:
                _check_excuse(member, loop, called_at, node_asked_at)
                done(Answer(error="the client gave up", may_take_effect=True))

        self._world.call_later(workload.plan.timeout_s, give_up)
        workload.ask(member, arguments, done)

    def _choose(self) -> tuple[str, str, Any, list[bytes]]:
        """Return the next operation's kind, key and input for the history, and its arguments for the server."""
        random, workload = self._random.random, self._workload
        number = int(random() * workload.plan.keys)
        counter = number % 3 == 2
        key = f"{'n' if counter else 'k'}{number}"
        if random() < workload.plan.read_share:
            return "get", key, None, [b"GET", key.encode()]
        if counter:
            amount = int(random() * 9) - 4
            return "incrby", key, amount, [b"INCRBY", key.encode(), b"%d" % amount]
        kind = _TEXT_KINDS[int(random() * len(_TEXT_KINDS))]
        if kind in ("getdel", "del"):
            return kind, key, None, [kind.upper().encode(), key.encode()]
        value = workload.next_value()
        return kind, key, value, [kind.upper().encode(), key.encode(), value.encode()]


def _check_excuse(member: Member, loop: NodeLoop | None, called_at: float, node_asked_at: float) -> None:
    """A node that neither died nor stood still answers in time, by its own clock, if only with an error (G5)."""
    node = member.node
    if node is None or loop is None or member.loop is not loop or loop.paused or loop.resumed_s >= called_at:
        return
    waited_s = loop.time() - node_asked_at
    if waited_s > _TIMEOUT_FACTOR * node.config.request_timeout_s:
        raise SafetyViolation(f"{member.name}: a client waited {waited_s:.1f} s and heard nothing (G5)")


_TEXT_KINDS = ("set",) * 5 + ("append",) * 3 + ("setnx", "getset", "getdel", "del")
"""What is done to a text, by share."""
