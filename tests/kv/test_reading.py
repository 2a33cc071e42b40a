"""The reads of a connection: what they leave behind."""

import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

VALUE_BYTES = 1 << 20


def test_a_reply_that_was_taken_takes_no_memory(conversation: "Conversation") -> None:
    """A client that read much and then says nothing would else hold its last replies, however long it stays."""
    conversation.ask(b"SET", b"k", b"v" * VALUE_BYTES)
    conversation.ask(b"GET", b"nokey")
    tracemalloc.start()
    try:
        assert len(conversation.ask(b"GET", b"k")) > VALUE_BYTES
        held_bytes, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes > VALUE_BYTES
    assert held_bytes < VALUE_BYTES // 2
