"""Compare and set, compare and delete: the words of newer Redis and Valkey."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, HeldNode

WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
NIL, SYNTAX = b"$-1\r\n", b"-ERR syntax error\r\n"


def ask(talk: "Conversation", text: str) -> bytes:
    """Send a line and return the reply."""
    return talk.ask(*text.encode().split())


@pytest.mark.parametrize(
    ("text", "reply", "after"),
    [
        ("SET k new IFEQ old", b"+OK\r\n", b"new"),
        ("SET k new ifeq other", NIL, b"old"),
        ("SET k new IFNE other", b"+OK\r\n", b"new"),
        ("SET k new IFNE old", NIL, b"old"),
        ("SET none new IFEQ old", NIL, b"old"),
        ("SET k new IFEQ old GET", b"$3\r\nold\r\n", b"new"),
        ("SET k new GET IFEQ other", b"$3\r\nold\r\n", b"old"),
        ("SET k new IFEQ old EX 100", b"+OK\r\n", b"new"),
        ("SET k new IFEQ old NX", SYNTAX, b"old"),
        ("SET k new XX IFNE x", SYNTAX, b"old"),
        ("SET k new IFEQ old IFNE x", SYNTAX, b"old"),
        ("SET k new IFEQ", SYNTAX, b"old"),
        ("GETEX k IFEQ old", SYNTAX, b"old"),
        ("SET l new IFEQ 1", WRONG_TYPE, b"old"),
        ("DELEX k", b":1\r\n", None),
        ("DELEX l", b":1\r\n", b"old"),
        ("DELEX none", b":0\r\n", b"old"),
        ("DELEX k IFEQ old", b":1\r\n", None),
        ("DELEX k IFEQ other", b":0\r\n", b"old"),
        ("DELEX k ifne other", b":1\r\n", None),
        ("DELEX k IFNE old", b":0\r\n", b"old"),
        ("DELEX none IFNE old", b":0\r\n", b"old"),
        ("DELEX l IFEQ 1", WRONG_TYPE, b"old"),
        ("DELEX k IFEQ", b"-ERR wrong number of arguments for 'delex' command\r\n", b"old"),
        ("DELEX k IFDEQ 1", SYNTAX, b"old"),
        ("DELIFEQ k old", b":1\r\n", None),
        ("DELIFEQ k other", b":0\r\n", b"old"),
        ("DELIFEQ none old", b":0\r\n", b"old"),
        ("DELIFEQ l 1", WRONG_TYPE, b"old"),
    ],
)
def test_a_condition_decides_what_is_done(
    conversation: "Conversation", text: str, reply: bytes, after: bytes | None
) -> None:
    """The value is compared when the command is applied; nothing happens where the condition is not met."""
    ask(conversation, "SET k old")
    ask(conversation, "RPUSH l 1")
    assert ask(conversation, text) == reply
    assert ask(conversation, "GET k") == (NIL if after is None else b"$%d\r\n%b\r\n" % (len(after), after))


def test_a_key_that_is_not_there_is_not_equal_to_anything(conversation: "Conversation") -> None:
    """IFNE creates a key, IFEQ does not, not even with an empty value."""
    assert conversation.ask(b"SET", b"k", b"v", b"IFEQ", b"") == NIL
    assert conversation.ask(b"SET", b"k", b"v", b"IFNE", b"v") == b"+OK\r\n"


def test_conditions_wait_until_every_member_knows_them(conversation: "Conversation", held_node: "HeldNode") -> None:
    """An older member would take SET without its condition for an error, and differ from then on (G1)."""
    held_node.command_version = 1
    conversation.connection._is_current = False
    for text in ("SET k v IFEQ x", "DELEX k", "DELIFEQ k v", "RAFTLINE.ONCE 1 1 SET k v IFNE x"):
        assert ask(conversation, text).startswith(b"-TRYAGAIN not every member knows this command yet"), text
    assert ask(conversation, "SET k IFEQ") == b"+OK\r\n"
