"""What the runtime asks of the world, as protocols: clock, disk thread, transport, files.

Production and simulator give different objects for exactly these and for the event loop; everything above runs
unchanged on both.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Message
from raftline.transport.codec import Stranger

__all__ = ["Clock", "DiskThread", "Transport"]

T = TypeVar("T")


class Clock(Protocol):
    """Wall-clock time, and a stopwatch; the time that decides comes from the event loop (`loop.time()`)."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970."""

    def monotonic_s(self) -> float:
        """Return seconds since any moment, as finely as possible: to measure with, never to decide by."""


class DiskThread(Protocol):
    """Runs blocking work one piece at a time, in the order given, off the event loop."""

    def submit(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Run `work`, then call `done` on the event loop with its result or the exception it raised."""

    def close(self) -> None:
        """Finish what was submitted, then stop; nothing may be submitted afterwards."""


class Transport(Protocol):
    """Carries messages to peers; may lose, delay, repeat and reorder them, never alters them."""

    def send(self, to: NodeId, group: GroupId, message: Message) -> None:
        """Queue `message`; never waits. A message for a stranger, or for a peer whose queue is full, is dropped."""

    def reaches(self, to: NodeId) -> bool:
        """Say whether there is a connection to `to`; without one, what it was sent and did not answer is settled.

        A connection to a node that is cut off may stand for a while; one to a process that ended does not.
        """

    def has_room(self, to: NodeId, size_bytes: int) -> bool:
        """Say whether a message of this size would not crowd out others that are queued for a peer."""

    def tell_stranger(self, to: NodeId, word: Stranger) -> None:
        """Tell a node that is no peer, over the connection that it made; dropped if there is none. Never waits."""

    def trouble(self) -> str | None:
        """Return in words what an operator should know of the peers, None if all is well."""

    def flush(self) -> None:
        """Hand everything queued in this turn to the network, one write per peer."""

    def set_peers(self, addresses: dict[NodeId, str]) -> None:
        """Replace the set of peers: id → `host:port@busport`."""

    async def start(
        self,
        on_message: Callable[[NodeId, GroupId, Message], None],
        on_stranger: Callable[[NodeId, Stranger], None] | None = None,
        on_lost: Callable[[NodeId], None] | None = None,
    ) -> None:
        """Listen and connect; each message that arrives is handed to `on_message(sender, group, message)`.

        `on_stranger(peer, word)` hears what `tell_stranger` of a peer says of this node, `on_lost(peer)` that the
        connection to a peer broke.
        """

    async def stop(self) -> None:
        """Close every connection and stop listening."""
