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


def test_another_name_keeps_value_and_deadline(conversation: "Conversation") -> None:
    """RENAME moves both, also onto a key that has a deadline of its own, or onto itself."""
    conversation.ask(b"RPUSH", b"a", b"x")
    conversation.ask(b"PEXPIRE", b"a", b"5000")
    conversation.ask(b"SET", b"b", b"v", b"PX", b"9000")
    assert conversation.ask(b"RENAME", b"a", b"a") == b"+OK\r\n"
    assert conversation.ask(b"RENAME", b"a", b"b") == b"+OK\r\n"
    assert conversation.ask(b"PTTL", b"b") == b":5000\r\n"
    assert conversation.ask(b"TYPE", b"b") == b"+list\r\n"
    assert conversation.ask(b"EXISTS", b"a") == b":0\r\n"


def test_a_copy_goes_its_own_way(conversation: "Conversation") -> None:
    """After COPY a change of one of the two is not seen in the other."""
    conversation.ask(b"SADD", b"a", b"x")
    assert conversation.ask(b"COPY", b"a", b"b") == b":1\r\n"
    conversation.ask(b"SADD", b"a", b"y")
    conversation.ask(b"SREM", b"b", b"x")
    assert conversation.ask(b"SCARD", b"a") == b":2\r\n"
    assert conversation.ask(b"EXISTS", b"b") == b":0\r\n"


def test_a_random_key_is_one_that_is_alive(conversation: "Conversation", clock: "FakeClock") -> None:
    """RANDOMKEY returns every key at some time, no expired one, and nil if there is none."""
    assert conversation.ask(b"RANDOMKEY") == b"$-1\r\n"
    conversation.ask(b"SET", b"{t}gone", b"v", b"PX", b"10")
    conversation.ask(b"MSET", b"{t}a", b"1", b"{t}b", b"2")
    clock.now_ms += 20
    found = {conversation.ask(b"RANDOMKEY") for _ in range(60)}
    assert found == {b"$4\r\n{t}a\r\n", b"$4\r\n{t}b\r\n"}
