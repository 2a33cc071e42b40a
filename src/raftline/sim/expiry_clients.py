"""Clients of keys that expire: gone is gone for everybody, not before its time, and not long after it.

Each key is written once and then read through one node after the other. When a key goes depends on the log's time, so
the history of the other clients, which knows no time, is not the place for it.
"""

from collections.abc import Callable
from random import Random
from typing import NoReturn

from raftline.errors import SafetyViolation
from raftline.sim.cluster import SimCluster
from raftline.sim.workload import Answer, Door

__all__ = ["ExpiryClients"]

_TIMEOUT_S = 4.0
_LIFE_MS_MIN = 50
_LIFE_MS_MAX = 2500
_CLOCKS_APART_S = 0.45
"""Clocks that never jumped nor drifted are at most this far apart, the rest of a request's way included."""
_LOOKS_AFTER = 3


class ExpiryClients:
    """All of them.

    Invariant: a key has one client, which knows when its value may be there.
    """

    def __init__(self, cluster: SimCluster, door: Door, count: int, random: Random) -> None:
        self.cluster = cluster
        self.door = door
        self.random = random.random
        self.stopping = False
        self.keys = 0
        self._count = count

    def start(self) -> None:
        """Let every client begin with a key."""
        for _ in range(self._count):
            _Key(self).begin()

    def stop(self) -> None:
        """Let no client ask anything more."""
        self.stopping = True

    @property
    def clocks_agree(self) -> bool:
        """Say whether all clocks went as they should so far, those of machines that are gone included."""
        return all(member.clock.is_steady for member in self.cluster.everybody.values())


class _Key:
    """The life of one key, and its client."""

    def __init__(self, clients: ExpiryClients) -> None:
        clients.keys += 1
        self._clients = clients
        self._world = clients.cluster.world
        self._name = f"e{clients.keys}".encode()
        self._life_s = (_LIFE_MS_MIN + int(clients.random() * (_LIFE_MS_MAX - _LIFE_MS_MIN))) / 1000
        self._set_called_at = 0.0
        self._set_answered_at: float | None = None
        self._looks_left = _LOOKS_AFTER

    def begin(self) -> None:
        """Write the key; whatever becomes of that, read it afterwards."""
        self._set_called_at = self._world.now
        life_ms = b"%d" % int(self._life_s * 1000)
        self._ask([b"SET", self._name, b"here", b"PX", life_ms], self._on_set)

    def _ask(self, arguments: list[bytes], on_answer: Callable[[Answer, float], None]) -> None:
        """Ask some node; no answer within a while is one, too."""
        clients, world = self._clients, self._world
        ready = clients.cluster.ready()
        called_at = world.now
        open_ = [True]

        def done(answer: Answer) -> None:
            if open_:
                open_.clear()
                on_answer(answer, called_at)

        world.call_later(_TIMEOUT_S, done, Answer(error="no answer", may_take_effect=True))
        if ready:
            clients.door.ask(ready[int(clients.random() * len(ready))], arguments, done)

    def _on_set(self, answer: Answer, _called_at: float) -> None:
        if answer.error is None:
            self._set_answered_at = self._world.now
            self._look_again()
        else:
            self._end()

    def _look_again(self) -> None:
        if self._clients.stopping:
            return
        self._world.call_later(
            0.4 * self._life_s * self._clients.random(), self._ask, [b"GET", self._name], self._on_read
        )

    def _on_read(self, answer: Answer, called_at: float) -> None:
        """Hold an answer against what is known of the key; go on with another one when it is long gone."""
        assert self._set_answered_at is not None, "written"
        gone = self._looks_left < _LOOKS_AFTER
        if answer.error is not None:
            pass
        elif answer.value is None:
            if self._clients.clocks_agree and self._world.now < self._set_called_at + self._life_s - _CLOCKS_APART_S:
                self._violated(f"is gone after {self._world.now - self._set_called_at:.3f} s")
            self._looks_left -= 1
        elif gone:
            self._violated("was gone and is there again (G1)")
        elif self._clients.clocks_agree and called_at > self._set_answered_at + self._life_s + _CLOCKS_APART_S:
            self._violated(f"is still there {called_at - self._set_answered_at:.3f} s after it was set")
        if self._looks_left:
            self._look_again()
        else:
            self._end()

    def _end(self) -> None:
        if not self._clients.stopping:
            self._world.call_later(self._clients.random(), _Key(self._clients).begin)

    def _violated(self, what: str) -> NoReturn:
        raise SafetyViolation(f"key {self._name.decode()}, which was to expire after {self._life_s:.3f} s, {what}")
