"""Commands about the connection; right and wrong ones are compared with Redis in test_against_redis."""

from typing import TYPE_CHECKING, Any

import hiredis
import pytest

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation


def ask(conversation: "Conversation", *args: bytes) -> Any:
    """Send a command and return its reply as a value."""
    reader = hiredis.Reader()
    reader.feed(conversation.ask(*args))
    return reader.gets()


def test_hello_tells_who_is_there(conversation: "Conversation") -> None:
    """HELLO changes the protocol, sets the name, and describes the server."""
    told = ask(conversation, b"HELLO", b"3", b"AUTH", b"default", b"any", b"SETNAME", b"worker")
    assert told[b"proto"] == 3
    assert told[b"role"] == b"master"
    assert told[b"id"] == conversation.connection.client.id
    assert ask(conversation, b"CLIENT", b"GETNAME") == b"worker"


def test_a_refused_hello_changes_nothing(conversation: "Conversation") -> None:
    """After an error the protocol and the name are what they were."""
    for options in ([b"SETNAME", b"x", b"foo"], [b"AUTH", b"nobody", b"x"], [b"SETNAME", b"a b"]):
        conversation.ask(b"HELLO", b"3", *options)
    assert conversation.connection.client.protocol == 2
    assert ask(conversation, b"CLIENT", b"GETNAME") is None


def test_reset_makes_a_new_connection_of_it(conversation: "Conversation") -> None:
    """Protocol, name and silence are forgotten, the number is kept."""
    conversation.ask(b"HELLO", b"3", b"SETNAME", b"worker")
    number = ask(conversation, b"CLIENT", b"ID")
    assert ask(conversation, b"RESET") == b"RESET"
    assert conversation.ask(b"GET", b"nosuch") == b"$-1\r\n"
    assert ask(conversation, b"CLIENT", b"GETNAME") is None
    assert ask(conversation, b"CLIENT", b"ID") == number


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((b"lib-name", b"a b"), "lib-name cannot contain spaces"),
        ((b"LIB-VER", b"1\n2"), "lib-ver cannot contain spaces"),
        ((b"foo", b"bar"), "Unrecognized option 'foo'"),
    ],
)
def test_what_a_library_says_of_itself_is_checked(
    conversation: "Conversation", args: tuple[bytes, ...], words: str
) -> None:
    """Names that would break the lines of CLIENT LIST are refused."""
    assert words in str(ask(conversation, b"CLIENT", b"SETINFO", *args))


def test_clients_are_listed(service: Any, conversation: "Conversation") -> None:
    """By number, by type, or all of them."""
    other = service.connect("127.0.0.1:9", "127.0.0.1:7001", lambda: None)
    assert ask(conversation, b"CLIENT", b"LIST").count(b" addr=") == 2
    assert ask(conversation, b"CLIENT", b"LIST", b"TYPE", b"normal").count(b" addr=") == 2
    assert ask(conversation, b"CLIENT", b"LIST", b"TYPE", b"pubsub") == b""
    listed = ask(conversation, b"CLIENT", b"LIST", b"ID", b"%d" % other.client.id, b"999")
    assert listed.startswith(b"id=%d addr=127.0.0.1:9 " % other.client.id)
    assert listed.count(b" addr=") == 1
    assert ask(conversation, b"CLIENT", b"INFO").startswith(b"id=%d " % conversation.connection.client.id)


def test_local_commands_need_no_node(conversation: "Conversation") -> None:
    """PING, ECHO and SELECT 0 are answered even if no quorum can be reached."""
    assert conversation.send(b"PING\r\nECHO x\r\nSELECT 0\r\nCLIENT NO-TOUCH ON\r\n") == (
        b"+PONG\r\n$1\r\nx\r\n+OK\r\n+OK\r\n"
    )
