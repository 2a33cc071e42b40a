"""What one client is still to be told: the places of its replies, in the order of its commands, and what can be sent.

A command has its place as soon as it is taken up. A reply that comes stands in its place until those before it have
come, too, and leaves in the client's protocol.
"""

from collections import deque
from collections.abc import Callable

from raftline.kv.client import Client
from raftline.kv.refusals import write_refusal
from raftline.kv.reply_slots import PLAIN_HEADS, Slot, SlowWatch, Writes

__all__ = ["ReplyQueue"]


class ReplyQueue:
    """Invariant: `on_ready` was called since the last turn iff there is something for the next one to do."""

    __slots__ = (
        "_held_bytes", "_is_ready", "_joined", "_on_ready", "_out", "_out_bytes", "_slots", "_slow", "_writes",
        "client", "is_abandoned",
    )  # fmt: skip

    def __init__(self, client: Client, on_ready: Callable[[], object]) -> None:
        """`on_ready` asks for a turn."""
        self.client = client
        client.push = self.push
        self._on_ready = on_ready
        self._is_ready = False
        self._slow = SlowWatch(client)
        self._slots: deque[Slot] = deque()
        self._writes = self._held_bytes = self._out_bytes = 0
        self._joined = 0
        """Commands that share the place of their reply with one before them."""
        self._out: list[bytes] = []
        self.is_abandoned = False

    # What the owner of the socket calls.

    def take_output(self) -> bytes:
        """Return the replies that may be sent now, joined; empty if there are none."""
        out = self._out
        if not out:
            return b""
        self._out, self._out_bytes = [], 0
        return out[0] if len(out) == 1 else b"".join(out)

    def push(self, data: bytes) -> None:
        """Send what was not asked for, in the client's protocol, behind the replies that are known."""
        self._collect()
        self._out.append(data)
        self._be_ready()

    # What the node's answers call.

    def on_write_done(self) -> None:
        """Note that a write is answered."""
        self._writes -= 1
        if not self._is_ready and not self.is_abandoned:
            self._is_ready = True
            self._on_ready()

    def on_failed_write(self, reason: Exception) -> bytes:
        """Return what the client is told."""
        self.client.server.statistics.failed_requests += 1
        return write_refusal(reason)

    def _be_ready(self) -> None:
        if not self._is_ready and not self.is_abandoned:
            self._is_ready = True
            self._on_ready()

    # Replies.

    def _is_silent(self) -> bool:
        client = self.client
        if not client.muted and not client.skip_reply:
            return False
        client.skip_reply = False
        return True

    def _reply(self, reply: bytes) -> None:
        """Answer a command that was refused."""
        self._put(b"" if self._is_silent() else reply)

    def _put(self, reply: bytes) -> None:
        """Queue a reply behind those that are still to come."""
        slots = self._slots
        slots.append(Slot(reply))
        if len(slots) == 1:
            self._collect()
        else:
            self._held_bytes += len(reply)

    def _collect(self) -> None:
        """Move the replies that are next and known to the output, in the client's protocol."""
        slots = self._slots
        out = self._out
        size, is_old = 0, self.client.protocol == 2
        if self._slow.marks:
            self._slow.look()
        while slots and (reply := slots[0].reply) is not None:
            slot = slots.popleft()
            if reply[:1] not in PLAIN_HEADS:
                reply = slot.converted(reply, is_old=is_old)
            if self._joined and type(slot) is Writes:
                self._joined -= slot.count - 1
            out.append(reply)
            size += len(reply)
        self._out_bytes += size
        if not slots:
            self._held_bytes = 0
        self.client.pending = len(slots) + self._joined

    def _take_lone_reply(self) -> bytes:
        """Return what `_collect` would, of the only command that is under way, and nothing if it would do more."""
        slot = self._slots[0]
        reply = slot.reply
        if not reply or reply[:1] not in PLAIN_HEADS or type(slot) is Writes:
            return b""
        if self._slow.marks:
            self._slow.look()
        self._slots.clear()
        self._held_bytes = self.client.pending = 0
        return reply
