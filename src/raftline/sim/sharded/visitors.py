"""Clients that speak RESP with any node, as Redis clients do: plain ones are passed on, those of a cluster are sent on.

They have no session and repeat nothing that may have been applied; what they were told of a command that was not
carried out has to be true, because the history takes them at their word.
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from raftline.errors import SafetyViolation
from raftline.linearizability.history import Operation
from raftline.sim.cluster import Member
from raftline.sim.service_door import Line, Refusal
from raftline.sim.sharded.clients import ShardClients
from raftline.sim.sharded.crowd import Crowd
from raftline.sim.sharded.nodes import SharedNodes

__all__ = ["Caller", "Undone", "Unknown", "Visitors"]

_ANSWER_S_MAX = 2.5
_THINK_S_MAX = 0.08
_NOT_BEGUN = "EXECABORT Transaction discarded because of: TRYAGAIN"
_ABORTED = "EXECABORT Transaction discarded because of: CLUSTERDOWN"
_UNDONE = ("MOVED", "TRYAGAIN", "CLUSTERDOWN", "ASK", "UNBLOCKED", _NOT_BEGUN, _ABORTED)
_MAYBE = "may have been applied"
_HOPS_MAX = 8


class Unknown(Exception):
    """Nobody knows what became of a command."""


class Undone(Exception):
    """A command was not carried out."""


class Caller:
    """Who has one connection to each of some nodes, and says one thing at a time."""

    def __init__(
        self,
        nodes: SharedNodes,
        clients: ShardClients,
        random: Random,
        name: str,
        *,
        is_cluster_client: bool = False,
    ) -> None:
        self.name = name
        self._nodes = nodes
        self._clients = clients
        self._door = nodes.door
        self._world = nodes.world
        self._draw = random.random
        self._is_cluster_client = is_cluster_client
        self._lines: dict[str, tuple[Any, Line]] = {}
        """By node: its incarnation, and the connection."""
        self._at = 0

    def _somebody(self) -> str | None:
        """Return a node that is up; mostly the one that was asked last."""
        ready = self._nodes.cluster.ready()
        if self._draw() < 0.1:
            self._at += 1
        return ready[self._at % len(ready)].name if ready else None

    async def _say(self, name: str, words: Sequence[bytes], patience_s: float = _ANSWER_S_MAX) -> Any:
        """Say something on the connection to a node and return the reply; raises `Unknown` if none comes in time."""
        return (await self._say_all(name, [words], patience_s))[0]

    async def _say_all(self, name: str, commands: Sequence[Sequence[bytes]], patience_s: float = _ANSWER_S_MAX) -> Any:
        """Say several things at once, and return all replies; raises `Unknown` if one of them does not come in time."""
        line = await self._line(self._nodes.cluster.everybody[name])
        answers = await self._heard(line, commands, patience_s)
        if answers is _SILENCE:
            line.close()
            self._lines.pop(name, None)
            self._at += 1
            raise Unknown
        return answers

    async def _line(self, member: Member) -> Line:
        """Return a connection to a node; raises `Undone` if it is down."""
        node, line = self._lines.get(member.name, (None, None))
        if line is not None and node is member.node and node is not None:
            return line
        line = self._door.connect(member)
        if line is None:
            raise Undone
        self._lines[member.name] = member.node, line
        if self._is_cluster_client:
            await self._heard(line, [[b"CLUSTER", b"SLOTS"]])
        return line

    async def _heard(self, line: Line, commands: Sequence[Sequence[bytes]], patience_s: float = _ANSWER_S_MAX) -> Any:
        answer: asyncio.Future[Any] = self._world.create_future()
        line.ask_all(list(map(tuple, commands)), lambda all_: None if answer.done() else answer.set_result(all_))
        done, _ = await asyncio.wait([answer], timeout=patience_s)
        return answer.result() if done else _SILENCE


class Visitors(Crowd):
    """All of them; their history is part of that of the other clients."""

    def __init__(self, nodes: SharedNodes, clients: ShardClients, random: Random, count: int) -> None:
        super().__init__(nodes.world)
        self.nodes = nodes
        self.others = clients
        self.random = random
        self.answered = 0
        self.undone = 0
        self.moved = 0
        self.clients = [_Visitor(self, f"v{number}", is_cluster_client=number % 2 == 1) for number in range(count)]


class _Visitor(Caller):
    """One client with one connection to one node."""

    def __init__(self, visitors: Visitors, name: str, *, is_cluster_client: bool) -> None:
        nodes, clients = visitors.nodes, visitors.others
        super().__init__(nodes, clients, visitors.random, name, is_cluster_client=is_cluster_client)
        self._all = visitors

    async def run(self) -> None:
        """Do one thing after the other."""
        tags = self._clients.tags
        acts = (
            *(self._read,) * 2,
            *(self._write,) * 2,
            *(self._count,) * 2,
            self._push,
            self._transact,
            *(self._several,) * 2,
        )
        while not self._clients.stopping:
            await asyncio.sleep(_THINK_S_MAX * self._draw())
            try:
                await acts[int(self._draw() * len(acts))](tags[int(self._draw() * len(tags))])
                self._all.answered += 1
            except Undone:
                self._all.undone += 1
            except Unknown:
                continue

    async def _read(self, tag: str) -> None:
        key = f"{'sn'[int(self._draw() * 2)]}:{{{tag}}}"
        called_s = self._world.now
        try:
            answer = await self._command(b"GET", key.encode())
        except Unknown:
            raise Undone from None
        text = answer.decode() if answer is not None else None
        self._record("get", key, None, text, called_s)

    async def _write(self, tag: str) -> None:
        key, value = f"s:{{{tag}}}", self._clients.next_word()
        kind = "set" if self._draw() < 0.5 else "append"
        await self._recorded(kind, key, value, [kind.upper().encode(), key.encode(), value.encode()])

    async def _count(self, tag: str) -> None:
        key = f"n:{{{tag}}}"
        await self._recorded("incrby", key, 1, [b"INCRBY", key.encode(), b"1"])

    async def _push(self, tag: str) -> None:
        key, word = f"l:{{{tag}}}", self._clients.next_word()
        await self._recorded("append", key, word, [b"RPUSH", key.encode(), word.encode()], len(word))

    async def _several(self, tag: str) -> None:
        """Write to some keys of two slots at once: what one group gets of them shares an entry of its log."""
        name = self._somebody()
        if name is None:
            raise Undone
        tags = self._clients.tags
        other = tags[int(self._draw() * len(tags))]
        word = self._clients.next_word()
        writes: list[tuple[str, str, Any, list[bytes], int]] = [
            ("incrby", f"n:{{{tag}}}", 1, [b"INCRBY", b"n:{%b}" % tag.encode(), b"1"], 1),
            ("append", f"l:{{{other}}}", word, [b"RPUSH", b"l:{%b}" % other.encode(), word.encode()], len(word)),
            ("incrby", f"n:{{{other}}}", 1, [b"INCRBY", b"n:{%b}" % other.encode(), b"1"], 1),
        ]
        called_s = self._world.now
        try:
            answers = await self._say_all(name, [words for *_, words, _ in writes])
        except Unknown:
            answers = [Refusal(_MAYBE)] * len(writes)
        for number, ((kind, key, entered, _, factor), answer) in enumerate(zip(writes, answers, strict=True)):
            who = f"{self.name}/{number}"
            if not isinstance(answer, Refusal):
                output = answer * factor
                self._clients.record(Operation(who, kind, entered, output, called_s, self._world.now, key))
            elif _MAYBE in str(answer):
                self._clients.record(Operation(who, kind, entered, None, called_s, None, key))
            elif not str(answer).startswith(_UNDONE):
                raise SafetyViolation(f"a command is refused for no reason: {answer}")

    async def _transact(self, tag: str) -> None:
        """Add to both counters between MULTI and EXEC, on one connection."""
        keys = [f"{name}:{{{tag}}}" for name in "ab"]
        name = self._somebody()
        if name is None:
            raise Undone
        called_s = self._world.now
        try:
            for words in ([b"MULTI"], *([b"INCRBY", key.encode(), b"3"] for key in keys)):
                answer = await self._say(name, words)
                if isinstance(answer, Refusal):
                    self._lines.pop(name, None)
                    raise Undone
        except Unknown:
            raise Undone from None  # nothing was asked to be carried out
        try:
            answer = _checked(await self._say(name, [b"EXEC"]))
        except Unknown:
            for key in keys:
                self._clients.record(Operation(self.name, "incrby", 3, None, called_s, None, key))
            raise
        if len(answer) != 2 or answer[0] != answer[1]:
            raise SafetyViolation(f"a transaction on tag {tag} is answered in part: {answer}")
        for key, value in zip(keys, answer, strict=True):
            self._record("incrby", key, 3, value, called_s)

    async def _recorded(self, kind: str, key: str, entered: Any, words: Sequence[bytes], factor: int = 1) -> None:
        """Carry out a write, and remember what is known of it."""
        called_s = self._world.now
        try:
            answer = await self._command(*words)
        except Unknown:
            self._clients.record(Operation(self.name, kind, entered, None, called_s, None, key))
            raise
        output = answer.decode() if isinstance(answer, bytes) else answer
        self._record(kind, key, entered, output * factor if isinstance(output, int) else output, called_s)

    def _record(self, kind: str, key: str, entered: Any, output: Any, called_s: float) -> None:
        operation = Operation(self.name, kind, entered, output, called_s, self._world.now, key)
        self._clients.record(operation)

    async def _command(self, *words: bytes) -> Any:
        """Ask some node; a client of a cluster goes where it is sent. Raises `Undone` and `Unknown`."""
        name = self._somebody()
        for _ in range(_HOPS_MAX):
            if name is None:
                raise Undone
            answer = await self._say(name, words)
            if not (isinstance(answer, Refusal) and str(answer).startswith("MOVED")):
                return _checked(answer)
            self._all.moved += 1
            address = str(answer).split()[2]
            addresses = self._nodes.cluster.addresses
            name = next((node for node, known in addresses.items() if known.partition("@")[0] == address), None)
        raise Undone


_SILENCE = object()


def _checked(answer: Any) -> Any:
    """Return a reply; raise `Undone` or `Unknown` for a refusal, as it says."""
    if not isinstance(answer, Refusal):
        return answer
    text = str(answer)
    if _MAYBE in text:
        raise Unknown
    if text.startswith(_UNDONE):
        raise Undone
    raise SafetyViolation(f"a command is refused for no reason: {text}")
