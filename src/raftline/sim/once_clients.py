"""Clients with sessions over RESP, who decide as raftline.Client does: what they are told must be what happened (G8).

Each appends numbered words to a key of its own, in RAFTLINE.ONCE, through any node. It repeats a word until it knows
what it came to, gives up at a deadline, and takes a new session whenever the decisions of `client.call` allow it. At
the end each value is held against what was told: every word acknowledged is there once, none that was "not applied".
"""

from collections.abc import Callable
from random import Random
from typing import NoReturn

from raftline.client.call import Call, Kind, Outcome, outcome_of
from raftline.client.errors import CommandFailed, ReplyLost, SessionLost
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine
from raftline.sim.cluster import SimCluster
from raftline.sim.workload import Answer, Door

__all__ = ["OnceClients"]

_PATIENCE_S = 1.5
_PATIENCE_S_SCARCE = 0.1
_SHORT = 0.7
_THINK_S = 0.8
_DEADLINE_S = 8.0
_NEW_SESSION = 0.3
"""How often a client leaves its session for a new one where sessions are scarce. There it waits less for answers, or
more, so that a command is often unknown while its session, or its reply, has to make room."""
_WORD_BYTES = 5


class OnceClients:
    """All of them; `evicts` says that sessions and replies may have to make room.

    Invariant: a client has at most one command that it does not know the outcome of and still repeats.
    """

    def __init__(self, cluster: SimCluster, door: Door, count: int, random: Random, *, evicts: bool) -> None:
        self._cluster = cluster
        self._clients = [_Client(self, f"once{number}", random) for number in range(count)]
        self.cluster = cluster
        self.door = door
        self.evicts = evicts
        self.stopping = False
        self.told: dict[str, int] = {}
        """How often each way to end came up: acknowledged, and the names of exceptions."""

    def start(self) -> None:
        """Let every client begin."""
        for client in self._clients:
            client.begin()

    def stop(self) -> None:
        """Let no client begin another command; the last one is repeated until it is known or given up."""
        self.stopping = True

    @property
    def waiting(self) -> list[str]:
        """Return the names of those who have a command under way."""
        return [client.name for client in self._clients if client.is_busy]

    def check_end(self) -> None:
        """Hold every value, on every node, against what its client was told."""
        for client in self._clients:
            for member in self._cluster.members.values():
                if isinstance(member.machine, KvMachine):
                    client.check_value(member.name, member.machine.store.get(client.name.encode()))

    def count(self, what: str) -> None:
        """Note how a command ended."""
        self.told[what] = self.told.get(what, 0) + 1


class _Client:
    """One client."""

    def __init__(self, clients: OnceClients, name: str, random: Random) -> None:
        self._clients = clients
        self._random = random.random
        self.name = name
        self.is_busy = False
        self._word = 0
        self._session: int | None = None
        self._sequence = 0
        self._call = Call(Kind.READ, 0.0, self._random)
        self._attempt_id = 0
        self._acknowledged: set[int] = set()
        self._unknown: set[int] = set()
        self._known_count = 0
        self._unknown_since = 0

    def begin(self) -> None:
        """Append the next word after a while."""
        self._clients.cluster.world.call_later(_THINK_S * self._random(), self._next)

    def check_value(self, node: str, held: object) -> None:
        """Every acknowledged word once, unknown ones at most once, in order, and nothing else."""
        value = held if isinstance(held, bytes) else b""
        words = [int(value[start : start + _WORD_BYTES]) for start in range(0, len(value), _WORD_BYTES)]
        if words != sorted(set(words)):
            self._violated(f"{node} holds {words[-20:]}: a word twice, or out of order (G7)")
        if missing := self._acknowledged - set(words):
            self._violated(f"{node} lacks {sorted(missing)[:5]}, which were acknowledged")
        under_way = {self._word} if self.is_busy else set()
        if extra := set(words) - self._acknowledged - self._unknown - under_way:
            self._violated(f"{node} holds {sorted(extra)[:5]}, which were not applied, as its client was told (G19)")

    def _next(self) -> None:
        clients = self._clients
        if clients.stopping:
            return
        self.is_busy = True
        self._word += 1
        self._call = Call(Kind.WRITE, clients.cluster.world.now + _DEADLINE_S, self._random)
        if clients.evicts and self._random() < _NEW_SESSION and not self._unknown_since:
            self._session = None
        self._take_number()

    def _take_number(self) -> None:
        """Send the command under a new number, in a new session if there is none."""
        if self._session is None:
            self._open(self._call.beside())
        else:
            self._sequence += 1
            self._send()

    def _open(self, call: Call) -> None:
        def on_reply(value: object) -> None:
            assert isinstance(value, int), "a session's number"
            self._session, self._sequence = value, 0
            self._take_number()

        self._ask([b"RAFTLINE.SESSION"], call, on_reply, lambda: self._open(call))

    def _send(self) -> None:
        command = [b"APPEND", self.name.encode(), b"%0*d" % (_WORD_BYTES, self._word)]
        self._ask(
            [b"RAFTLINE.ONCE", b"%d" % (self._session or 0), b"%d" % self._sequence, *command],
            self._call,
            self._on_reply,
            self._again,
        )

    def _again(self) -> None:
        if self._call.needs_session:
            self._session = None
            self._call.needs_session = False
            self._take_number()
        else:
            self._send()

    def _ask(
        self, words: list[bytes], call: Call, on_reply: Callable[[object], None], again: Callable[[], None]
    ) -> None:
        """Make one attempt, at a node that takes requests; what is not answered soon counts as lost."""
        clients = self._clients
        self._attempt_id += 1
        attempt = self._attempt_id
        ready = clients.cluster.ready()

        def on_answer(answer: Answer) -> None:
            if attempt != self._attempt_id:
                return  # to an attempt that was given up
            self._attempt_id += 1
            if answer.error is None:
                on_reply(answer.value)
            else:
                self._on_failure(call, outcome_of(answer.error), answer.error, again)

        def give_up() -> None:
            if attempt == self._attempt_id:
                self._attempt_id += 1
                self._on_failure(call, Outcome.LOST if ready else Outcome.NOT_SENT, "no answer", again)

        if ready:
            clients.door.ask(ready[int(self._random() * len(ready))], words, on_answer)
        is_short = clients.evicts and self._random() < _SHORT
        patience_s = _PATIENCE_S_SCARCE if is_short else _PATIENCE_S * (1 + 2 * clients.evicts)
        clients.cluster.world.call_later(0.05 * self._random() + patience_s * self._random(), give_up)

    def _on_failure(self, call: Call, outcome: Outcome, text: str, again: Callable[[], None]) -> None:
        """Do what raftline.Client would do next."""
        world = self._clients.cluster.world
        try:
            delay_s = call.on_failure(outcome, ConnectionError(text), world.now)
        except CommandFailed as error:
            self._on_failed(error)
        except ConnectionError as error:
            self._violated(f"word {self._word} was refused: {error} (G8)")
        else:
            if call.needs_session and not self._clients.evicts:
                self._violated(f"session {self._session} is gone, which nobody closed: {text} (G9)")
            world.call_later(delay_s, again)

    def _on_reply(self, value: object) -> None:
        """Compare the length with what it can be: words that are unknown may have been applied, others were."""
        assert isinstance(value, int), "the length"
        low, high = self._known_count + 1, self._known_count + self._unknown_since + 1
        if value % _WORD_BYTES or not low <= value // _WORD_BYTES <= high:
            self._violated(f"word {self._word} was answered {value} bytes, with {low} to {high} words applied (G7, G8)")
        self._known_count = value // _WORD_BYTES
        self._unknown_since = 0
        self._acknowledge()

    def _on_failed(self, error: CommandFailed) -> None:
        if isinstance(error, SessionLost | ReplyLost) and not self._clients.evicts:
            self._violated(f"word {self._word}: {error}, where nothing had to make room (G8, G9)")
        self._clients.count(type(error).__name__)
        if isinstance(error, SessionLost):
            self._session = None
        if isinstance(error, ReplyLost):
            self._unknown_since += 1
            self._acknowledge()
            return
        if error.may_have_been_applied:
            self._unknown_since += 1
            self._unknown.add(self._word)
        self.is_busy = False
        self.begin()

    def _acknowledge(self) -> None:
        self._acknowledged.add(self._word)
        self._clients.count("acknowledged")
        self.is_busy = False
        self.begin()

    def _violated(self, what: str) -> NoReturn:
        raise SafetyViolation(f"{self.name}: {what}")
