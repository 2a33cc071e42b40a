"""What the transport tells about its peers, for `status()`, metrics and logs.

Counters only; nothing in the transport decides by them.
"""

import msgspec

__all__ = ["PeerStatus", "Traffic"]


class Traffic:
    """What arrived from one node, over all its connections."""

    __slots__ = ("received_bytes", "received_messages")

    def __init__(self) -> None:
        self.received_messages = 0
        self.received_bytes = 0


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One peer at one moment; the counters run since it became a peer at this address."""

    connected: bool
    """The link to it is open: what is sent goes out."""
    version: int | None
    """The protocol version spoken on it, None while it is down."""
    address: str
    """Where the link connects to, `host:busport`."""
    queued_bytes: int
    """Waiting for it here, in the queue and in the connection's buffer."""
    dropped_messages: int
    """Not sent: the queue was full, the link was down, or the message was too long."""
    reconnects: int
    """How often the link was opened again after the first time."""
    sent_messages: int
    sent_bytes: int
    received_messages: int
    received_bytes: int
    last_trouble: str
    """Why the link is down, or was the last time; empty if it never was."""
