"""Clients with sessions, who repeat a command until they know what it came to: it must have counted exactly once (G7).

Each owns a counter and increments it by one, so the reply to its n-th command is n, however often and through whatever
nodes it was sent, and whatever crashed in between. They are impatient, so that copies of a command do meet in the log.
"""

import asyncio
from collections import Counter
from random import Random
from typing import NoReturn

from raftline.core.entries import KIND_COMMAND
from raftline.core.ids import Term
from raftline.errors import ApplyError, RaftlineError, SafetyViolation
from raftline.kv.commands.typed import existing
from raftline.kv.machine import KvMachine, encode_command
from raftline.replica.commands import IN_SESSION, SESSION_HEADER
from raftline.sim.cluster import Member, SimCluster

__all__ = ["SessionClients", "repeated"]

_PATIENCE_S = 1.5
_THINK_S = 0.8
_AT_TWO_NODES = 0.2


class SessionClients:
    """All of them.

    Invariant: a client has at most one command that it does not know the outcome of.
    """

    def __init__(self, cluster: SimCluster, count: int, random: Random) -> None:
        self._cluster = cluster
        self._clients = [_Client(cluster, f"counter{number}", random) for number in range(count)]

    def start(self) -> None:
        """Let every client begin."""
        for client in self._clients:
            client.begin()

    def stop(self) -> None:
        """Let no client begin another command; the last one is repeated until it is known."""
        for client in self._clients:
            client.stopping = True

    @property
    def waiting(self) -> list[str]:
        """Return the names of those who do not know the outcome of their last command."""
        return [client.name for client in self._clients if client.sent > client.known]

    def check_end(self) -> None:
        """Each counter stands, on every node, at the number of its client's commands."""
        for client in self._clients:
            for member in self._cluster.members.values():
                if isinstance(member.machine, KvMachine):
                    client.check_value(member, existing(member.machine.store, client.name.encode(), bytes))


class _Client:
    """One client."""

    def __init__(self, cluster: SimCluster, name: str, random: Random) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._random = random.random
        self._command = encode_command([b"INCRBY", name.encode(), b"1"])
        self._session: int | None = None
        self.name = name
        self.sent = 0
        self.known = 0
        self.stopping = False

    def begin(self) -> None:
        """Send the next command, or open the session first, after a while."""
        self._world.call_later(_THINK_S * self._random(), self._next)

    def check_value(self, member: Member, value: bytes | None) -> None:
        """Compare what a node holds with what is known here."""
        allowed = {self.known, self.sent}
        if int(value or b"0") not in allowed:
            self._violated(f"{member.name} holds {value!r} after {self.known} commands, each carried out once")

    def _next(self) -> None:
        if self.stopping:
            return
        if self._session is not None:
            self.sent += 1
        self._attempt()

    def _attempt(self) -> None:
        """Send what is unknown to a node, sometimes to two; nobody is waited for long."""
        ready = self._cluster.ready()
        count = 2 if self._random() < _AT_TWO_NODES else 1
        for _ in range(min(count, len(ready))):
            self._send(ready[int(self._random() * len(ready))])
        expected = self.sent

        def look_again() -> None:
            if self.known < self.sent == expected or self._session is None:
                self._attempt()

        self._world.call_later(0.05 + _PATIENCE_S * self._random(), look_again)

    def _send(self, member: Member) -> None:
        node, loop = member.node, member.loop
        assert node is not None, "ready"
        assert loop is not None, "ready"
        sequence = self.sent
        if self._session is None:
            opened = loop.spawn(node.open_session())
            opened.add_done_callback(self._on_opened)
        else:
            sent = loop.spawn(node.propose(self._command, session=self._session, sequence=sequence))
            sent.add_done_callback(lambda outcome: self._on_outcome(sequence, outcome))

    def _on_opened(self, outcome: "asyncio.Future[int]") -> None:
        if not outcome.cancelled() and outcome.exception() is None and self._session is None:
            self._session = outcome.result()
            self.begin()

    def _on_outcome(self, sequence: int, outcome: "asyncio.Future[bytes]") -> None:
        if outcome.cancelled():
            return
        error = outcome.exception()
        if sequence != self.sent or self.known == sequence:
            return  # an answer to a copy that nobody waits for
        if error is None:
            if outcome.result() != b":%d\r\n" % sequence:
                self._violated(f"command {sequence} of session {self._session} was answered {outcome.result()!r} (G7)")
            self.known = sequence
            self.begin()
        elif isinstance(error, ApplyError):
            self._violated(f"command {sequence} of session {self._session} was refused: {error} (G8, G9)")
        elif not isinstance(error, RaftlineError):
            raise error

    def _violated(self, what: str) -> NoReturn:
        raise SafetyViolation(f"{self.name}: {what}")


def repeated(committed: list[tuple[Term, bytes, int]]) -> int:
    """Return how many committed entries repeat a session's command that stands in the log already."""
    seen: Counter[bytes] = Counter(
        data[: SESSION_HEADER.size]
        for _, data, kind in committed
        if kind == KIND_COMMAND and data and data[0] == IN_SESSION
    )
    return sum(count - 1 for count in seen.values())
