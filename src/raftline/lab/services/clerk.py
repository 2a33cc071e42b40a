"""A clerk: a client of a service that goes on until it knows, and whose commands count once however often sent.

It has a session and numbers its commands; a retry keeps its number, at whichever server it lands (G8). Which server
answered last is where it asks first.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import hiredis

from raftline.core.ids import NodeId
from raftline.errors import ProposalError, RaftlineError
from raftline.kv.machine import encode_command
from raftline.lab.services.deployment import Deployment, Unanswered
from raftline.linearizability.history import Operation
from raftline.runtime.node import Node
from raftline.shards.configuration import Change, Configuration
from raftline.shards.controller import (
    LATEST,
    Decision,
    decode_configuration,
    decode_decision,
    encode_change,
    encode_query,
)

__all__ = ["Clerk", "ControllerClerk", "StoreClerk", "parsed"]

T = TypeVar("T")

_PAUSE_S = 0.02


class Clerk:
    """Asks the servers it reaches, one after the other, until one answers."""

    def __init__(self, deployment: Deployment, name: str, servers: Sequence[NodeId] = ()) -> None:
        """Reach `servers`, or all."""
        self.name = name
        self.deployment = deployment
        self.servers = list(servers or deployment.servers)
        self._at = 0
        self._session: int | None = None
        self._sequence = 0

    async def execute(self, command: bytes) -> bytes:
        """Have a command carried out once and return its result; goes on for as long as it takes."""
        while self._session is None:
            self._session = await self._ask(lambda node: node.open_session())
        session = self._session
        self._sequence += 1
        sequence = self._sequence
        return await self._ask(lambda node: node.propose(command, session=session, sequence=sequence))

    async def query(self, query: bytes) -> bytes:
        """Return a linearizable answer."""
        return await self._ask(lambda node: node.read(query))

    async def _ask(self, call: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
        while True:
            try:
                return await self.deployment.ask(self.servers[self._at % len(self.servers)], call)
            except (Unanswered, ProposalError):
                self._at += 1
                await asyncio.sleep(_PAUSE_S)


class StoreClerk(Clerk):
    """A clerk of the key/value store, who writes down every operation."""

    async def put(self, key: str, value: str) -> None:
        """Set a key."""
        await self._recorded("set", key, value, [b"SET", key.encode(), value.encode()])

    async def append(self, key: str, text: str) -> None:
        """Add to a key's value."""
        await self._recorded("append", key, text, [b"APPEND", key.encode(), text.encode()])

    async def get(self, key: str) -> str:
        """Return a key's value, empty if it has none."""
        called_s = self.deployment.world.now
        answer = parsed(await self.query(encode_command([b"GET", key.encode()])))
        value = answer.decode() if isinstance(answer, bytes) else None
        self._note(Operation(self.name, "get", None, value, called_s, self.deployment.world.now, key))
        return value or ""

    async def _recorded(self, kind: str, key: str, text: str, words: list[bytes]) -> None:
        """Carry out a write; one that is cancelled may have happened or not."""
        called_s = self.deployment.world.now
        try:
            answer = parsed(await self.execute(encode_command(words)))
        except (asyncio.CancelledError, RaftlineError):
            self._note(Operation(self.name, kind, text, None, called_s, None, key))
            raise
        output = answer.decode() if isinstance(answer, bytes) else answer
        self._note(Operation(self.name, kind, text, output, called_s, self.deployment.world.now, key))

    def _note(self, operation: Operation) -> None:
        self.deployment.operations.append(operation)


class ControllerClerk(Clerk):
    """A clerk of the shard controller."""

    async def change(self, change: Change) -> Decision:
        """Make a change and return what became of it."""
        return decode_decision(await self.execute(encode_change(change)))

    async def configuration(self, number: int = LATEST) -> Configuration:
        """Return a configuration."""
        return decode_configuration(await self.query(encode_query(number)))


def parsed(reply: bytes) -> Any:
    """Return what a reply of the store says."""
    reader = hiredis.Reader()
    reader.feed(reply)
    return reader.gets()
