"""Frames become messages and messages become frames: one msgspec Encoder, one typed Decoder per direction.

A payload is a MessagePack array whose first element is a tag: `Hello`, `Welcome`, `Refusal` and `Ping` run the
connection, `Envelope` carries one message of one group. Receivers ignore further elements at the end of an array, so a
later version may append fields. It refuses to know sockets, queues and time.
"""

import msgspec

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Message
from raftline.errors import PeerError
from raftline.transport.frame import HEADER_BYTES, PREFACE, add_header

__all__ = [
    "HANDSHAKE_BYTES_MAX",
    "PROTOCOL_VERSION",
    "AcceptedFrame",
    "Codec",
    "DialledFrame",
    "Envelope",
    "Hello",
    "Ping",
    "Refusal",
    "Welcome",
]

PROTOCOL_VERSION = 1
"""Raised whenever a peer of the version before could misunderstand this one."""

HANDSHAKE_BYTES_MAX = 1024
"""The longest frame of a handshake; nothing longer is buffered for somebody who has not said who it is."""


class Hello(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="hello"):
    """The dialler's first frame: who I am, and whom I believe to have reached."""

    version: int
    cluster_id: str
    node_id: NodeId
    target_id: NodeId


class Welcome(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="welcome"):
    """The answer to a `Hello` that was accepted; messages may flow."""

    version: int
    node_id: NodeId


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="refusal"):
    """The last frame of a connection that is closed on purpose, for the other side's log."""

    reason: str


class Ping(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="ping"):
    """Nothing but a sign of life; either side sends one in each interval and nobody answers it."""


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="m"):
    """One message and the group it belongs to; the sender is the connection's."""

    group: GroupId
    message: Message


AcceptedFrame = Hello | Ping | Envelope
"""What a dialler may send."""

DialledFrame = Welcome | Refusal | Ping
"""What the accepting side may send."""

_REASON_LENGTH_MAX = 200


class Codec:
    """Encodes and decodes for one node; `frame_of` remembers the latest message, so that it is encoded once for all."""

    __slots__ = ("_accepted", "_dialled", "_encoder", "_latest", "_latest_frame")

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._accepted = msgspec.msgpack.Decoder(AcceptedFrame)
        self._dialled = msgspec.msgpack.Decoder(DialledFrame)
        self._latest: tuple[GroupId, Message] | None = None
        self._latest_frame = bytearray()

    def frame_of(self, group: GroupId, message: Message) -> bytearray:
        """Return the complete frame of `message`; the very same object sent again in a row costs no encoding."""
        latest = self._latest
        if latest is None or latest[1] is not message or latest[0] != group:
            self._latest_frame = self.control_frame(Envelope(group, message))
            self._latest = (group, message)
        return self._latest_frame

    def forget(self) -> None:
        """Let go of the latest message, which may be large."""
        self._latest = None
        self._latest_frame = bytearray()

    def control_frame(self, value: Hello | Welcome | Refusal | Ping | Envelope) -> bytearray:
        """Return the complete frame of `value`."""
        frame = bytearray(HEADER_BYTES)
        self._encoder.encode_into(value, frame, HEADER_BYTES)
        return add_header(frame)

    def opening(self, value: Hello | Welcome | Refusal) -> bytes:
        """Return the preface and the first frame of one direction."""
        return PREFACE + self.control_frame(value)

    def refusal(self, reason: str) -> Refusal:
        """Return a `Refusal` whose reason fits a handshake frame."""
        return Refusal(reason[:_REASON_LENGTH_MAX])

    def decode_accepted(self, payload: memoryview) -> AcceptedFrame:
        """Return what a dialler sent; raise PeerError with the reason if it is nothing that a dialler sends."""
        try:
            frame: AcceptedFrame = self._accepted.decode(payload)
        except _UNDECODABLE as error:
            raise PeerError(f"an undecodable frame of {len(payload)} bytes: {error}") from error
        return frame

    def decode_dialled(self, payload: memoryview) -> DialledFrame:
        """Return what the accepting side sent; raise PeerError with the reason if it is nothing that it sends."""
        try:
            frame: DialledFrame = self._dialled.decode(payload)
        except _UNDECODABLE as error:
            raise PeerError(f"an undecodable frame of {len(payload)} bytes: {error}") from error
        return frame


_UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""msgspec's own errors, and what it lets through for bad UTF-8, nesting and numbers."""
