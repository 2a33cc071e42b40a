"""Clients of the sharded store: they find the group of a key, follow it when it moves, and remember all they were told.

Each has one session, opened at every group, whose commands keep their number wherever they are repeated; some commands
are sent outside of it, and are not repeated once their outcome is unknown. For each hash tag there is a string, a
counter, a list of words of one length, a hash, two counters that only transactions change, keys with deadlines and a
lock. To the history a list is a text, and a field of a hash a key.
"""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NoReturn

import hiredis

from raftline.core.ids import GroupId
from raftline.errors import ApplyError, NotServed, ProposalError, SafetyViolation
from raftline.kv.commands.transactions import encode_watched
from raftline.kv.machine import encode_command
from raftline.kv.slots import slot_of
from raftline.linearizability.history import Operation
from raftline.shards.configuration import EMPTY, Configuration
from raftline.shards.ranges import NOBODY
from raftline.sim.clock import EPOCH_MS
from raftline.sim.sharded.crowd import Crowd
from raftline.sim.sharded.scenario import MINUTES_APART_S
from raftline.sim.sharded.ways import CONTROLLER, Call, Unreachable, Ways

__all__ = ["KINDS", "ShardClients"]

KINDS = ("s", "n", "l", "h", "a", "b", "k")
"""What each tag has: string, counter, list, hash, the two counters of transactions, lock."""
_WORD_BYTES = 6
_PAUSE_S = 0.1
_SESSION_BITS = 48
_GIVEN_UP = 0.1
_OUTSIDE = 0.25
_DEADLINE_MS = 3_000_000
_NO_DEADLINE = -1
_UNKNOWN, _GONE = 0, -2
_JUMPS_S_MAX = 60
"""How wrong clocks may be besides: they drift, and jump a few times by seconds."""
_LEASE_MS = 300


class ShardClients(Crowd):
    """All clients, and what they were told."""

    def __init__(self, groups: Ways, random: Random) -> None:
        scenario = groups.scenario
        super().__init__(groups.world)
        self.groups = groups
        self.random = random
        self.tags = [f"t{number}" for number in range(scenario.tags)]
        self.operations: list[Operation] = []
        self.unknown = 0
        self.refused = 0
        self.not_served = 0
        """How often a group said that it does not serve a slot."""
        self.repeated = 0
        self.have_no_sessions = scenario.clocks_apart_s > MINUTES_APART_S
        """No session lasts where a leader's clock may be a day ahead."""
        self.expired = 0
        """How many keys a client was told are gone by their deadline."""
        self.stopping = False
        self.last_answer_at = 0.0
        self.tokens: dict[str, list[tuple[float, float, int]]] = {}
        """By lock: when it was asked for and given, and its token."""
        self.clients = [_Client(self, f"c{number}") for number in range(scenario.clients)]
        self._words = 0

    def next_word(self) -> str:
        """Return a word that nobody wrote before."""
        self._words += 1
        return f"{self._words:0{_WORD_BYTES}d}"

    def record(self, operation: Operation) -> None:
        """Remember an operation, once its outcome is known or given up."""
        self.operations.append(operation)
        if operation.known:
            self.last_answer_at = self.world.now
        else:
            self.unknown += 1

    async def read_everything(self) -> None:
        """Read every key once more, when all is quiet."""
        reader = _Client(self, "reader")
        for tag in self.tags:
            await reader.read_all(tag)

    def check(self) -> None:
        """What no history holds: fencing tokens of each lock rise (G16)."""
        for name, given in self.tokens.items():
            for called_s, _, token in given:
                for _, told_s, other in given:
                    if told_s < called_s and other >= token:
                        _violated(f"lock {name} was given with token {token} after it had been given with {other}")


class _GaveUp(Exception):
    """The client does not want to wait any longer."""


class _Client:
    """One client."""

    def __init__(self, clients: ShardClients, name: str) -> None:
        self.name = name
        self._all = clients
        self._groups = clients.groups
        self._world = clients.world
        self._draw = clients.random.random
        self._known: Configuration = EMPTY
        self._session = 1 + clients.world.stream(f"session of {name}").getrandbits(_SESSION_BITS)
        self._opened: set[GroupId] = set()
        self._sequence = 0
        self._at: dict[GroupId, int] = {}
        self._deadlines: dict[str, tuple[str, int]] = {}
        """By tag: a key and its deadline."""
        self._expiring_keys = 0

    async def run(self) -> None:
        """Do one thing after the other."""
        acts = (
            *(self._string,) * 3,
            *(self._counter,) * 3,
            *(self._list,) * 3,
            *(self._hash,) * 2,
            *(self._transaction,) * 2,
            self._expiring,
            self._lock,
        )
        tags = self._all.tags
        while not self._all.stopping:
            await asyncio.sleep(0.05 * self._draw())
            try:
                await acts[int(self._draw() * len(acts))](tags[int(self._draw() * len(tags))])
            except _GaveUp:
                continue

    async def read_all(self, tag: str) -> None:
        """Read what a tag has."""
        await self._read("get", f"s:{{{tag}}}", [b"GET"])
        await self._read("get", f"n:{{{tag}}}", [b"GET"])
        await self._read_list(f"l:{{{tag}}}")
        for field in ("f", "g"):
            await self._read_field(f"h:{{{tag}}}", field)
        await self._read_pair(tag)

    # What clients do.

    async def _string(self, tag: str) -> None:
        key, chance = f"s:{{{tag}}}", self._draw()
        if chance < 0.4:
            await self._read("get", key, [b"GET"])
            return
        padding = int(self._draw() ** 3 * self._groups.scenario.value_bytes_max)
        value = self._all.next_word() + "." * padding
        if chance < 0.7:
            await self._write("set", key, value, [b"SET", key.encode(), value.encode()])
        elif chance < 0.9:
            await self._write("append", key, value, [b"APPEND", key.encode(), value.encode()])
        else:
            await self._write("getdel", key, None, [b"GETDEL", key.encode()])

    async def _counter(self, tag: str) -> None:
        key = f"n:{{{tag}}}"
        if self._draw() < 0.3:
            await self._read("get", key, [b"GET"])
        else:
            await self._write("incrby", key, 1, [b"INCRBY", key.encode(), b"1"])

    async def _list(self, tag: str) -> None:
        key = f"l:{{{tag}}}"
        if self._draw() < 0.35:
            await self._read_list(key)
            return
        word = self._all.next_word()
        command = [b"RPUSH", key.encode(), word.encode()]
        await self._write("append", key, word, command, lambda count: count * _WORD_BYTES)

    async def _read_list(self, key: str) -> None:
        await self._read("get", key, [b"LRANGE"], [b"0", b"-1"], lambda words: b"".join(words) or None)

    async def _hash(self, tag: str) -> None:
        key, chance = f"h:{{{tag}}}", self._draw()
        if chance < 0.4:
            await self._read_field(key, "f" if chance < 0.2 else "g")
        elif chance < 0.7:
            value = self._all.next_word()
            command = [b"HSET", key.encode(), b"f", value.encode()]
            await self._write("set", f"{key}/f", value, command, lambda _new: "OK", key)
        else:
            await self._write("incrby", f"{key}/g", 2, [b"HINCRBY", key.encode(), b"g", b"2"], None, key)

    async def _read_field(self, key: str, field: str) -> None:
        await self._read("get", f"{key}/{field}", [b"HGET"], [field.encode()], None, key)

    async def _transaction(self, tag: str) -> None:
        """Add to both counters, or read both: they are equal at any moment."""
        if self._draw() < 0.4:
            await self._read_pair(tag)
            return
        keys = [f"{name}:{{{tag}}}" for name in "ab"]
        inner = [encode_command([b"INCRBY", key.encode(), b"3"]) for key in keys]
        called_s = self._world.now
        try:
            answer = await self._command(keys[0], [b"RAFTLINE.EXEC", encode_watched([]), *inner], version=2)
        except _GaveUp:
            for key in keys:
                self._all.record(Operation(self.name, "incrby", 3, None, called_s, None, key))
            raise
        self._check_pair(tag, answer)
        for key, value in zip(keys, answer, strict=True):
            self._all.record(Operation(self.name, "incrby", 3, value, called_s, self._world.now, key))

    async def _read_pair(self, tag: str) -> None:
        keys = [f"{name}:{{{tag}}}" for name in "ab"]
        called_s = self._world.now
        query = encode_command([b"MGET", *(key.encode() for key in keys)])
        answer = await self._ask(keys[0], lambda node: node.read(query), repeat=True)
        self._check_pair(tag, answer)
        for key, value in zip(keys, answer, strict=True):
            text = None if value is None else value.decode()
            self._all.record(Operation(self.name, "get", None, text, called_s, self._world.now, key))

    def _check_pair(self, tag: str, answer: Sequence[Any]) -> None:
        if len(answer) != 2 or answer[0] != answer[1]:
            _violated(f"transactions on tag {tag} are seen in part: {answer}")

    async def _expiring(self, tag: str) -> None:
        """Set a key of one's own with a deadline far away, and later hear the same deadline as at first.

        If its time has come by a clock that is ahead it is gone, and does not come back.
        """
        if tag not in self._deadlines:
            self._expiring_keys += 1
            key = f"e{self.name}.{self._expiring_keys}:{{{tag}}}"
            life = b"%d" % _DEADLINE_MS
            await self._command(key, [b"SET", key.encode(), b"here", b"PX", life], patient=True)
            self._deadlines[tag] = key, _UNKNOWN
        key, known_ms = self._deadlines[tag]
        query = encode_command([b"PEXPIRETIME", key.encode()])
        deadline_ms = await self._ask(key, lambda node: node.read(query), repeat=True)
        if deadline_ms > 0 and known_ms not in (_UNKNOWN, deadline_ms):
            was = "is gone" if known_ms == _GONE else f"is to expire at {known_ms}"
            _violated(f"{key} {was}, and then it is to expire at {deadline_ms} (G16)")
        if deadline_ms == _NO_DEADLINE:
            _violated(f"{key} was to expire at {known_ms or 'some time'}, and now never (G16)")
        if deadline_ms <= 0 and known_ms == _GONE:
            del self._deadlines[tag]
            return
        if deadline_ms <= 0:
            self._check_gone(key, known_ms)
        self._deadlines[tag] = key, deadline_ms if deadline_ms > 0 else _GONE
        self._all.last_answer_at = self._world.now

    def _check_gone(self, key: str, deadline_ms: int) -> None:
        """A key may be gone only if a group that served its slot had come to its deadline, by its log (decision 3)."""
        clients = self._all
        clients.expired += 1
        earliest_ms = EPOCH_MS + _DEADLINE_MS - 1000 * int(self._groups.scenario.clocks_apart_s + _JUMPS_S_MAX)
        if max(deadline_ms, earliest_ms) > self._groups.ownership.time_of(slot_of(key.encode())):
            _violated(f"{key} is gone before its deadline, {deadline_ms or 'which nobody knows'} (decision 3)")

    async def _lock(self, tag: str) -> None:
        """Take a lock for a moment, as somebody new each time."""
        name, owner, called_s = f"k:{{{tag}}}", self._all.next_word().encode(), self._world.now
        command = [b"RAFTLINE.LOCK|ACQUIRE", b"ACQUIRE", name.encode(), owner, b"%d" % _LEASE_MS]
        token = await self._command(name, command, version=2)
        if not isinstance(token, int):
            return
        self._all.tokens.setdefault(name, []).append((called_s, self._world.now, token))
        if self._draw() < 0.5:
            words = [b"RAFTLINE.LOCK|RELEASE", b"RELEASE", name.encode(), owner, b"%d" % token]
            await self._command(name, words, version=2)

    # How they do it.

    async def _read(
        self,
        kind: str,
        key: str,
        name: list[bytes],
        more: Sequence[bytes] = (),
        shown: Callable[[Any], Any] | None = None,
        place: str = "",
    ) -> None:
        called_s, place = self._world.now, place or key
        query = encode_command([*name, place.encode(), *more])
        answer = await self._ask(place, lambda node: node.read(query), repeat=True)
        answer = shown(answer) if shown is not None else answer
        text = answer.decode() if isinstance(answer, bytes) else answer
        self._all.record(Operation(self.name, kind, None, text, called_s, self._world.now, key))

    async def _write(
        self,
        kind: str,
        key: str,
        entered: Any,
        words: list[bytes],
        shown: Callable[[Any], Any] | None = None,
        place: str = "",
    ) -> None:
        called_s = self._world.now
        try:
            answer = await self._command(place or key, words)
        except _GaveUp:
            self._all.record(Operation(self.name, kind, entered, None, called_s, None, key))
            raise
        answer = shown(answer) if shown is not None else answer
        output = answer.decode() if isinstance(answer, bytes) else answer
        self._all.record(Operation(self.name, kind, entered, output, called_s, self._world.now, key))

    async def _command(self, key: str, words: list[bytes], *, version: int = 1, patient: bool = False) -> Any:
        """Have a command carried out, mostly in the session; raises `_GaveUp` if nobody knows what became of it."""
        command = encode_command(words)
        if (not patient and self._draw() < _OUTSIDE) or self._all.have_no_sessions:
            return await self._ask(key, lambda node: node.propose(command, version=version), repeat=False)
        self._sequence += 1
        sequence, session = self._sequence, self._session
        return await self._ask(
            key,
            lambda node: node.propose(command, session=session, sequence=sequence, version=version),
            repeat=True,
            needs_session=True,
            until_s=self._world.now + 0.8 * self._draw() if not patient and self._draw() < _GIVEN_UP else None,
        )

    async def _ask(
        self,
        key: str,
        call: Call[bytes],
        *,
        repeat: bool,
        needs_session: bool = False,
        until_s: float | None = None,
    ) -> Any:
        """Ask the group that serves a key, wherever that is by then, until it answers."""
        slot = slot_of(key.encode())
        clients = self._all
        while True:
            group = self._known.owner(slot)
            if group != NOBODY:
                try:
                    if needs_session and group not in self._opened:
                        await self._at_group(group, lambda node: node.open_session(self._session))
                        self._opened.add(group)
                    reply = await self._at_group(group, call)
                    return _parsed(reply)
                except NotServed:
                    clients.not_served += 1
                except (Unreachable, ProposalError) as error:
                    self._at[group] = self._at.get(group, 0) + 1
                    if not repeat and getattr(error, "may_take_effect", True):
                        raise _GaveUp from None
                    clients.repeated += 1
                except ApplyError as error:
                    _violated(f"{self.name} was refused {key}: {type(error).__name__}: {error} (G8, G16)")
            if until_s is not None and self._world.now > until_s:
                raise _GaveUp
            await asyncio.sleep(_PAUSE_S * (0.2 + self._draw()))
            await self._look()

    async def _at_group(self, group: GroupId, call: Call[Any]) -> Any:
        return await self._groups.ask(self._world, None, group, self._at.get(group, 0), call)

    async def _look(self) -> None:
        """Ask the controller for the newest configuration."""
        at = self._at.get(CONTROLLER, 0)
        try:
            self._known = await self._groups.configuration(at)
        except (Unreachable, ProposalError):
            self._at[CONTROLLER] = at + 1


def _parsed(reply: bytes) -> Any:
    """Return what a reply of the store says."""
    reader = hiredis.Reader()
    reader.feed(reply)
    return reader.gets()


def _violated(what: str) -> NoReturn:
    raise SafetyViolation(what)
