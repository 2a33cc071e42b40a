"""The service behind a server: takes what is delivered, checks it against what everybody else got, takes snapshots.

One `Ledger` per cluster remembers for ever what was delivered at which index, by whom, across crashes; one `Consumer`
per incarnation of a server is its `apply`.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from raftline.lab.bench import Bench
from raftline.lab.promises import BrokenPromise
from raftline.lab.values import describe_value, is_plain

__all__ = ["Consumer", "Ledger"]

SNAPSHOT_INTERVAL = 10
"""A service with snapshots takes one whenever index + 1 is a multiple of this: at 9, 19, 29, ..."""


class _Fact:
    """What was delivered at one index first, and where."""

    __slots__ = ("command", "server", "term", "time_s")

    def __init__(self, command: bytes, server: int, term: int, time_s: float) -> None:
        self.command = command
        self.server = server
        self.term = term
        self.time_s = time_s


class Ledger:
    """What a cluster delivered.

    Invariant: an index never gets a second command (State Machine Safety, §5.4.3).
    """

    def __init__(self, bench: Bench, count: int) -> None:
        self._bench = bench
        self.facts: dict[int, _Fact] = {}
        self.delivered: list[dict[int, bytes]] = [{} for _ in range(count)]
        """Per server, what its present incarnation delivered or restored: index → command."""
        self.index_max = 0

    def record(self, server: int, index: int, term: int, command: bytes) -> None:
        """Compare a delivered command with what is known, and remember it."""
        self.delivered[server][index] = command
        self.index_max = max(self.index_max, index)
        fact = self.facts.setdefault(index, _Fact(command, server, term, self._bench.now()))
        if fact.command != command:
            seen = (
                f"at index {index} server {server} delivered {show(command)} of term {term}, but server {fact.server} "
                f"had delivered {show(fact.command)} of term {fact.term} at {fact.time_s:.3f} s"
            )
            self._bench.fail(BrokenPromise("same command", seen, server=server, index=index, term=term))
        elif fact.term != term:
            seen = f"index {index} was delivered with term {fact.term} by server {fact.server}, with {term} by {server}"
            self._bench.fail(BrokenPromise("same command", seen, server=server, index=index, term=term))

    def count(self, index: int) -> tuple[int, bytes | None]:
        """Return how many running servers delivered `index`, and what."""
        found = [commands[index] for commands in self.delivered if index in commands]
        return len(found), found[0] if found else None

    def encode(self, server: int, index: int) -> bytes:
        """Return the service's snapshot of a server: everything up to `index`."""
        commands = self.delivered[server]
        return msgspec.msgpack.encode((index, [commands.get(n) for n in range(1, index + 1)]))

    def restore(self, server: int, data: bytes) -> int | None:
        """Replace a server's state by a snapshot that `encode` made; return its index, None if it is none."""
        try:
            index, commands = msgspec.msgpack.decode(data, type=tuple[int, list[bytes]])
        except (msgspec.MsgspecError, ValueError):
            return None
        if len(commands) != index:
            return None
        self.delivered[server] = dict(enumerate(commands, start=1))
        return index


class Consumer:
    """`apply` of one incarnation.

    Invariant: `applied` is the last index taken; it moves by exactly one per command, and only forward.
    """

    def __init__(self, bench: Bench, ledger: Ledger, server: int, *, snapshots: bool) -> None:
        self._bench = bench
        self._ledger = ledger
        self._server = server
        self._snapshots = snapshots
        self.applied = 0
        self.raft: Any = None
        """The incarnation; set once `make` returned."""
        self.delay_s = 0.0
        """How long each `put` takes."""
        self.killed_at: float | None = None
        self.check_commit: Callable[[int, int], None] = lambda _server, _index: None
        self.on_snapshot: Callable[[int], None] = lambda _index: None
        self._busy = False

    async def put(self, message: Any) -> None:
        """Take one message, as the interface says; a broken promise ends the test."""
        if self.killed_at is not None:
            if self._bench.now() > self.killed_at:
                seen = f"server {self._server} delivered a message after it was killed"
                self._bench.fail(BrokenPromise("killed", seen, server=self._server))
            return
        if self._busy:
            seen = f"server {self._server} called put() while its previous put() had not returned: two appliers"
            self._bench.fail(BrokenPromise("order", seen, server=self._server, index=self.applied, suspects=("F8",)))
        self._busy = True
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            self._take(message)
        finally:
            self._busy = False

    def _take(self, message: Any) -> None:
        try:
            valid, of_snapshot = bool(message.command_valid), bool(message.snapshot_valid)
            index, term = message.command_index, message.command_term
            command, data = message.command, message.snapshot
            snapshot_index, snapshot_term = message.snapshot_index, message.snapshot_term
        except AttributeError as error:
            self._wrong(f"put() was given {type(message).__name__}, which lacks a field of ApplyMsg: {error}")
            return
        if valid == of_snapshot:
            self._wrong("put() was given a message that is neither exactly a command nor exactly a snapshot")
        elif valid and not (_is_int(index) and _is_int(term) and isinstance(command, bytes)):
            values = ", ".join(map(describe_value, (index, term, command)))
            self._wrong(f"command_index, command_term, command must be int, int, bytes, not {values}")
        elif valid:
            self._take_command(index, term, command)
        elif not (_is_int(snapshot_index) and _is_int(snapshot_term) and isinstance(data, bytes)):
            values = ", ".join(map(describe_value, (snapshot_index, snapshot_term, data)))
            self._wrong(f"snapshot_index, snapshot_term, snapshot must be int, int, bytes, not {values}")
        else:
            self._take_snapshot(snapshot_index, snapshot_term, data)

    def _take_command(self, index: int, term: int, command: bytes) -> None:
        self._bench.note(f"server {self._server} delivers index {index} of term {term}: {show(command)}")
        if index != self.applied + 1:
            seen = f"server {self._server} delivered index {index} where {self.applied + 1} comes next"
            self._bench.fail(BrokenPromise("order", seen, server=self._server, index=index, term=term))
            return
        self.applied = index
        self._ledger.record(self._server, index, term, command)
        self.check_commit(self._server, index)
        if self._snapshots and (index + 1) % SNAPSHOT_INTERVAL == 0 and self.raft is not None:
            self._bench.note(f"server {self._server} takes a snapshot at index {index}")
            try:
                outcome = self.raft.snapshot(index, self._ledger.encode(self._server, index))
                if not is_plain(outcome):
                    self._wrong("snapshot() must be a plain method, not `async def`: nobody awaits it")
                self.on_snapshot(index)
            except Exception as error:  # noqa: BLE001  whatever the implementation raises is its failure
                self._bench.fail_with_exception(self._server, f"snapshot({index}, ...) raised", error)

    def _take_snapshot(self, index: int, term: int, data: bytes) -> None:
        self._bench.note(f"server {self._server} delivers the snapshot at index {index} of term {term}")
        if index <= self.applied:
            seen = f"server {self._server} had delivered index {self.applied} when it delivered a snapshot at {index}"
            self._bench.fail(BrokenPromise("forward", seen, server=self._server, index=index, term=term))
            return
        found = self._ledger.restore(self._server, data)
        fact = self._ledger.facts.get(index)
        if found != index:
            seen = f"server {self._server} delivered a snapshot announced at index {index} whose content is of {found}"
            self._bench.fail(BrokenPromise("snapshot", seen, server=self._server, index=index, term=term))
        elif fact is not None and fact.term != term:
            seen = (
                f"server {self._server} announced a snapshot at index {index} of term {term}; the entry has {fact.term}"
            )
            self._bench.fail(BrokenPromise("snapshot", seen, server=self._server, index=index, term=term))
        self.applied = index

    def _wrong(self, seen: str) -> None:
        self._bench.fail(BrokenPromise("types", f"server {self._server}: {seen}", server=self._server))


def show(command: bytes) -> str:
    """Return a command short enough for a message."""
    return repr(command) if len(command) <= 32 else f"{command[:24]!r}... ({len(command)} bytes)"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
