"""Answers to other nodes that wait until there is room for them on the way.

A peer's queue is bounded, and what is too much for it is dropped without a word: whoever asked would wait in vain.
"""

from collections import deque
from typing import Final

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import RemoteReply
from raftline.runtime.host import Host

__all__ = ["Answers"]

_LOOK_S: Final = 0.005


class Answers:
    """One node's. Invariants: each peer's leave in order; while any waits the timer runs."""

    __slots__ = ("_bytes_max", "_host", "_is_looking", "_waiting", "waiting_bytes")

    def __init__(self, host: Host) -> None:
        """At most `pending_bytes_max` of the node's configuration waits."""
        self._host = host
        self._bytes_max = host.config.pending_bytes_max
        self._waiting: dict[NodeId, deque[tuple[GroupId, RemoteReply, int]]] = {}
        self._is_looking = False
        self.waiting_bytes = 0

    def send(self, to: NodeId, group: GroupId, answer: RemoteReply, size_bytes: int) -> bool:
        """Send an answer now or as soon as there is room; return False if too much waits already."""
        transport = self._host.transport
        if to not in self._waiting and transport.has_room(to, size_bytes):
            transport.send(to, group, answer)
            return True
        if self.waiting_bytes + size_bytes > self._bytes_max:
            return False
        self.waiting_bytes += size_bytes
        self._waiting.setdefault(to, deque()).append((group, answer, size_bytes))
        if not self._is_looking:
            self._is_looking = True
            self._host.loop.call_later(_LOOK_S, self._look)
        return True

    def _look(self) -> None:
        transport = self._host.transport
        for to, waiting in list(self._waiting.items()):
            while waiting and transport.has_room(to, waiting[0][2]):
                group, answer, size_bytes = waiting.popleft()
                self.waiting_bytes -= size_bytes
                transport.send(to, group, answer)
            if not waiting:
                del self._waiting[to]
        self._host.turns.flush_soon()
        self._is_looking = bool(self._waiting)
        if self._is_looking:
            self._host.loop.call_later(_LOOK_S, self._look)
