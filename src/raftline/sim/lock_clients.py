"""Clients that take turns with locks, through any node, and write with their tokens to what the locks guard.

A holder renews or does not, releases or is gone; it goes on for as long as it was told that it holds the lock, and no
clock tells it otherwise. So two of them may be at work at once, and what is guarded has to tell them apart by their
tokens. `lock_checks` looks at the same from the side of the log.
"""

from collections.abc import Callable
from random import Random

from raftline.errors import SafetyViolation
from raftline.sim.cluster import SimCluster
from raftline.sim.workload import Answer, Door

__all__ = ["LockClients"]

_LOCKS = 2
_TIMEOUT_S = 1.5
_LEASE_MS_MIN = 100
_LEASE_MS_MAX = 1500
_TRIES = 6
_STEPS_MAX = 4
_RELEASES = 0.6
_IMPOSTOR = 0.15
"""How often a holder is somebody who has only heard of the token: its owner's name is another one."""


class _Guarded:
    """What a lock guards: it refuses tokens below one that it has seen, and no two owners may come with the same."""

    def __init__(self) -> None:
        self.highest = 0
        self.owners: dict[int, str] = {}

    def write(self, owner: str, token: int) -> bool:
        """Take a write, or refuse it."""
        if self.owners.setdefault(token, owner) != owner:
            raise SafetyViolation(f"token {token} is that of {self.owners[token]}, and {owner} comes with it, too")
        if token < self.highest:
            return False
        self.highest = token
        return True


class LockClients:
    """All of them."""

    def __init__(self, cluster: SimCluster, door: Door, count: int, random: Random) -> None:
        self.cluster = cluster
        self.door = door
        self.random = random.random
        self.stopping = False
        self.owners = 0
        self.counts = {"locks acquired": 0, "guarded writes": 0, "guarded writes refused": 0, "renewals refused": 0}
        self.guarded = [_Guarded() for _ in range(_LOCKS)]
        self._count = count

    def start(self) -> None:
        """Let every client begin."""
        for _ in range(self._count):
            _Holder(self).begin()

    def stop(self) -> None:
        """Let no client ask anything more."""
        self.stopping = True


class _Holder:
    """One client, on its way to one acquisition and through it."""

    def __init__(self, clients: LockClients) -> None:
        clients.owners += 1
        random = clients.random
        self._clients = clients
        self._world = clients.cluster.world
        self._owner = f"o{clients.owners}"
        self._lock = int(random() * _LOCKS)
        self._lease_ms = _LEASE_MS_MIN + int(random() * (_LEASE_MS_MAX - _LEASE_MS_MIN))
        self._token = 0
        self._tries_left = _TRIES
        self._steps_left = int(random() * (_STEPS_MAX + 1))

    def begin(self) -> None:
        """Ask for the lock; an answer that is lost is asked for again, under the same name."""
        self._ask("ACQUIRE", [str(self._lease_ms)], self._on_acquired)

    def _on_acquired(self, answer: Answer) -> None:
        if answer.error is None:
            self._token = answer.value
            self._clients.counts["locks acquired"] += 1
            self._go_on()
            return
        self._tries_left -= 1
        if self._tries_left:
            self._later(self.begin)
        else:
            self._end()

    def _go_on(self) -> None:
        """Write, then renew and go on, or end it in one way or another."""
        clients, random = self._clients, self._clients.random
        if clients.guarded[self._lock].write(self._owner, self._token):
            clients.counts["guarded writes"] += 1
        else:
            clients.counts["guarded writes refused"] += 1
        if random() < _IMPOSTOR:
            verb = "RELEASE" if random() < 0.5 else "RENEW"
            more = [str(self._lease_ms)] * (verb == "RENEW")
            self._ask(verb, [str(self._token), *more], lambda _answer: None, owner="impostor")
        if self._steps_left:
            self._steps_left -= 1
            self._later(self._renew)
        elif random() < _RELEASES:
            self._later(self._release)
        else:
            self._end()

    def _renew(self) -> None:
        self._ask("RENEW", [str(self._token), str(self._lease_ms)], self._on_renewed)

    def _on_renewed(self, answer: Answer) -> None:
        """Go on in any case: a holder that does not know that it lost the lock is what tokens are for."""
        if answer.error is not None and answer.error.startswith("NOTHELD"):
            self._clients.counts["renewals refused"] += 1
        self._go_on()

    def _release(self) -> None:
        self._ask("RELEASE", [str(self._token)], lambda _answer: self._end())

    def _ask(self, verb: str, more: list[str], on_answer: Callable[[Answer], None], owner: str = "") -> None:
        """Ask some node; no answer within a while is one, too."""
        clients = self._clients
        if clients.stopping:
            return
        ready = clients.cluster.ready()
        open_ = [True]

        def done(answer: Answer) -> None:
            if open_:
                open_.clear()
                on_answer(answer)

        self._world.call_later(_TIMEOUT_S, done, Answer(error="no answer", may_take_effect=True))
        if ready:
            words = ["RAFTLINE.LOCK", verb, f"lock{self._lock}", owner or self._owner, *more]
            member = ready[int(clients.random() * len(ready))]
            clients.door.ask(member, [word.encode() for word in words], done)

    def _later(self, what: Callable[[], None]) -> None:
        """Wait for up to a lease and a half, so that some come too late."""
        self._world.call_later(1.5 * self._clients.random() * self._lease_ms / 1000, what)

    def _end(self) -> None:
        if not self._clients.stopping:
            self._world.call_later(0.5 * self._clients.random(), _Holder(self._clients).begin)
