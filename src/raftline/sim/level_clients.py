"""Clients that go on for hours as real ones do, and remember nothing but what they are about to do.

Each keeps a connection, some of its commands go in a session and are repeated until they are known; sessions are
closed, or left behind, and replaced by new ones. Histories are not kept: what is asked here is whether anything grows.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from raftline.errors import SafetyViolation
from raftline.sim.cluster import SimCluster
from raftline.sim.level_words import LevelWords, Words
from raftline.sim.service_door import Line, Refusal, ServiceDoor

__all__ = ["LevelClients"]

_PATIENCE_S = 6.0
_PAUSE_S = 0.2
_IN_SESSION = 0.4
_REPEATED = 0.1
"""Of the commands in a session, so many are sent again though their reply is known."""
_LATER = frozenset({"CLUSTERDOWN", "TRYAGAIN", "LOADING"})
_NO_ANSWER = Refusal("TRYAGAIN no answer")
_SESSION_GONE = frozenset({"NOSESSION", "OUTDATED", "FORGOTTEN"})


class LevelClients:
    """All of them; `asked` and `answered` are counted, nothing else is."""

    def __init__(
        self,
        cluster: SimCluster,
        door: ServiceDoor,
        random: Random,
        *,
        count: int,
        keys: int,
        think_s_max: float,
        change: float,
    ) -> None:
        self.cluster = cluster
        self.door = door
        self.random = random.random
        self.words = LevelWords(random, keys)
        self.to_fill = self.words.fill()
        """Commands that make the keys, taken before any other."""
        self.think_s_max = think_s_max
        self.change = change
        """How often, as a share of all commands, a session is closed, or left behind, or a connection is replaced."""
        self.asked = 0
        self.answered = 0
        self._count = count

    def start(self) -> None:
        """Let every client begin."""
        for _ in range(self._count):
            _Client(self).rest()


class _Client:
    """One client; one command under way."""

    def __init__(self, clients: LevelClients) -> None:
        self._clients = clients
        self._world = clients.cluster.world
        self._random = clients.random
        self._line: Line | None = None
        self._session: int | None = None
        self._sequence = 0
        self._attempt = 0

    def rest(self) -> None:
        """Go on after a while."""
        clients = self._clients
        think_s = 0.0 if clients.to_fill else clients.think_s_max * self._random()
        self._world.call_later(think_s, self._next)

    def _next(self) -> None:
        """Send the next command, or look after session and connection."""
        clients = self._clients
        if clients.to_fill:
            missing = clients.to_fill.pop()
            self._send(missing, lambda reply: self._on_filled(missing, reply))
            return
        chance = self._random()
        if chance < clients.change:
            self._hang_up()
        if self._session is not None and chance < clients.change:
            self._session = None
        if self._session is not None and chance > 1 - clients.change:
            words: Words = (b"RAFTLINE.SESSION", b"CLOSE", b"%d" % self._session)
            self._session = None
            self._send(words, self._on_reply)
        elif self._random() >= _IN_SESSION:
            self._send(clients.words.next(), self._on_reply)
        elif self._session is None:
            self._send((b"RAFTLINE.SESSION",), self._on_session)
        else:
            self._sequence += 1
            once = (b"RAFTLINE.ONCE", b"%d" % self._session, b"%d" % self._sequence, *clients.words.next())
            self._send(once, lambda reply: self._on_once(once, reply))

    def _send(self, words: Words, on_reply: Callable[[Any], None]) -> None:
        """Ask over the connection there is, or a new one; what is not answered in time is not waited for."""
        clients = self._clients
        if self._line is None:
            ready = clients.cluster.ready()
            self._line = clients.door.connect(ready[int(self._random() * len(ready))]) if ready else None
        self._attempt += 1
        attempt = self._attempt
        clients.asked += 1

        def give_up() -> None:
            if attempt == self._attempt:
                self._attempt += 1
                self._hang_up()
                on_reply(_NO_ANSWER)

        def answered(reply: Any) -> None:
            if attempt == self._attempt:
                self._attempt += 1
                timer.cancel()
                clients.answered += 1
                on_reply(reply)

        timer = self._world.call_later(_PATIENCE_S if self._line is not None else _PAUSE_S, give_up)
        if self._line is not None:
            self._line.ask(words, answered)

    def _on_reply(self, reply: Any) -> None:
        self._refused(reply)
        self.rest()

    def _on_filled(self, words: Words, reply: Any) -> None:
        """Keep what was not done for later: a key that was left out would grow out of nothing."""
        if self._refused(reply):
            self._clients.to_fill.append(words)
            self._world.call_later(_PAUSE_S, self._next)
        else:
            self.rest()

    def _on_session(self, reply: Any) -> None:
        if not self._refused(reply):
            self._session, self._sequence = int(reply), 0
        self.rest()

    def _on_once(self, once: Words, reply: Any) -> None:
        """Send what is not known again, now and then also what is."""
        if self._session is not None and (self._refused(reply) or self._random() < _REPEATED):
            self._world.call_later(_PAUSE_S, self._send, once, lambda again: self._on_once(once, again))
        else:
            self.rest()

    def _refused(self, reply: Any) -> bool:
        """Say whether the outcome is unknown or there is none; raise if the command was wrong."""
        if not isinstance(reply, Refusal):
            return False
        code = str(reply).partition(" ")[0]
        if code in _SESSION_GONE:
            self._session = None
            return False
        if code not in _LATER:
            raise SafetyViolation(f"a command that is right was refused: {reply}")
        self._hang_up()
        return True

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
