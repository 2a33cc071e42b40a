"""The lab's RPCs on the wire: which method a core message is called by, and its bytes.

Requests say who asks, because `handle(method, args)` does not; a reply comes back through the call it answers. Only
the three RPCs of the paper exist here.
"""

from typing import TypeAlias

import msgspec

from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    Message,
    SnapshotReply,
    SnapshotRequest,
    VoteReply,
    VoteRequest,
)

__all__ = ["METHODS", "Answer", "Question", "Request", "Wire"]

Question: TypeAlias = VoteRequest | AppendRequest | SnapshotRequest
Answer: TypeAlias = VoteReply | AppendReply | SnapshotReply

METHODS: dict[type, str] = {
    VoteRequest: "RequestVote",
    AppendRequest: "AppendEntries",
    SnapshotRequest: "InstallSnapshot",
}
"""The method that carries each kind of question."""


class Request(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The arguments of a call."""

    sender: int
    """The caller's position in `peers`."""
    message: Question


class Wire:
    """Encodes and decodes for one server; the same message to several peers in a row is encoded once."""

    __slots__ = ("_answers", "_encoder", "_latest", "_latest_args", "_me", "_requests")

    def __init__(self, me: int) -> None:
        self._me = me
        self._encoder = msgspec.msgpack.Encoder()
        self._requests = msgspec.msgpack.Decoder(Request)
        self._answers = msgspec.msgpack.Decoder(Answer)
        self._latest: Message | None = None
        self._latest_args = b""

    def encode_request(self, message: Question) -> bytes:
        """Return the arguments that carry `message`."""
        if self._latest is not message:
            self._latest = message
            self._latest_args = self._encoder.encode(Request(self._me, message))
        return self._latest_args

    def encode_answer(self, message: Answer) -> bytes:
        """Return the reply that carries `message`."""
        return self._encoder.encode(message)

    def forget(self) -> None:
        """Let go of the latest message, so that it keeps no entries alive (D16)."""
        self._latest = None
        self._latest_args = b""

    def decode_request(self, method: str, args: bytes) -> Request | None:
        """Return what was asked, None if it is nothing that a peer asks by that method."""
        try:
            request = self._requests.decode(args)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            return None
        return request if METHODS[type(request.message)] == method else None

    def decode_answer(self, reply: bytes) -> Answer | None:
        """Return what was answered, None if it is no answer."""
        try:
            answer: Answer = self._answers.decode(reply)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            return None
        return answer
