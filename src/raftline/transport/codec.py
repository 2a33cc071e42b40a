"""Frames become messages and messages become frames: one msgspec Encoder, one typed Decoder per direction.

A payload is a MessagePack array whose first element is a tag: `Hello`, `Welcome`, `Refusal` and `Ping` run the
connection, `Envelope` carries one message of one group, `Stranger` is said to a dialler that is no member. Receivers
ignore further elements at the end of an array, so a later version may append fields; messages of a kind they do not
know are told apart from nonsense. It refuses to know sockets, queues and time.
"""

from typing import get_args

import msgspec

from raftline.core.ids import GroupId, Index, NodeId
from raftline.core.messages import Beat, Message, RemoteCommands, RemoteQuery, RemoteReply
from raftline.errors import PeerError
from raftline.transport.frame import HEADER_BYTES, PREFACE, add_header

__all__ = [
    "HANDSHAKE_BYTES_MAX",
    "VERSIONS",
    "AcceptedFrame",
    "Codec",
    "DialledFrame",
    "Envelope",
    "Hello",
    "Ping",
    "Refusal",
    "Stranger",
    "UnknownKind",
    "Versions",
    "Welcome",
    "agreed_version",
    "version_of",
]


class Versions(msgspec.Struct, frozen=True):
    """The protocol versions that a node speaks, both included."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return f"version {self.oldest}" if self.oldest == self.newest else f"versions {self.oldest} to {self.newest}"


VERSIONS = Versions(1, 4)
"""What this code speaks. 1: the first. 2: both sides say which versions they speak, and pass over unknown messages.
3: whoever asks for votes and is no member is told so. 4: nodes with groups that sleep exchange beats,
and pass commands on to those that host a group.

A message or field that older nodes must not see raises `newest`, and `_SINCE` says so. `oldest` is raised only when the
release that last needed it is out of support: during an upgrade both must find a common one.
"""

HANDSHAKE_BYTES_MAX = 1024
"""The longest frame of a handshake; nothing longer is buffered for somebody who has not said who it is."""


class Hello(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="hello"):
    """The dialler's first frame: who I am, and whom I believe to have reached."""

    version: int
    """The oldest that I speak; nodes of version 1 know no other."""
    cluster_id: str
    node_id: NodeId
    target_id: NodeId
    newest: int = 0
    """The newest that I speak; 0: the same."""

    @property
    def versions(self) -> Versions:
        """Return what the dialler speaks."""
        return Versions(self.version, max(self.version, self.newest))


class Welcome(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="welcome"):
    """The answer to a `Hello` that was accepted; messages of `version` may flow."""

    version: int
    node_id: NodeId


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="refusal"):
    """The last frame of a connection that is closed on purpose, for the other side's log."""

    reason: str


class Stranger(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="stranger"):
    """To the dialler, which asked for a vote: as of `index` you are no member of the group; the members are these.

    As many of `addresses` as fit a frame of the handshake's size, which is all that a dialler reads.
    """

    group: GroupId
    index: Index
    """Everything up to here is committed, as the sender knows, and names no membership with the dialler in it."""
    addresses: tuple[tuple[NodeId, str], ...]
    history: int = 0
    """Of the sender's log, 0 if it knows none."""


class Ping(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="ping"):
    """Nothing but a sign of life; either side sends one in each interval and nobody answers it."""


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="m"):
    """One message and the group it belongs to; the sender is the connection's."""

    group: GroupId
    message: Message


AcceptedFrame = Hello | Ping | Envelope
"""What a dialler may send."""

DialledFrame = Welcome | Refusal | Ping | Stranger
"""What the accepting side may send."""

_REASON_LENGTH_MAX = 200

_SINCE: dict[type, int] = {Stranger: 3, Beat: 4, RemoteCommands: 4, RemoteQuery: 4, RemoteReply: 4}
"""Messages and frames that came with a later version than the first; who speaks an older one is not sent them."""

_KINDS = {kind.__struct_config__.tag for kind in get_args(Message)}
_CONTROL_KINDS = {"hello", "welcome", "refusal", "ping", "m", "stranger"}


class UnknownKind(PeerError):
    """A well-formed frame or message of a kind that this version does not know; its text is the kind."""


def version_of(kind: type) -> int:
    """Return the version that a peer must speak to be sent messages of `kind`."""
    return _SINCE.get(kind, 1)


def agreed_version(ours: Versions, theirs: Versions) -> int | None:
    """Return the newest version that both speak, None if there is none."""
    newest = min(ours.newest, theirs.newest)
    return newest if newest >= max(ours.oldest, theirs.oldest) else None


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
        if self._latest is not None:
            self._latest = None
            self._latest_frame = bytearray()

    def control_frame(self, value: Hello | Welcome | Refusal | Ping | Stranger | Envelope) -> bytearray:
        """Return the complete frame of `value`."""
        frame = bytearray(HEADER_BYTES)
        self._encoder.encode_into(value, frame, HEADER_BYTES)
        return add_header(frame)

    def opening(self, value: Hello | Welcome | Refusal) -> bytes:
        """Return the preface and the first frame of one direction."""
        return PREFACE + self.control_frame(value)

    def stranger_frame(self, word: Stranger) -> bytearray:
        """Return the complete frame of `word`, without the last of its addresses if it would be too long."""
        frame = self.control_frame(word)
        while len(frame) - HEADER_BYTES > HANDSHAKE_BYTES_MAX:
            word = msgspec.structs.replace(word, addresses=word.addresses[:-1])
            frame = self.control_frame(word)
        return frame

    def refusal(self, reason: str) -> Refusal:
        """Return a `Refusal` whose reason fits a handshake frame."""
        return Refusal(reason[:_REASON_LENGTH_MAX])

    def decode_accepted(self, payload: memoryview) -> AcceptedFrame:
        """Return what a dialler sent; raise PeerError with the reason if it is nothing that a dialler sends.

        Raises `UnknownKind` for what a dialler of a later version may send.
        """
        try:
            frame: AcceptedFrame = self._accepted.decode(payload)
        except _UNDECODABLE as error:
            _check_known(payload)
            raise PeerError(f"an undecodable frame of {len(payload)} bytes: {error}") from error
        return frame

    def decode_dialled(self, payload: memoryview) -> DialledFrame:
        """Return what the accepting side sent; raise PeerError with the reason if it is nothing that it sends.

        Raises `UnknownKind` for what an accepting side of a later version may send.
        """
        try:
            frame: DialledFrame = self._dialled.decode(payload)
        except _UNDECODABLE as error:
            _check_known(payload)
            raise PeerError(f"an undecodable frame of {len(payload)} bytes: {error}") from error
        return frame


def _check_known(payload: memoryview) -> None:
    """Raise `UnknownKind` if only the kind of a frame, or of the message in it, is not known."""
    try:
        parts = _decode_parts(payload)
        kind = _decode_kind(parts[0])
        if kind == "m" and len(parts) > 2:
            kind = _decode_kind(_decode_parts(parts[2])[0])
            known = kind in _KINDS
        else:
            known = kind in _CONTROL_KINDS
    except (*_UNDECODABLE, IndexError):
        return
    if not known and kind.isidentifier() and len(kind) <= _KIND_LENGTH_MAX:
        raise UnknownKind(kind)


_KIND_LENGTH_MAX = 40
_decode_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_kind = msgspec.msgpack.Decoder(str).decode

_UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""msgspec's own errors, and what it lets through for bad UTF-8, nesting and numbers."""
