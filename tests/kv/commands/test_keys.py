"""Commands about keys: walks, counts and removal."""

from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock


def read(reply: bytes) -> Any:
    """Return the value of a reply."""
    reader = hiredis.Reader()
    reader.feed(reply)
    return reader.gets()


def walk(conversation: "Conversation", *options: bytes) -> list[bytes]:
    """Walk over all keys with SCAN."""
    cursor, found = b"0", []
    while True:
        cursor, part = read(conversation.ask(b"SCAN", cursor, *options))
        found += part
        if cursor == b"0":
            return found


def test_a_walk_finds_every_key_once(conversation: "Conversation") -> None:
    """SCAN with its options finds what matches, in many small steps."""
    for number in range(300):
        conversation.ask(b"SET", b"k%d" % number, b"v")
    assert sorted(walk(conversation)) == sorted(b"k%d" % number for number in range(300))
    assert sorted(walk(conversation, b"MATCH", b"k2?", b"COUNT", b"7")) == [b"k2%d" % number for number in range(10)]
    assert len(walk(conversation, b"TYPE", b"STRING")) == 300
    assert walk(conversation, b"TYPE", b"hash") == []
    cursor, part = read(conversation.ask(b"SCAN", b"0", b"COUNT", b"5"))
    assert len(part) <= 10
    assert cursor != b"0"


def test_expired_keys_are_not_walked_over(conversation: "Conversation", clock: "FakeClock") -> None:
    """SCAN and KEYS find no expired key; DBSIZE counts it until it is removed, as in Redis."""
    conversation.ask(b"SET", b"stays", b"v")
    for number in range(30):
        conversation.ask(b"SET", b"goes%d" % number, b"v", b"PX", b"1000")
    clock.now_ms += 1000
    assert walk(conversation) == [b"stays"]
    assert read(conversation.ask(b"KEYS", b"*")) == [b"stays"]
    assert 1 <= read(conversation.ask(b"DBSIZE")) <= 31
    clock.now_ms += 500
    conversation.ask(b"DEL", b"nosuch")
    conversation.ask(b"DEL", b"nosuch")
    assert read(conversation.ask(b"DBSIZE")) == 1


def test_flushing_removes_everything(conversation: "Conversation") -> None:
    """FLUSHALL and FLUSHDB leave nothing, deadlines included."""
    for command in ((b"FLUSHALL",), (b"FLUSHDB", b"async"), (b"flushall", b"SYNC")):
        conversation.ask(b"SET", b"k", b"v", b"EX", b"10")
        assert conversation.ask(*command) == b"+OK\r\n"
        assert conversation.ask(b"DBSIZE") == b":0\r\n"
        conversation.ask(b"SET", b"k", b"v")
        assert conversation.ask(b"TTL", b"k") == b":-1\r\n"


def test_the_type_of_a_key_is_told(conversation: "Conversation") -> None:
    """A string is a string, nothing is none."""
    conversation.ask(b"SET", b"k", b"v")
    assert conversation.ask(b"TYPE", b"k") == b"+string\r\n"
    assert conversation.ask(b"TYPE", b"nosuch") == b"+none\r\n"
