"""Clients that speak RESP with any node in a session, and repeat what they have no answer to through other nodes.

They decide as `raftline.Client` does (`client.call`). The groups that they use have room for few sessions where a
scenario says so: then a repeated command finds its session forgotten by a group that may have carried the command out.
Most add words to lists, each a word of its own: one that stands there twice is seen (G16).
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from raftline.client.call import Call, Kind, Outcome, outcome_of
from raftline.client.errors import CommandFailed, ReplyLost
from raftline.errors import SafetyViolation
from raftline.linearizability.history import Operation
from raftline.sim.service_door import Refusal
from raftline.sim.sharded.clients import ShardClients
from raftline.sim.sharded.crowd import Crowd
from raftline.sim.sharded.nodes import SharedNodes
from raftline.sim.sharded.visitors import Caller, Undone, Unknown

__all__ = ["Retriers"]

_ANSWER_S_MIN, _ANSWER_S_MAX = 0.03, 0.8
_THINK_S_MAX = 0.1
_DEADLINE_S = 4.0
_LISTS = 0.8
_HANGS_UP = 0.3
"""How often a client does not wait for the answer, and asks again after a while."""
_HUNG_UP_S, _AGAIN_S_MAX = 0.02, 1.2


class Retriers(Crowd):
    """All of them; their history is part of that of the other clients."""

    def __init__(self, nodes: SharedNodes, clients: ShardClients, random: Random, count: int) -> None:
        super().__init__(nodes.world)
        self.repeated = 0
        self.lost = 0
        """Commands whose outcome nobody knows, because their session was forgotten."""
        self.clients = [_Retrier(self, nodes, clients, random, f"r{number}") for number in range(count)]


class _Retrier(Caller):
    """One client, with one command at a time."""

    def __init__(
        self, retriers: Retriers, nodes: SharedNodes, clients: ShardClients, random: Random, name: str
    ) -> None:
        super().__init__(nodes, clients, random, name)
        self._all = retriers
        self._session: int | None = None
        self._sequence = 0

    async def run(self) -> None:
        """Do one thing after the other."""
        tags = self._clients.tags
        while not self._clients.stopping:
            await asyncio.sleep(_THINK_S_MAX * self._draw())
            tag = tags[int(self._draw() * len(tags))]
            if self._draw() < _LISTS:
                key, word = f"l:{{{tag}}}", self._clients.next_word()
                await self._carried_out("append", key, word, [b"RPUSH", key.encode(), word.encode()], len(word))
            else:
                key = f"n:{{{tag}}}"
                await self._carried_out("incrby", key, 1, [b"INCRBY", key.encode(), b"1"], 1)

    async def _carried_out(self, kind: str, key: str, entered: Any, words: Sequence[bytes], factor: int) -> None:
        """Have a command carried out once, and remember what is known of it."""
        called_s = self._world.now
        try:
            answer = await self._once(words, Call(Kind.WRITE, called_s + _DEADLINE_S, self._draw))
        except CommandFailed as failure:
            self._session = None
            self._all.lost += isinstance(failure, ReplyLost) or failure.may_have_been_applied
            if failure.may_have_been_applied:
                self._clients.record(Operation(self.name, kind, entered, None, called_s, None, key))
            return
        self._clients.record(Operation(self.name, kind, entered, answer * factor, called_s, self._world.now, key))

    async def _once(self, words: Sequence[bytes], call: Call) -> Any:
        """Repeat a command until it is answered; raises `CommandFailed`."""
        sequence = 0
        while True:
            if self._session is None or call.needs_session:
                self._session, self._sequence, sequence = await self._open(call.beside()), 0, 0
            if not sequence:
                self._sequence += 1
                sequence = self._sequence
            once = [b"RAFTLINE.ONCE", b"%d" % self._session, b"%d" % sequence, *words]
            answer = await self._attempt(once, call)
            if answer is not None:
                return answer

    async def _open(self, call: Call) -> int:
        while True:
            answer = await self._attempt([b"RAFTLINE.SESSION"], call)
            if answer is not None:
                return int(answer)

    async def _attempt(self, words: Sequence[bytes], call: Call) -> Any:
        """Ask some node; return None if it is to be tried again, after a pause. Raises `CommandFailed`."""
        try:
            answer = await self._asked(words)
        except Undone as undone:
            failure: Exception = undone
            outcome = Outcome.NOT_SENT
        except Unknown as unknown:
            failure, outcome = unknown, Outcome.LOST
        else:
            if not isinstance(answer, Refusal):
                return answer
            failure, outcome = answer, outcome_of(str(answer))
        if outcome is Outcome.FINAL:
            raise SafetyViolation(f"{self.name} is refused {words[0].decode()} for no reason: {failure}")
        self._all.repeated += 1
        self._at += 1
        await asyncio.sleep(call.on_failure(outcome, failure, self._world.now))
        return None

    async def _asked(self, words: Sequence[bytes]) -> Any:
        """Return what some node answers; raises `Undone` and `Unknown`."""
        name = self._somebody()
        if name is None:
            raise Undone
        if self._draw() > _HANGS_UP:
            return await self._say(name, words, _ANSWER_S_MIN + _ANSWER_S_MAX * self._draw() ** 3)
        try:
            return await self._say(name, words, _HUNG_UP_S)
        except Unknown:
            await asyncio.sleep(_AGAIN_S_MAX * self._draw())
            raise
