"""A real redis-server is the oracle for transactions: two connections, the same replies to both, errors included."""

import os
import socket
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from raftline.kv.limits import Limits
from raftline.kv.service import Service
from raftline.runtime.clock import SystemClock

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, HeldNode

SEQUENCES = int(os.environ.get("ORACLE_SEQUENCES", "150"))
STEPS = 60

Step = tuple[int, list[bytes]]
Connect = Callable[[Service], "Conversation"]

FIXED = """
A EXEC|A DISCARD|A UNWATCH|A MULTI|A MULTI|A SET a 1|A EXEC|A MULTI|A WATCH a|A EXEC|A MULTI|A EXEC x|A EXEC|A MULTI x
A MULTI|A nosuch|A SET a 2|A EXEC|A GET a|A MULTI|A GET|A DISCARD|A MULTI|A SET a|A UNWATCH|A EXEC|A MULTI|A UNWATCH x
A EXEC|A MULTI|A UNWATCH|A PING|A ECHO x|A SET a 1 FOO|A SET a 2|A LPUSH a 1|A GET a|A INCR a|A EXEC|A MULTI
A DISCARD x|A DISCARD|A MULTI|A SET a 5|A RESET|A EXEC|A MULTI|A CLIENT NOSUCH|A EXEC|A MULTI|A CLIENT|A EXEC|A MULTI
A CLIENT SETNAME me|A CLIENT GETNAME|A EXEC|A CLIENT GETNAME|A MULTI|A SELECT 0|A SELECT 7|A SELECT x|A EXEC|A WATCH
A MULTI|A GET a|B SET a 9|A GET a|A EXEC|A WATCH a|B FLUSHALL|A MULTI|A EXEC|A WATCH nothing|B FLUSHALL|A MULTI|A EXEC
A SET a 1|A WATCH a|B DEL a|B SET a 1|A MULTI|A EXEC|A WATCH a b|B SET b 1|A MULTI|A SET c 1|A EXEC|A EXISTS c
A WATCH a|A SET a 2|A MULTI|A EXEC|A WATCH a|B SET a 3|A UNWATCH|A MULTI|A GET a|A EXEC|A WATCH a|B SET a 4|A MULTI
A DISCARD|A MULTI|A EXEC|A WATCH a|B SET a 5|A MULTI|A nosuch|A EXEC|A MULTI|A EXEC|A WATCH a|B EXPIRE a 100|A MULTI
A EXEC|A WATCH a|B PERSIST a|A MULTI|A EXEC|A WATCH a|B PERSIST a|A MULTI|A EXEC|A WATCH a|B EXPIRE a -1|A MULTI
A EXEC|A WATCH a|A RESET|B SET a 1|A MULTI|A EXEC|A WATCH a|B MULTI|B INCR a|A MULTI|B EXEC|A INCR a|A EXEC|A GET a
A WATCH a|B MULTI|B GET a|B EXEC|A MULTI|A INCR a|A EXEC|A WATCH a|B GET a|B TYPE a|B INCR nothing2|A MULTI|A EXEC
A MULTI|A HSET h f 1|A HGETALL h|A ZADD z 1 m|A ZRANGE z 0 -1 WITHSCORES|A SADD s x|A SMEMBERS s|A LPOP nothing 1
A SPOP s|A TYPE z|A EXEC|A WATCH h|B HSET h f 1|A MULTI|A EXEC|A WATCH l|B RPUSH l 1|B LPOP l|A MULTI|A EXEC
A WATCH a a|B SET a 1|A WATCH a|A MULTI|A EXEC|A MULTI|A COPY a b|A RENAME b c|A FLUSHALL|A DBSIZE|A EXEC|A WATCH x y
B RENAME y x|B SET y 1|B RENAME y x|A MULTI|A EXEC|A MULTI|A INFO nosuch|A EXEC|A MULTI|A RAFTLINE|A EXEC|A multi
A exec|A mUlTi|A dIsCaRd|A WATCH k|A WATCH k2|B SET k2 v|A MULTI|A EXEC
""".replace("\n", "|")

KEYS = (b"a", b"b", b"{b}c", b"l", b"h")
PIECES: tuple[tuple[int, str], ...] = (
    (10, "MULTI"), (12, "EXEC"), (3, "DISCARD"), (8, "WATCH {k}"), (3, "WATCH {k} {k}"), (2, "UNWATCH"),
    (1, "MULTI x"), (1, "EXEC x"), (1, "WATCH"), (1, "nosuch"), (1, "GET"), (10, "SET {k} {v}"), (6, "GET {k}"),
    (6, "INCR {k}"), (4, "DEL {k}"), (3, "APPEND {k} {v}"), (2, "EXPIRE {k} 1000"), (2, "PERSIST {k}"),
    (2, "EXPIRE {k} -1"), (3, "RENAME {k} {k}"), (4, "RPUSH l {v}"), (3, "LPOP l"), (3, "HSET h f {v}"),
    (2, "HDEL h f"), (1, "FLUSHALL"), (2, "PING"), (1, "ECHO {v}"), (2, "EXISTS {k} {k}"), (2, "TYPE {k}"),
    (1, "SET {k} {v} FOO"), (2, "SET {k} {v} NX"), (2, "SETNX {k} {v}"), (1, "MSET {k} 1 {k} 2"), (1, "GETDEL {k}"),
    (1, "DBSIZE"), (1, "RESET"), (2, "COPY {k} {k}"), (2, "LRANGE l 0 -1"), (2, "HGETALL h"), (1, "CLIENT NOSUCH"),
)  # fmt: skip


class Pair:
    """Two connections of each side."""

    def __init__(self, redis_port: int, node: "HeldNode", connect: Connect, protocol: int) -> None:
        self._theirs = [socket.create_connection(("127.0.0.1", redis_port)) for _ in range(2)]
        service = Service(node, node.machine, Limits(), SystemClock(), "127.0.0.1", 7001)
        self._ours = [connect(service) for _ in range(2)]
        self._hello = encode([b"HELLO", b"%d" % protocol])
        self._protocol = protocol

    def begin(self) -> None:
        """Start with nothing, in the right protocol."""
        for who in range(2):
            for request in (encode([b"RESET"]), encode([b"FLUSHALL"]), self._hello):
                self.ours(who, request)
                self.theirs(who, request)

    def ours(self, who: int, request: bytes) -> Any:
        """Return what one of our connections replies."""
        reader = hiredis.Reader()
        reader.feed(self._ours[who].raw(request))
        return readable(reader.gets())

    def theirs(self, who: int, request: bytes) -> Any:
        """Return what Redis replies."""
        reader = hiredis.Reader()
        self._theirs[who].sendall(request)
        while (reply := reader.gets()) is False:
            data = self._theirs[who].recv(1 << 16)
            assert data, "Redis closed the connection"
            reader.feed(data)
        return readable(reply)

    def difference(self, steps: Sequence[Step]) -> str | None:
        """Take the steps on both sides; return the first that is answered differently."""
        self.begin()
        for number, (who, args) in enumerate(steps):
            request = encode(args)
            if args[0].upper() == b"RESET" and self._protocol == 3:
                continue
            mine, theirs = self.ours(who, request), self.theirs(who, request)
            if mine != theirs:
                return f"step {number}, {'AB'[who]} {args}: {mine!r} is not {theirs!r}"
        return None

    def close(self) -> None:
        for connection in self._theirs:
            connection.close()


def readable(reply: Any) -> Any:
    """Return a reply with errors as text, at any depth, and sets as what they hold."""
    if isinstance(reply, hiredis.ReplyError):
        return str(reply)
    if isinstance(reply, list):
        return [readable(item) for item in reply]
    return sorted(reply) if isinstance(reply, set) else reply


def encode(args: list[bytes]) -> bytes:
    """Return a request."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


def drawn(seed: int) -> list[Step]:
    """Return steps of two connections."""
    random = Random(seed)
    texts = random.choices([text for _, text in PIECES], [share for share, _ in PIECES], k=STEPS)
    return [(int(random.random() < 0.35), filled(random, text)) for text in texts]


def filled(random: Random, text: str) -> list[bytes]:
    """Return the arguments of a command with keys and values drawn."""
    words = text.encode().split()
    chosen = {b"{k}": lambda: random.choice(KEYS), b"{v}": lambda: b"%d" % random.randrange(4)}
    return [chosen[word]() if word in chosen else word for word in words]


@pytest.mark.parametrize("protocol", [2, 3])
def test_transactions_step_by_step(redis_port: int, held_node: "HeldNode", new_client: Connect, protocol: int) -> None:
    """Nesting, errors while queueing and while carrying out, watches of all kinds: each reply is Redis's."""
    steps = [("AB".index(step[0]), step[2:].encode().split()) for step in FIXED.split("|") if step]
    held_node.clock = SystemClock()
    pair = Pair(redis_port, held_node, new_client, protocol)
    try:
        assert pair.difference(steps) is None
    finally:
        pair.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_transactions_of_two_connections(
    redis_port: int, held_node: "HeldNode", new_client: Connect, protocol: int
) -> None:
    """Whatever two connections do to each other, each reply is Redis's: queued, carried out, nil or refused."""
    held_node.clock = SystemClock()
    pair = Pair(redis_port, held_node, new_client, protocol)
    try:
        for seed in range(SEQUENCES):
            assert pair.difference(drawn(seed * 2 + protocol)) is None, f"seed {seed}"
    finally:
        pair.close()
