"""The lab's RPCs travel as bytes that decode to what was sent, and to nothing if they are anything else."""

import pytest

from raftline.core.entries import Entry
from raftline.core.membership import Membership
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    SnapshotReply,
    SnapshotRequest,
    VoteReply,
    VoteRequest,
)
from raftline.lab.wire import METHODS, Answer, Question, Request, Wire

_QUESTIONS: list[Question] = [
    VoteRequest(3, 7, 2),
    AppendRequest(3, 7, 2, (Entry(8, 3, b"x"),), 6),
    SnapshotRequest(3, 7, 2, Membership(), 0, b"data", done=True),
]
_ANSWERS: list[Answer] = [
    VoteReply(3, 3, granted=True),
    AppendReply(3, 3, True, 7, 8),  # noqa: FBT003  as it is written in core
    SnapshotReply(3, 3, 7, 4, installed=True),
]


@pytest.mark.parametrize("message", _QUESTIONS, ids=lambda message: type(message).__name__)
def test_a_question_arrives_with_its_sender(message: Question) -> None:
    """Each of the three RPCs decodes to itself, under its own method only (H10)."""
    wire = Wire(4)
    args = wire.encode_request(message)
    for kind, method in METHODS.items():
        expected = Request(4, message) if kind is type(message) else None
        assert Wire(0).decode_request(method, args) == expected


@pytest.mark.parametrize("message", _ANSWERS, ids=lambda message: type(message).__name__)
def test_an_answer_arrives(message: Answer) -> None:
    """Each reply decodes to itself (H10)."""
    wire = Wire(1)
    assert wire.decode_answer(wire.encode_answer(message)) == message


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\xc1", b"garbage", b"\x92\x00\x91\xa1V", b"\x91" * 2000])
def test_garbage_is_nothing(garbage: bytes) -> None:
    """Bytes that are no message decode to None and raise nothing (E7)."""
    wire = Wire(0)
    assert wire.decode_answer(garbage) is None
    assert all(wire.decode_request(method, garbage) is None for method in METHODS.values())


def test_one_message_to_many_is_encoded_once() -> None:
    """The same object sent again gives the very same bytes, until it is forgotten (D16)."""
    wire = Wire(0)
    message = _QUESTIONS[1]
    first = wire.encode_request(message)
    assert wire.encode_request(message) is first
    wire.forget()
    assert wire.encode_request(message) is not first
