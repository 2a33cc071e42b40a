"""Small writes of one connection that are started together: what is looked at once for all of them still counts."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from raftline.kv.limits import Limits
from raftline.kv.machine import encode_command

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

    Encode = Callable[..., bytes]
    NewConversation = Callable[..., Conversation]


def test_small_writes_wait_for_reads_under_way(conversation: "Conversation", request_of: "Encode") -> None:
    """They would be seen by a read that was sent before them, and is asked for already."""
    conversation.raw(request_of(b"SET", b"k", b"old"))
    conversation.send(request_of(b"GET", b"k"))
    assert [command for command, _ in conversation.node.waiting] == [None]
    assert conversation.send(request_of(b"SET", b"k", b"1") + request_of(b"INCR", b"k")) == b""
    assert [command for command, _ in conversation.node.waiting] == [None]
    conversation.node.answer()
    assert conversation.take() == b"$3\r\nold\r\n"
    assert [command for command, _ in conversation.node.waiting] == [
        encode_command([b"SET", b"k", b"1"]),
        encode_command([b"INCR", b"k"]),
    ]


def test_a_long_key_among_small_writes_is_refused(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """The limit counts for each of them, and those around it are carried out."""
    talk = new_conversation(limits=Limits(key_bytes_max=100))
    found = talk.raw(b"".join(request_of(b"SET", b"k" * length, b"v") for length in (100, 101, 1)))
    first, refusal, last, end = found.split(b"\r\n")
    assert (first, last, end) == (b"+OK", b"+OK", b"")
    assert refusal == b"-ERR a key of 101 bytes is above the limit of 100"


def test_many_small_writes_are_bounded_in_bytes(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """A pipeline waits once those under way take too much memory, however small each is."""
    talk = new_conversation(limits=Limits(pipeline_bytes=10_000))
    data = b"".join(request_of(b"SET", b"k", b"v" * 1_000) for _ in range(30))
    talk.send(data)
    assert len(talk.node.waiting) == 10
    found = b""
    while talk.node.waiting:
        talk.node.answer()
        found += talk.take()
    assert found == b"+OK\r\n" * 30


def test_a_turn_starts_only_so_many(new_conversation: "NewConversation", request_of: "Encode") -> None:
    """However much a client has sent, the others have their turns in between."""
    talk = new_conversation(limits=Limits(pipeline_max=5_000))
    for _ in range(3):
        talk.connection.intake.feed(request_of(b"SET", b"k", b"v") * 600)
    talk.connection.turn()
    assert len(talk.node.waiting) == 1024
    assert talk.ready == [talk.connection]
    talk.take()
    assert len(talk.node.waiting) == 1800


def test_each_is_counted(conversation: "Conversation", request_of: "Encode") -> None:
    """INFO commandstats and CLIENT LIST tell of writes that were started together, too."""
    statistics = conversation.connection.client.server.statistics
    conversation.raw(request_of(b"SET", b"k", b"1") * 2 + request_of(b"INCR", b"k") * 3)
    assert (statistics.calls["set"], statistics.calls["incr"], statistics.commands) == (2, 3, 5)
    assert conversation.connection.client.last_command == "incr"
