"""RAFTLINE.ONCE: the command inside is checked as if it came alone, and reaches the node with its session."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from raftline.errors import OutdatedSequence, ReplyForgotten, SessionClosed, Timeout
from raftline.kv.limits import Limits
from raftline.kv.machine import encode_command

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

    Encode = Callable[..., bytes]
    NewConversation = Callable[..., Conversation]


def test_a_write_goes_through_the_log_in_its_session(conversation: "Conversation") -> None:
    """The log holds the command as it is, and the session and number beside it (G8)."""
    assert conversation.ask(b"raftline.once", b"7", b"3", b"incrby", b"k", b"5") == b":5\r\n"
    assert conversation.node.once == [(7, 3)]
    assert conversation.node.log == [encode_command([b"INCRBY", b"k", b"5"])]
    assert conversation.ask(b"INCR", b"k") == b":6\r\n"
    assert conversation.node.once[1] == (None, 0)


def test_a_read_is_answered_as_a_read(conversation: "Conversation") -> None:
    """What only reads is made linearizable anew each time; its number is not used and nothing is proposed."""
    conversation.ask(b"SET", b"k", b"v")
    assert conversation.ask(b"RAFTLINE.ONCE", b"7", b"1", b"get", b"k") == b"$1\r\nv\r\n"
    assert conversation.node.reads == [("linearizable", 0.0)]
    assert conversation.node.once == [(None, 0)]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((b"x", b"1", b"INCR", b"k"), b"session is not a number"),
        ((b"-1", b"1", b"INCR", b"k"), b"session is not a number"),
        ((b"7", b"0", b"INCR", b"k"), b"sequence is not a number above 0"),
        ((b"7", b"1.5", b"INCR", b"k"), b"sequence is not a number above 0"),
        ((b"7", b"1", b"NOSUCH", b"k"), b"unknown command 'NOSUCH', with args beginning with: 'k'"),
        ((b"7", b"1", b"INCR"), b"wrong number of arguments for 'incr'"),
        ((b"7", b"1", b"INCRBY", b"k", b"x"), b"value is not an integer"),
        ((b"7", b"1", b"HELLO", b"3"), b"'hello' cannot be in RAFTLINE.ONCE"),
        ((b"7", b"1", b"CLIENT", b"ID"), b"'client|id' cannot be in RAFTLINE.ONCE"),
        ((b"7", b"1", b"CLIENT", b"NOSUCH"), b"unknown subcommand 'NOSUCH'"),
        ((b"7", b"1", b"RAFTLINE.TRANSFER"), b"'raftline.transfer' cannot be in RAFTLINE.ONCE"),
        ((b"7", b"1", b"RAFTLINE.ONCE", b"7", b"1", b"INCR", b"k"), b"'raftline.once' cannot be in RAFTLINE.ONCE"),
        ((b"7", b"1", b"RAFTLINE.TICK"), b"unknown command 'RAFTLINE.TICK'"),
        ((b"7", b"1"), b"wrong number of arguments for 'raftline.once'"),
    ],
)
def test_what_cannot_be_carried_out_once_is_refused_in_words(
    conversation: "Conversation", args: tuple[bytes, ...], words: bytes
) -> None:
    """Nothing of it reaches the node; the connection goes on."""
    reply = conversation.ask(b"RAFTLINE.ONCE", *args)
    assert reply.startswith(b"-ERR ")
    assert words in reply
    assert conversation.node.once == []
    assert conversation.ask(b"PING") == b"+PONG\r\n"


def test_limits_hold_for_the_command_inside(new_conversation: "NewConversation") -> None:
    """A key or value is not larger because it stands in another command."""
    conversation = new_conversation(limits=Limits(key_bytes_max=10, value_bytes_max=20))
    assert b"a key of 11 bytes" in conversation.ask(b"RAFTLINE.ONCE", b"7", b"1", b"SET", b"k" * 11, b"v")
    assert b"a value of 21 bytes" in conversation.ask(b"RAFTLINE.ONCE", b"7", b"1", b"SET", b"k", b"v" * 21)
    assert conversation.ask(b"RAFTLINE.ONCE", b"7", b"1", b"SET", b"k" * 10, b"v" * 20) == b"+OK\r\n"


def test_a_pipeline_keeps_its_order(conversation: "Conversation", request_of: "Encode") -> None:
    """Commands in sessions wait for reads before them, and reads for them, like any write."""
    node = conversation.node
    pipeline = [
        (b"RAFTLINE.ONCE", b"7", b"1", b"APPEND", b"k", b"a"),
        (b"APPEND", b"k", b"b"),
        (b"RAFTLINE.ONCE", b"7", b"2", b"GET", b"k"),
        (b"RAFTLINE.ONCE", b"7", b"2", b"APPEND", b"k", b"c"),
        (b"RAFTLINE.ONCE", b"7", b"0", b"APPEND", b"k", b"d"),
        (b"GET", b"k"),
    ]
    assert conversation.send(b"".join(request_of(*args) for args in pipeline)) == b""
    assert len(node.waiting) == 2
    node.answer()
    assert conversation.take() == b":1\r\n:2\r\n"
    assert [command for command, _ in node.waiting] == [None]
    node.answer()
    assert conversation.take() == b"$2\r\nab\r\n"
    assert node.once == [(7, 1), (None, 0), (7, 2)]
    node.answer()
    assert conversation.take().startswith(b":3\r\n-ERR sequence")
    node.answer()
    assert conversation.take() == b"$3\r\nabc\r\n"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (SessionClosed("session 7 is not open"), b"-NOSESSION session 7 is not open"),
        (OutdatedSequence("older"), b"-OUTDATED older"),
        (ReplyForgotten("was carried out"), b"-FORGOTTEN was carried out"),
        (Timeout("late"), b"-CLUSTERDOWN no outcome in time: the command may have been applied"),
    ],
)
def test_each_refusal_has_its_code(
    conversation: "Conversation", request_of: "Encode", failure: Exception, code: bytes
) -> None:
    """A program can tell what is known of a command in a session by the first word of the error (G8, G19)."""
    conversation.send(request_of(b"RAFTLINE.ONCE", b"7", b"1", b"INCR", b"k"))
    conversation.node.answer(failure)
    assert conversation.take().startswith(code)


def test_a_client_without_replies_gets_none(conversation: "Conversation", request_of: "Encode") -> None:
    """CLIENT REPLY OFF silences commands in sessions too."""
    conversation.ask(b"CLIENT", b"REPLY", b"OFF")
    assert conversation.ask(b"RAFTLINE.ONCE", b"7", b"1", b"INCR", b"k") == b""
    assert conversation.raw(request_of(b"CLIENT", b"REPLY", b"ON") + request_of(b"GET", b"k")) == b"+OK\r\n$1\r\n1\r\n"
