"""Answers to other nodes that wait until there is room for them on the way.

A peer's queue is bounded, and what is too much for it is dropped without a word: whoever asked would wait in vain. So
would who asked for what waits too long here: where more is asked for than the way carries, all would come too late.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import ForwardReply, RemoteReply
from raftline.runtime.config import NodeConfig
from raftline.runtime.ports import Transport
from raftline.runtime.turns import Turns

__all__ = ["SMALL_BYTES", "Answers"]

A = TypeVar("A", ForwardReply, RemoteReply)

_LOOK_S: Final = 0.005
SMALL_BYTES: Final = 128
"""A result that is no longer takes no more room than what would be told in its place."""


class _Waiting(msgspec.Struct, Generic[A], gc=False, eq=False):
    group: GroupId
    answer: A
    size_bytes: int
    crowded: Callable[[], A]
    until: float


class Answers:
    """One node's. Invariants: each peer's large ones leave in order; while any waits the timer runs."""

    __slots__ = ("_bytes_max", "_is_looking", "_loop", "_transport", "_turns", "_waiting", "_waits_s", "waiting_bytes")

    def __init__(self, config: NodeConfig, loop: asyncio.AbstractEventLoop, transport: Transport, turns: Turns) -> None:
        """At most `pending_bytes_max` of the node's configuration waits, half of the time of a request at most."""
        self._loop = loop
        self._transport = transport
        self._turns = turns
        self._bytes_max = config.pending_bytes_max
        self._waits_s = config.request_timeout_s / 2
        self._waiting: dict[NodeId, deque[_Waiting[ForwardReply] | _Waiting[RemoteReply]]] = {}
        self._is_looking = False
        self.waiting_bytes = 0

    def send(self, to: NodeId, group: GroupId, answer: A, crowded: Callable[[], A]) -> None:
        """Send an answer now or as soon as there is room; `crowded()` in its place if it would wait for too long.

        A small one waits for nobody.
        """
        transport = self._transport
        size_bytes = sum([len(value) for _, value in answer.results])
        is_small = size_bytes <= SMALL_BYTES * len(answer.results)
        if is_small or (to not in self._waiting and transport.has_room(to, size_bytes)):
            transport.send(to, group, answer)
            return
        if self.waiting_bytes + size_bytes > self._bytes_max:
            transport.send(to, group, crowded())
            return
        self.waiting_bytes += size_bytes
        until = self._loop.time() + self._waits_s
        waiting: _Waiting[A] = _Waiting(group, answer, size_bytes, crowded, until)
        self._waiting.setdefault(to, deque()).append(waiting)
        if not self._is_looking:
            self._is_looking = True
            self._loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        transport, now = self._transport, self._loop.time()
        for to, waiting in list(self._waiting.items()):
            while waiting:
                first = waiting[0]
                has_room = transport.has_room(to, first.size_bytes)
                if not has_room and now < first.until:
                    break
                waiting.popleft()
                self.waiting_bytes -= first.size_bytes
                transport.send(to, first.group, first.answer if has_room else first.crowded())
            if not waiting:
                del self._waiting[to]
        self._turns.flush_soon()
        self._is_looking = bool(self._waiting)
        if self._is_looking:
            self._loop.call_later(_LOOK_S, self._look)
