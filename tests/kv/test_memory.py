"""maxmemory: what may grow is refused above it, in Redis's words and for Redis's commands."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from raftline.kv.commands.table import COMMANDS
from raftline.kv.limits import Limits
from raftline.kv.memory import MemoryLimit, parse_memory
from raftline.kv.store import Store

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"

ABOVE = """
SET k 1|SET n 1 KEEPTTL|GET keep|APPEND keep x|INCR n|INCRBYFLOAT n 1|SETRANGE keep 3 x|GETSET keep x|GETDEL nokey
GETEX keep|MSET a 1|MSETNX a 1|LPUSH list a|RPUSHX list a|LINSERT list BEFORE a b|LSET list 0 a|LPOP list
LREM list 0 a|LTRIM list 0 1|RPOPLPUSH list other|LMOVE list other LEFT LEFT|LMPOP 1 list LEFT|SADD set a
SREM set a|SPOP set|SMOVE set other a|SUNIONSTORE other set|HSET hash a b|HSETNX hash a b|HINCRBY hash a 1
HINCRBYFLOAT hash a 1|HMSET hash a b|HDEL hash a|ZADD zset 1 a|ZINCRBY zset 1 a|ZREM zset a|ZPOPMIN zset
ZUNIONSTORE other 1 zset|ZRANGESTORE other zset 0 1|ZREMRANGEBYRANK zset 0 1|SORT list STORE other|SORT list
COPY keep other|RENAME keep kept|RENAME kept keep|EXPIRE keep 1000|PERSIST keep|DEL other|UNLINK other|EXISTS keep
TYPE keep|TTL keep|PING|ECHO x|SCAN 0|SET keep|SET|SETEX k 0 x|CONFIG GET maxmemory|TOUCH keep|OBJECT REFCOUNT keep
BLMOVE list other LEFT LEFT 0.01
MULTI|GET keep|EXEC|MULTI|DISCARD|WATCH keep|MULTI|EXEC|MULTI|SET k v|DEL k|EXEC|UNWATCH
"""
"""Commands for a server that is above its limit; some with too few arguments, or wrong ones."""


class Failure(Exception):
    """An error reply; two with one text are equal."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failure) and self.args == other.args

    __hash__ = Exception.__hash__


def lines() -> list[list[bytes]]:
    """Return the commands of `ABOVE`."""
    return [line.encode().split() for part in ABOVE.split("\n") for line in part.split("|") if line]


def parsed(reply: bytes) -> Any:
    """Return a reply as a client sees it; errors as `Failure`."""
    reader = hiredis.Reader(replyError=Failure)
    reader.feed(reply)
    return reader.gets()


def test_every_command_is_refused_that_redis_refuses(conversation: "Conversation", redis_client: Any) -> None:
    """And no other: writes that can only shrink, reads and wrong arguments are answered as ever."""
    for ask in (conversation.ask, redis_client.ask):
        ask(b"FLUSHALL")
        ask(b"SET", b"keep", b"value")
    try:
        for ask in (conversation.ask, redis_client.ask):
            assert parsed(ask(b"CONFIG", b"SET", b"maxmemory", b"1")) == b"OK"
        refused = 0
        for words in lines():
            mine, theirs = conversation.ask(*words), redis_client.ask(*words)
            assert parsed(mine) == parsed(theirs), words
            refused += mine == OOM
        assert refused > 20
    finally:
        redis_client.ask(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert conversation.ask(b"CONFIG", b"SET", b"maxmemory", b"0") == b"+OK\r\n"
    assert conversation.ask(b"SET", b"k", b"v") == b"+OK\r\n"


def test_the_flag_is_where_redis_has_it(redis_client: Any) -> None:
    """`denyoom` stands at the same commands in COMMAND."""
    theirs: dict[str, bool] = {}

    def note(rows: list[Any]) -> None:
        for row in rows:
            theirs[row[0].decode()] = b"denyoom" in row[2]
            note(row[9])

    note(parsed(redis_client.ask(b"COMMAND")))
    mine = {
        row.name: "denyoom" in row.flags for command in COMMANDS.values() for row in (command, *command.subcommands)
    }
    shared = mine.keys() & theirs.keys()
    assert len(shared) > 150
    assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}


@pytest.mark.parametrize(
    "words",
    [
        b"maxmemory",
        b"maxmemory x",
        b"maxmemory -1",
        b"maxmemory 10tb",
        b"maxmemory 1 maxmemory 2",
        b"nosuch 1",
        b"maxmemory 0 nosuch 1",
        b"maxmemory 1kb",
        b"MAXMEMORY 3M maxmemory-policy noeviction",
    ],
)
def test_it_is_set_in_the_words_of_redis(conversation: "Conversation", redis_client: Any, words: bytes) -> None:
    """Numbers, units, and what is wrong with them."""
    try:
        mine, theirs = (ask(b"CONFIG", b"SET", *words.split()) for ask in (conversation.ask, redis_client.ask))
        assert parsed(mine) == parsed(theirs)
        mine, theirs = (ask(b"CONFIG", b"GET", b"maxmemory") for ask in (conversation.ask, redis_client.ask))
        assert parsed(mine) == parsed(theirs)
    finally:
        redis_client.ask(b"CONFIG", b"SET", b"maxmemory", b"0")


def test_nothing_is_ever_evicted(conversation: "Conversation") -> None:
    """Other policies are refused, and so are settings that are given at the start."""
    assert conversation.ask(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru").startswith(
        b"-ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - only noeviction is supported"
    )
    assert b"given to each server when it starts" in conversation.ask(b"CONFIG", b"SET", b"maxclients", b"5")


@pytest.mark.parametrize("limits", [Limits(maxmemory=1)])
def test_what_is_in_a_session_is_refused_too(conversation: "Conversation", limits: Limits) -> None:
    """RAFTLINE.ONCE is no way around it, and takes no number for what was refused; a lock is memory as well."""
    assert limits.maxmemory == 1
    assert conversation.ask(b"SET", b"k", b"v") == b"+OK\r\n"
    assert conversation.ask(b"RAFTLINE.ONCE", b"1", b"1", b"SET", b"k", b"v") == OOM
    assert conversation.ask(b"RAFTLINE.ONCE", b"1", b"1", b"GET", b"k") == b"$1\r\nv\r\n"
    assert conversation.ask(b"RAFTLINE.LOCK", b"ACQUIRE", b"l", b"me", b"5") == OOM
    told = conversation.ask(b"INFO", b"memory")
    assert b"maxmemory:1\r\nmaxmemory_human:1B\r\nmaxmemory_policy:noeviction\r\n" in told
    assert conversation.ask(b"RAFTLINE.ONCE", b"1", b"2", b"DEL", b"k") == b":1\r\n"
    assert conversation.ask(b"SET", b"k", b"v") == b"+OK\r\n"


def test_the_doctor_says_what_is_wrong(conversation: "Conversation") -> None:
    """Above the limit, near it, and when all is well; STATS has the numbers."""
    assert b"Nothing is wrong" in conversation.ask(b"MEMORY", b"DOCTOR")
    conversation.ask(b"SET", b"k", b"v" * 1000)
    used = conversation.node.machine.store.used_bytes
    told = parsed(conversation.ask(b"MEMORY", b"STATS"))
    assert told[:6] == [b"total.allocated", used, b"keys.count", 1, b"keys.bytes-per-key", used]
    for limit, words in (
        (used + 1, b"little is left"),
        (used - 1, b"that may need more are refused on this node"),
    ):
        conversation.ask(b"CONFIG", b"SET", b"maxmemory", b"%d" % limit)
        assert words in conversation.ask(b"MEMORY", b"DOCTOR")


@pytest.mark.parametrize("limits", [Limits(maxmemory=1)])
def test_what_is_in_the_log_is_carried_out(conversation: "Conversation", limits: Limits) -> None:
    """The node that proposes decides; a replica with less memory than others does as they do (G1)."""
    assert limits.maxmemory == 1
    machine = conversation.node.machine
    for number in range(10):
        conversation.node.submit(b"\x93\xc4\x03SET\xc4\x01%d\xc4\x01v" % number, lambda _outcome: None)
    conversation.node.answer_all()
    assert machine.store.count == 10


def test_behind_multi_everything_waits_in_memory() -> None:
    """So it is refused, but for what ends the transaction; EXEC is if it would carry out something that grows."""
    store = Store()
    store.put(b"k", b"v")
    memory = MemoryLimit(store, 1)
    assert memory.refusal("get", (), in_transaction=True) == OOM
    assert memory.refusal("get", ()) is None
    for name in ("exec", "discard", "multi", "watch", "quit", "reset"):
        assert memory.refusal(name, (), in_transaction=True) is None
    assert memory.refusal("exec", ("write", "denyoom"), in_transaction=True) == OOM


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("100", 100), ("1k", 1000), ("1Kb", 1024), ("2mb", 2 << 20), ("3g", 3 * 10**9), ("1GB", 1 << 30)]
    + [(text, None) for text in ("", "x", "1x", "1 kb", "-1", "1.5mb", "9999999999gb", "1kbb")],
)
def test_amounts_of_memory(text: str, count: int | None) -> None:
    """As Redis reads them."""
    assert parse_memory(text.encode()) == count


@pytest.fixture
def redis_client(redis_port: int, request_of: Callable[..., bytes], request: pytest.FixtureRequest) -> Any:
    """Return a connection to a real redis-server with `ask`."""
    return RedisConnection(redis_port, request_of, request)


class RedisConnection:
    """A socket and one command at a time."""

    def __init__(self, port: int, encode: Callable[..., bytes], request: pytest.FixtureRequest) -> None:
        self._encode = encode
        self._socket = socket.create_connection(("127.0.0.1", port))
        request.addfinalizer(self._socket.close)

    def ask(self, *words: bytes) -> bytes:
        """Send a command and return its reply as it came."""
        self._socket.sendall(self._encode(*words))
        data = b""
        while True:
            data += self._socket.recv(1 << 16)
            reader = hiredis.Reader(replyError=Failure)
            reader.feed(data)
            if reader.gets() is not False:
                return data
