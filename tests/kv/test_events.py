"""Keyspace notifications: the same events in the same order as a real redis-server, and none while nobody asked."""

import socket
from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from raftline.kv.commands.lookup import WRITES
from raftline.kv.events import flags_text, parse_flags
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.service import Service

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation, FakeClock, PlayBoth, Side

    NewClient = Callable[[Service], Conversation]

Words = list[bytes]

LINES = """
set K v|set K v NX|set K v XX|set K v EX 1000|set K v GET|set K v NX GET|set K v XX GET PX 100000|set K v KEEPTTL
setex K 1000 v|psetex K 1000000 v|setnx K v|getset K v|getdel K|getex K|getex K EX 1000|getex K PERSIST|getex K EXAT 1
mset K v K2 v|msetnx K v K2 w|append K v|setrange K 2 v|setrange K 0|incr K|decr K|incrby K 5|decrby K 2
incrbyfloat K 1.5|del K|del K K2 K|unlink K K2|expire K 1000|expire K -1|expire K 1000 NX|pexpire K 1000000 XX
expireat K 1|pexpireat K 4000000000000|persist K|rename K K2|rename K K|renamenx K K2|copy K K2|copy K K2 REPLACE
sort K ALPHA STORE K2|sort K BY nosort STORE K2
lpush K a b|rpush K a b|lpush K a|rpush K c|lpushx K a|rpushx K a|linsert K BEFORE a x|lset K 0 y|lrem K 0 a
ltrim K 0 1|ltrim K 1 0|lpop K|rpop K|lpop K 2|rpop K 0|rpop K 100|rpoplpush K K2|rpoplpush K K
lmove K K2 LEFT RIGHT|lmove K K LEFT LEFT
lmove K K2 RIGHT LEFT|lmpop 2 K K2 LEFT|lmpop 2 K K2 RIGHT COUNT 10|blpop K K2 0.001|brpop K 0.001
blmove K K2 LEFT RIGHT 0.001|brpoplpush K K2 0.001|blmpop 0.001 1 K RIGHT COUNT 2
sadd K a b c|sadd K a|srem K a|srem K a b c|spop K 100|spop K 0|smove K K2 a|smove K K a
sinterstore K K2 K3|sunionstore K K2 K3|sdiffstore K K2 K3
hset K f v|hset K f v g w|hmset K f v|hsetnx K f v|hincrby K n 2|hincrbyfloat K n 1.5|hdel K f|hdel K f g n
zadd K 1 a|zadd K 2 a 3 b|zadd K XX 5 a|zadd K NX 1 incr|zadd K GT CH 4 a|zadd K INCR 1 a|zadd K INCR 0 a|zincrby K 1 b
zincrby K 0 b|zrem K a|zrem K a b incr|zremrangebyrank K 0 0|zremrangebyscore K 0 2|zremrangebylex K - +|zpopmin K
zpopmax K 2|zmpop 2 K K2 MIN|zmpop 1 K MAX COUNT 5|bzpopmin K K2 0.001|bzpopmax K 0.001|bzmpop 0.001 1 K MIN
zunionstore K 2 K2 K3|zinterstore K 2 K2 K3|zdiffstore K 2 K2 K3|zrangestore K K2 0 -1
get K|exists K K2|llen K|hget K f|type K|ttl K|smembers K|zscore K a|strlen K|lrange K 0 -1|hgetall K|mget K K2
"""
TEMPLATES = [line.split() for part in LINES.strip().split("\n") for line in part.split("|")]
KEYS = {kind: [kind + b"1", kind + b"2", kind + b"3"] for kind in (b"s", b"l", b"m", b"h", b"z", b"x")}
OF_KIND = {
    b"s": "get set setex psetex setnx getset getdel getex mset msetnx append setrange",
    b"x": "incr decr incrby decrby incrbyfloat strlen mget",
    b"l": "lpush rpush lpushx rpushx linsert lset lrem ltrim lpop rpop rpoplpush lmove lmpop blpop brpop blmove "
    "brpoplpush blmpop llen lrange sort",
    b"m": "sadd srem spop smove sinterstore sunionstore sdiffstore smembers",
    b"h": "hset hmset hsetnx hincrby hincrbyfloat hdel hget hgetall",
}
WHERE = {name: kind for kind, names in OF_KIND.items() for name in names.split()}


def drawn(random: Random) -> Words:
    """Return a command about keys that mostly are of its type."""
    template = random.choice(TEMPLATES)
    kind = WHERE.get(template[0], b"z" if template[0].lstrip("b").startswith("z") else random.choice(sorted(KEYS)))
    if random.random() < 0.1:
        kind = random.choice(sorted(KEYS))
    keys = random.sample(KEYS[kind], 3)
    places = {"K": keys[0], "K2": keys[1], "K3": keys[2]}
    return [places.get(word, word.encode()) for word in template]


class Theirs:
    """Redis, with somebody who listens to everything."""

    def __init__(self, port: int) -> None:
        self._talk, self._listen = (socket.create_connection(("127.0.0.1", port), 60) for _ in range(2))
        self._readers = {each: hiredis.Reader() for each in (self._talk, self._listen)}
        self._send(self._listen, [b"PSUBSCRIBE", b"*"])
        self._next(self._listen)

    def _send(self, connection: socket.socket, words: Words) -> None:
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words))

    def _next(self, connection: socket.socket) -> Any:
        while (reply := self._readers[connection].gets()) is False:
            self._readers[connection].feed(connection.recv(65536))
        return reply

    def ask(self, words: Words) -> list[Any]:
        """Carry out a command and return the messages that it caused."""
        self._send(self._talk, words)
        self._next(self._talk)
        self._send(self._talk, [b"PUBLISH", b"end", b"end"])
        self._next(self._talk)
        found = []
        while (message := self._next(self._listen)) != [b"pmessage", b"*", b"end", b"end"]:
            found.append(message)
        return found

    def close(self) -> None:
        """Leave nothing behind."""
        self.ask([b"CONFIG", b"SET", b"notify-keyspace-events", b""])
        self._talk.close()
        self._listen.close()


@pytest.fixture
def theirs(redis_port: int) -> Iterator[Theirs]:
    """Return a redis-server to compare with."""
    server = Theirs(redis_port)
    yield server
    server.close()


def messages(output: bytes) -> list[Any]:
    """Read what was pushed to somebody who listens."""
    reader = hiredis.Reader()
    reader.feed(output)
    found = []
    while (message := reader.gets()) is not False:
        found.append(message)
    return found


def set_flags(conversation: "Conversation", flags: bytes) -> None:
    """Let the log say which events are told; CONFIG SET proposes that in a task of its own."""
    conversation.node.waiting.append((encode_command([b"RAFTLINE.NOTIFY", flags]), lambda _reply: None))
    conversation.node.answer()


@pytest.mark.parametrize("seed", range(6))
def test_events_are_those_of_redis(
    service: Service, conversation: "Conversation", new_client: "NewClient", theirs: Theirs, seed: int
) -> None:
    """Random commands about all types cause the same events, in the same order, with the flags set to all."""
    clock: FakeClock = conversation.node.clock  # type: ignore[assignment]
    clock.now_ms = 1_700_000_000_000
    listener = new_client(service)
    listener.ask(b"PSUBSCRIBE", b"*")
    random = Random(seed)
    flags = b"KEAnm" if seed % 2 else b"KEAn"
    first = [[b"FLUSHALL"], [b"CONFIG", b"SET", b"notify-keyspace-events", flags]]
    past: list[Words] = []
    for words in first + [drawn(random) for _ in range(600)]:
        blocks = b"b" in words[0][:1]
        expected = theirs.ask(words)
        if words[0] == b"CONFIG":
            set_flags(conversation, flags)
        elif blocks:
            # What waits is a task of its own: here only what it comes to in the log.
            conversation.node.waiting.append((encode_command([words[0].upper(), *words[1:]]), lambda _reply: None))
            conversation.node.answer()
        else:
            conversation.ask(*words)
        past.append(words)
        found = messages(listener.take())
        reads = [message for message in expected if message[3] == b"keymiss" or b"keymiss" in message[2]]
        if words[0].upper() in WRITES:  # of what a write reads on its way nothing is told
            expected = [message for message in expected if message not in reads]
        assert found == expected, (words, past[-12:])


async def flags(side: "Side") -> list[bytes]:
    """CONFIG SET and GET of all kinds of flags."""
    one = await side.connect()
    name = "notify-keyspace-events"
    found = []
    for text in ("", "KEA", "AKEn", "gK", "Kmn", "nE", "$lshzxetdgK", "X", "A", "Et", "nmdtxzhslg$", ""):
        found += [await one.ask("CONFIG", "SET", name, text), await one.ask("CONFIG", "GET", name)]
    return [*found, await one.ask("CONFIG", "SET", name, "K", name, "E"), await one.ask("CONFIG", "SET", name)]


def test_flags_are_taken_and_shown_as_by_redis(play_both: "PlayBoth") -> None:
    """CONFIG SET takes and refuses, and CONFIG GET shows, what Redis does."""
    ours, theirs = play_both(flags, 2)
    assert ours == theirs


def test_flags_are_in_the_log_and_in_snapshots() -> None:
    """Every replica knows which events to tell, one that was restored too (G14)."""
    machine, other = KvMachine(), KvMachine()
    machine.apply(encode_command([b"RAFTLINE.NOTIFY", b"KEA"]), 1, 1)
    other.restore_begin()
    for chunk in machine.snapshot():
        other.restore_chunk(chunk)
    other.restore_end()
    assert flags_text(other.store.notify) == b"AKE"
    assert parse_flags(b"Q") is None


def test_expired_keys_are_told_when_the_log_removes_them(
    service: Service, conversation: "Conversation", new_client: "NewClient"
) -> None:
    """A key that expires is told once, whether it is removed or overwritten."""
    listener = new_client(service)
    listener.ask(b"PSUBSCRIBE", b"__keyevent*")
    set_flags(conversation, b"Ex")
    clock: FakeClock = conversation.node.clock  # type: ignore[assignment]
    for key in (b"a", b"b"):
        conversation.ask(b"SET", key, b"v", b"PX", b"100")
    clock.now_ms += 101
    conversation.ask(b"SET", b"a", b"w")
    assert [message[-1] for message in messages(listener.take())] == [b"a"]
    clock.now_ms += 1000
    conversation.ask(b"SET", b"c", b"w")
    assert [message[-1] for message in messages(listener.take())] == [b"b"]


def test_nobody_who_listens_costs_nothing(conversation: "Conversation", monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nobody listens on a node no write is watched there, whatever the flags."""
    monkeypatch.setattr("raftline.kv.channels.watch_write", None)
    set_flags(conversation, b"KEA")
    assert conversation.ask(b"SET", b"k", b"v") == b"+OK\r\n"
