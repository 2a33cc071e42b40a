"""RAFTLINE.SESSION: numbers for RAFTLINE.ONCE, shown and given back."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from raftline.errors import NotLeader, Timeout

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

    Encode = Callable[..., bytes]


def ask(conversation: "Conversation", request_of: "Encode", *lines: str) -> list[bytes]:
    """Send commands one after the other and return the replies."""

    async def talk() -> list[bytes]:
        replies = []
        for line in lines:
            output = conversation.send(request_of(*line.encode().split()))
            for _ in range(5):
                await asyncio.sleep(0)
                output += conversation.take()
            replies.append(output)
        return replies

    return asyncio.run(talk())


def test_a_session_is_opened_shown_and_closed(conversation: "Conversation", request_of: "Encode") -> None:
    """Its number, what is known of it, and whether it was open (G8)."""
    opened, shown, closed, again, gone = ask(
        conversation,
        request_of,
        "RAFTLINE.SESSION",
        "raftline.session show 1",
        "RAFTLINE.SESSION CLOSE 1",
        "RAFTLINE.SESSION CLOSE 1",
        "RAFTLINE.SESSION SHOW 1",
    )
    assert opened == b":1\r\n"
    assert shown.startswith(b"*10\r\n$7\r\nsession\r\n:1\r\n$8\r\nsequence\r\n:0\r\n")
    assert (closed, again) == (b":1\r\n", b":0\r\n")
    assert gone == b"$-1\r\n"


@pytest.mark.parametrize("word", ["x", "-1", "1.0", "99999999999999999999"])
def test_what_is_no_session_is_refused(conversation: "Conversation", request_of: "Encode", word: str) -> None:
    """A number that cannot be a session's never reaches the node."""
    for reply in ask(conversation, request_of, f"RAFTLINE.SESSION SHOW {word}", f"RAFTLINE.SESSION CLOSE {word}"):
        assert reply == b"-ERR session is not a number that RAFTLINE.SESSION gave\r\n"


def test_what_did_not_come_to_its_end_says_so(conversation: "Conversation", request_of: "Encode") -> None:
    """Without a leader nothing was opened; without an outcome it may have been; a read is only a read (G19)."""
    conversation.node.failure = NotLeader()
    for line in ("RAFTLINE.SESSION", "RAFTLINE.SESSION CLOSE 1"):
        (reply,) = ask(conversation, request_of, line)
        assert reply == b"-CLUSTERDOWN no leader is known: the command did not take effect\r\n"
    conversation.node.failure = Timeout("late")
    (reply,) = ask(conversation, request_of, "RAFTLINE.SESSION")
    assert b"may have been applied" in reply
    (reply,) = ask(conversation, request_of, "RAFTLINE.SESSION SHOW 1")
    assert b"nothing can be read" in reply
