"""A real redis-server is the oracle for every type: long random sequences, every reply the same, errors included.

`make oracle` runs 10,000 sequences of 100 commands, half of them in each protocol, instead of a few.
"""

import os
import socket
import time
from collections.abc import Callable
from random import Random
from typing import Any

import hiredis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from raftline.kv.commands.command import Refused
from raftline.kv.commands.differences import DIFFERENCES
from raftline.kv.commands.table import COMMANDS as COMMAND_ROWS
from raftline.kv.machine import KvMachine, encode_command
from raftline.kv.plans import arity_refusal, find_plan, unknown_refusal
from raftline.kv.resp.downgrade import as_resp3, downgrade

SEQUENCES = int(os.environ.get("ORACLE_SEQUENCES", "150"))
COMMANDS = 100

Args = list[bytes]

# What is drawn.

KEYS = (b"a", b"b", b"c", b"d", b"{t}e", b"f")
MEMBERS = (b"a", b"b", b"c", b"d", b"e", b"f", b"1", b"2", b"3", b"10", b"", b"\xff\x00\r\n", b"x" * 70, b"1.5", b"-7")
NUMBERS = (b"0", b"1", b"-1", b"2", b"3", b"-2", b"5", b"-100", b"100", b"1000")
ODD = (b"", b"abc", b"1.5", b" 1", b"+3", b"007", b"9223372036854775807", b"-9223372036854775808", b"9" * 20, b"-0")
FLOATS = (
    b"0", b"1", b"-1", b"1.5", b"2", b"3", b"0.1", b"3.0", b"1e3", b"-2.25", b"1e-7", b"5.0e3", b"inf", b"-inf",
    b"+inf", b"-0", b"123456789.123456789", b"1e20", b"1e17",
)  # fmt: skip
ODD_FLOATS = (b"nan", b"abc", b"", b" 1", b"1 ", b"0x10", b"Infinity", b"1_0", b".", b"5.", b".5")
"""None that C calls out of range: after such a one Redis's SORT refuses numbers, until another command has read one."""

key = st.sampled_from(KEYS)


def mostly(own: bytes, other: bytes) -> st.SearchStrategy[bytes]:
    """Return a key that most often holds a value of one type."""
    return st.sampled_from((own, own, own, own, other, other, *KEYS))


hash_key, list_key, set_key, sorted_key, string_key = (
    mostly(name, b"%b{t}" % name) for name in (b"h", b"l", b"s", b"z", b"t")
)
any_key = st.one_of(key, hash_key, list_key, set_key, sorted_key, string_key)
member = st.sampled_from(MEMBERS)
number = st.sampled_from(NUMBERS * 3 + ODD)
floating = st.sampled_from(FLOATS * 3 + ODD_FLOATS)


def some(strategy: st.SearchStrategy[Any], low: int = 1, high: int = 4) -> st.SearchStrategy[Args]:
    """Return several arguments."""
    return st.lists(strategy, min_size=low, max_size=high).map(flat)


def flat(parts: Any) -> Args:
    """Return arguments and lists of them as one list."""
    return [arg for part in parts for arg in (flat(part) if isinstance(part, (list, tuple)) else [part])]


def words(text: str) -> st.SearchStrategy[Args]:
    """Return one of alternatives divided by `|`, each of several words; an empty one is nothing."""
    return st.sampled_from([choice.encode().split() for choice in text.split("|")])


def command(names: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Args]:
    """Return a command with one of some names."""
    return st.tuples(st.sampled_from([name.encode() for name in names.split()]), *parts).map(flat)


field_values = some(st.tuples(member, st.one_of(member, number, floating)), 1, 3)

HASHES = [
    command("hset HSET hset hmset", hash_key, field_values),
    command("hsetnx", hash_key, member, member),
    command("hget hstrlen hexists", hash_key, member),
    command("hmget hdel", hash_key, some(member)),
    command("hlen hkeys hvals hgetall hrandfield", hash_key),
    command("hincrby", hash_key, member, number),
    command("hincrbyfloat", hash_key, member, floating),
    command("hrandfield", hash_key, number, words("||WITHVALUES|withvalues|foo|WITHVALUES x")),
    command(
        "hscan",
        hash_key,
        st.just(b"0"),
        words("|COUNT 100|MATCH ?|MATCH * COUNT 50|COUNT 0|COUNT x|foo|MATCH|TYPE hash"),
    ),
]

SIDES = words("LEFT|right|foo|")
CARD_LIMITS = words("|||LIMIT 1|LIMIT 0|LIMIT -1|LIMIT|foo 1|LIMIT x")

LISTS = [
    command("lpush rpush lpushx rpushx rpush LPUSH", list_key, some(member)),
    command("lpop rpop", list_key),
    command("lpop rpop", list_key, number),
    command("lpop rpop", list_key, number, number),
    command("llen", list_key),
    command("lindex", list_key, number),
    command("lset", list_key, number, member),
    command("lrange ltrim lrange lrange", list_key, number, number),
    command("linsert", list_key, words("before|AFTER|foo|BEFORE"), member, member),
    command("lrem", list_key, number, member),
    command("lpos", list_key, member, some(st.tuples(words("RANK|count|MAXLEN|COUNT|foo"), number), 0, 2)),
    command("lpos", list_key, member, words("RANK|COUNT")),
    command("rpoplpush", list_key, list_key),
    command("lmove", list_key, list_key, words("LEFT|right|LEFT|foo"), words("LEFT|right|RIGHT|foo")),
    command("lmpop", words("1|2|3|0|-1|abc|10"), some(list_key, 1, 3), SIDES, words("||COUNT 2|COUNT 0|COUNT|x 1")),
    command(
        "lmpop", st.just(b"2"), list_key, list_key, words("LEFT|right"), words("||COUNT 2|COUNT 10|COUNT 1 COUNT 2")
    ),
]

SETS = [
    command("sadd SADD srem sadd", set_key, some(member)),
    command("sadd", set_key, some(number)),
    command("smove", set_key, set_key, member),
    command("sismember", set_key, member),
    command("smismember", set_key, some(member)),
    command("scard smembers srandmember spop", set_key),
    command("srandmember spop", set_key, number),
    command("srandmember spop", set_key, number, number),
    command("sinter sunion sdiff", some(set_key)),
    command("sinterstore sunionstore sdiffstore", set_key, some(set_key)),
    command("sintercard", words("1|2|3|0|-1|abc|10"), some(set_key, 1, 3), CARD_LIMITS),
    command("sscan", set_key, words("0"), words("|COUNT 100|MATCH ?|MATCH * COUNT 50|COUNT 0|COUNT x|foo|MATCH")),
]

score = floating
bound = st.one_of(floating, st.sampled_from((b"(1", b"(0", b"-inf", b"+inf", b"(2", b"(inf", b"(", b"(abc", b" 1")))
end = st.sampled_from((b"-", b"+", b"[a", b"(a", b"[c", b"(d", b"[", b"(", b"[\xff", b"a", b"", b"+x", b"[b", b"(b"))
LIMITS = words("|||LIMIT 0 2|LIMIT 1 -1|LIMIT -1 2|LIMIT 1|LIMIT a 1|limit 0 0|LIMIT 2 1")
WITH = words("||WITHSCORES|withscores|foo")
pair = st.tuples(score, member)
source_keys = st.one_of(
    st.tuples(st.just(b"2"), sorted_key, sorted_key),
    st.tuples(st.just(b"1"), sorted_key),
    st.tuples(st.just(b"3"), sorted_key, sorted_key, sorted_key),
    st.tuples(words("0|-1|abc|1|5|2"), some(sorted_key, 1, 3)),
)
aggregates = some(
    st.one_of(
        words("WEIGHTS 2 3|WEIGHTS 1|weights inf 0|WEIGHTS 1 x|WEIGHTS 1.5 -2 0.1"),
        words("AGGREGATE MIN|aggregate max|AGGREGATE SUM|AGGREGATE foo|AGGREGATE"),
        words("WITHSCORES|WITHSCORES|foo|LIMIT 1|LIMIT -1|LIMIT"),
    ),
    0,
    2,
)
LEX = b"lex"
"""A sorted set whose members have one score all the time."""

SORTED_SETS = [
    command("zadd ZADD zadd zadd", sorted_key, some(pair, 1, 3)),
    command("zadd", sorted_key, some(words("NX|xx|GT|lt|CH|INCR|foo"), 1, 3), some(pair, 1, 2)),
    command("zincrby", sorted_key, score, member),
    command("zrem zmscore", sorted_key, some(member)),
    command("zcard zpopmin zpopmax zrandmember", sorted_key),
    command("zscore zrank zrevrank", sorted_key, member),
    command("zpopmin zpopmax", sorted_key, number),
    command("zpopmin zpopmax", sorted_key, number, number),
    command(
        "zmpop",
        words("1|2|3|0|-1|abc|10"),
        some(sorted_key, 1, 3),
        words("MIN|max|foo|"),
        words("||COUNT 2|COUNT 0|COUNT|x 1"),
    ),
    command(
        "zmpop", st.just(b"2"), sorted_key, sorted_key, words("MIN|max"), words("||COUNT 2|COUNT 10|COUNT 1 COUNT 2")
    ),
    command("zrandmember", sorted_key, number, WITH),
    command("zscan", sorted_key, st.just(b"0"), words("|COUNT 100|MATCH ?|MATCH * COUNT 50|COUNT 0|foo|MATCH")),
    command("zrange zrevrange zrange", sorted_key, number, number, WITH),
    command("zrange", sorted_key, number, number, some(words("REV|WITHSCORES|BYSCORE|BYLEX|LIMIT 0 1|foo"), 0, 3)),
    command("zrange", sorted_key, bound, bound, st.just(b"BYSCORE"), words("|REV|rev"), WITH, LIMITS),
    command("zrangebyscore zrevrangebyscore", sorted_key, bound, bound, WITH, LIMITS),
    command("zrangestore", sorted_key, sorted_key, number, number, words("||REV|WITHSCORES|foo")),
    command("zrangestore", sorted_key, sorted_key, bound, bound, st.just(b"byscore"), words("|REV|"), LIMITS),
    command("zcount zremrangebyscore", sorted_key, bound, bound),
    command("zremrangebyrank", sorted_key, number, number),
    command("zadd", st.just(LEX), some(st.tuples(st.just(b"0"), member), 1, 3)),
    command("zrange", st.just(LEX), end, end, st.just(b"BYLEX"), words("|REV|rev|WITHSCORES"), LIMITS),
    command("zrangebylex zrevrangebylex", st.just(LEX), end, end, LIMITS),
    command("zlexcount zremrangebylex", st.just(LEX), end, end),
    command("zrangestore", sorted_key, st.just(LEX), end, end, st.just(b"BYLEX"), words("|REV"), LIMITS),
    command("zunion zinter zdiff zintercard", source_keys, aggregates),
    command("zunionstore zinterstore zdiffstore", sorted_key, source_keys, aggregates),
]

GROUPS = {"string", "hash", "list", "set", "sorted-set", "generic"}
SHORT = {"delex", "delifeq", "scan", "psetex", "pexpire", "pexpireat", "pttl", "expiretime", "pexpiretime"}
"""Not among the random words: what Redis 7.0 does not have, walks that do not begin at 0, single milliseconds."""
names = [
    row.name.encode()
    for row in COMMAND_ROWS.values()
    if row.group in GROUPS and row.name not in SHORT and "blocking" not in row.flags
]


def ends_soon(args: Args) -> bool:
    """Say whether a key may get a deadline so near that a pause of either side decides what is still there."""
    return args[0] in {b"expire", b"setex"} and any(arg.isdigit() and 0 < int(arg) < 1000 for arg in args)


wrong = (
    st.tuples(st.sampled_from(names), st.lists(st.one_of(key, member, number), max_size=5))
    .map(flat)
    .filter(lambda args: not ends_soon(args))
)

TEXTS = st.one_of(member, number, floating)
PATTERNS = st.sampled_from((b"*", b"a", b"nosort", b"{t}*", b"*->a", b"h*->b", b"#", b"x*x", b"*->", b"b*"))
FAR_MS = "4000000000000|4100000000000|1"
"""Moments of which none is so near to another that two clocks could take one for the other, as `EXPIRE GT` could."""

STRINGS = [
    command("set set set", string_key, TEXTS),
    command("set", string_key, TEXTS, words("NX|xx|GET|XX GET|NX GET|KEEPTTL|EX 1000|PXAT 4000000000000|foo|NX XX")),
    command("get strlen del persist getdel incr decr getex", string_key),
    command("getset append setnx", string_key, TEXTS),
    command("incrby decrby", string_key, number),
    command("incrbyfloat", string_key, floating),
    command("setrange", string_key, words("0|1|3|10|-1|abc|9223372036854775807|600000000"), member),
    command("getrange substr", string_key, number, number),
    command("mget", some(string_key)),
    command("mset msetnx", some(st.tuples(string_key, TEXTS), 1, 3)),
    command("msetnx", some(st.tuples(string_key, TEXTS), 1, 2), string_key),
    command(
        "lcs",
        string_key,
        string_key,
        some(words("LEN|IDX|WITHMATCHLEN|MINMATCHLEN 2|MINMATCHLEN -1|MINMATCHLEN x|foo"), 0, 3),
    ),
]

GENERIC = [
    command("type del unlink exists touch persist", any_key),
    command("del unlink exists touch", some(any_key)),
    command("rename renamenx", any_key, any_key),
    command("copy", any_key, any_key, words("||REPLACE|replace|DB 0|DB 0 REPLACE|DB|DB abc|foo")),
    command("expire", any_key, words("1000|2000|-1|0|abc"), words("|||NX|XX|NX XX|GT LT|foo")),
    command("pexpireat", any_key, words(FAR_MS), words("||NX|xx|GT|lt|GT XX")),
    command("ttl expiretime", any_key),
    command("randomkey dbsize"),
    command("keys", st.sampled_from((b"*", b"?", b"[ab]", b"{*"))),
    command(
        "scan", st.just(b"0"), words("COUNT 1000"), words("||TYPE hash|TYPE zset|TYPE string|type LIST|TYPE set|TYPE x")
    ),
    command("object", words("refcount|idletime|freq|encoding|foo"), any_key),
    command("memory", words("usage"), any_key, words("||SAMPLES 5|SAMPLES -1|SAMPLES x|SAMPLES|foo 1")),
    command(
        "sort sort_ro",
        any_key,
        words("|ALPHA|alpha DESC|DESC|ASC"),
        words("|||LIMIT 0 2|LIMIT 1 -1|LIMIT -1 2|LIMIT x 1"),
    ),
    command("sort", any_key, words("|ALPHA|ALPHA"), words("|LIMIT 1 2"), st.just(b"STORE"), any_key),
    command("sort sort_ro", any_key, st.just(b"ALPHA"), some(st.tuples(st.just(b"GET"), PATTERNS), 1, 2)),
    command("sort sort_ro", any_key, st.just(b"BY"), PATTERNS, words("||ALPHA|DESC|ALPHA DESC")),
    command(
        "sort sort_ro",
        any_key,
        st.just(b"by"),
        PATTERNS,
        words("|DESC"),
        st.just(b"GET"),
        PATTERNS,
        words("||STORE d|foo"),
    ),
]

commands = st.one_of(*HASHES, *LISTS, *SETS, *SORTED_SETS, *STRINGS, *GENERIC, wrong)


# Who is asked.


class Ours:
    """A state machine and the front of a connection, without a node between them."""

    def __init__(self, protocol: int) -> None:
        self.machine = KvMachine()
        self._index = 0
        self._finish: Callable[[bytes], bytes] = downgrade if protocol == 2 else as_resp3

    def ask(self, args: Args) -> bytes:
        """Return the reply in the client's protocol."""
        return self._finish(self._reply(args))

    def _reply(self, args: Args) -> bytes:
        plan = find_plan(args)
        if plan is None:
            return unknown_refusal(args)
        if not plan.args_min <= len(args) <= plan.args_max:
            return arity_refusal(plan)
        try:
            if plan.check is not None:
                plan.check(args)
            if plan.read is not None:
                return plan.read(self.machine.store, args, self.machine.store.time_ms)
        except Refused as refused:
            return refused.reply
        self._index += 1
        return self.machine.apply(encode_command([plan.wire_name, *args[1:]]), self._index, time.time_ns() // 10**6)


class Redis:
    """A connection to the real server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))

    def ask(self, requests: list[Args]) -> list[bytes]:
        """Send commands together and return their replies as bytes."""
        self._socket.sendall(b"".join(encode(args) for args in requests))
        data = b""
        replies: list[bytes] = []
        position = 0
        while len(replies) < len(requests):
            end = end_of(data, position)
            if end:
                replies.append(data[position:end])
                position = end
            else:
                data = data[position:] + self._socket.recv(1 << 20)
                position = 0
        return replies

    def close(self) -> None:
        self._socket.close()


def encode(args: Args) -> bytes:
    """Return a request."""
    return b"*%d\r\n" % len(args) + b"".join([b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args])


def end_of(data: bytes, position: int) -> int:
    """Return where the reply at `position` ends, 0 if it is not complete."""
    line_end = data.find(b"\r\n", position)
    if line_end < 0:
        return 0
    kind, after = data[position : position + 1], line_end + 2
    if kind in b"+-:_#,(":
        return after
    size = int(data[position + 1 : line_end])
    if kind in b"$=":
        end = after if size < 0 else after + size + 2
        return end if end <= len(data) else 0
    for _ in range(max(size, 0) * (2 if kind == b"%" else 1)):
        after = end_of(data, after)
        if not after:
            return 0
    return after


def parsed(reply: bytes) -> Any:
    """Return a reply as a Python value, errors as text."""
    reader = hiredis.Reader()
    reader.feed(reply)
    value = reader.gets()
    return str(value) if isinstance(value, hiredis.ReplyError) else value


# What may differ: an entry for each of `DIFFERENCES`.


def by_parts(items: list[Any], size: int) -> list[Any]:
    """Return flat items in groups, in an order that does not depend on theirs."""
    return sorted([items[place : place + size] for place in range(0, len(items), size)], key=repr)


def without_order(args: Args, reply: bytes) -> Any:
    """Return the members of a reply in an order that does not depend on theirs."""
    name, value = args[0].lower(), parsed(reply)
    if name.endswith(b"scan"):
        return value[0], by_parts(value[1], 2 if name in {b"hscan", b"zscan"} else 1)
    if name.startswith(b"sort"):
        return sorted(value, key=repr) if b"BY" in [arg.upper() for arg in args] else reply
    if isinstance(value, dict):
        value = [text for pair in value.items() for text in pair]
    return reply[:1], by_parts(list(value), 2 if name == b"hgetall" else 1)


def without_members(_args: Args, reply: bytes) -> Any:
    """Return the form of a reply of drawn members, and how many they are."""
    value = parsed(reply)
    return (reply[:1], len(value), [type(item) for item in value]) if isinstance(value, list) else value is None


def without_sign_of_zero(_args: Args, reply: bytes) -> Any:
    """Return a reply with scores of 0 for -0."""
    return reply.replace(b",-0\r\n", b",0\r\n").replace(b"$2\r\n-0\r\n", b"$1\r\n0\r\n")


def without_size(_args: Args, reply: bytes) -> Any:
    """Return whether there is a size."""
    return parsed(reply) is None


def without_insides(args: Args, reply: bytes) -> Any:
    """Return whether there is an answer, where it would tell how values are held."""
    return parsed(reply) is None if args[1].lower() in {b"refcount", b"idletime", b"encoding"} else reply


def with_scores_as_numbers(_args: Args, reply: bytes) -> Any:
    """Return the members of a walk with the numbers that their scores are."""
    cursor, found = parsed(reply)
    return cursor, sorted((member, float(score)) for member, score in zip(found[::2], found[1::2], strict=True))


def not_drawn(_args: Args, reply: bytes) -> Any:
    """Return a reply as it is: the commands are compared in `test_transactions_against_redis`, without what differs."""
    return reply


RULES: dict[str, Callable[[Args, bytes], Any]] = {
    "conditions": not_drawn,
    "transactions": not_drawn,
    "repeated-keys": not_drawn,
    "repeated-gets": not_drawn,
    "budgets": not_drawn,
    "watched-cells": not_drawn,
    "order": without_order,
    "draws": without_members,
    "minus-zero": without_sign_of_zero,
    "walked-scores": with_scores_as_numbers,
    "memory": without_size,
    "objects": without_insides,
}
RULES_OF = {
    name.encode(): [RULES[row.name] for row in DIFFERENCES if name in row.commands.split()]
    for row in DIFFERENCES
    for name in row.commands.split()
}


def test_every_difference_has_its_rule() -> None:
    """What the documentation calls a difference is what the comparison leaves out, and nothing else is."""
    assert set(RULES) == {row.name for row in DIFFERENCES}
    assert set(RULES_OF) <= {name.lower() for name in COMMAND_ROWS}


def are_equal(args: Args, mine: bytes, theirs: bytes, within_s: float) -> bool:
    """Say whether two replies that are not the same bytes are the same but for a difference that is listed.

    Both sides were asked `within_s`: so far may times differ, and by a second of rounding.
    """
    if args[0].lower() in {b"ttl", b"expiretime"} and mine[:1] == theirs[:1] == b":":
        return abs(int(mine[1:]) - int(theirs[1:])) <= 1 + within_s
    is_idle = args[0].lower() == b"object" and args[1].lower() == b"idletime"
    if (mine[:1] == b"-" or theirs[:1] == b"-") and not is_idle:
        return False
    return any(rule(args, mine) == rule(args, theirs) for rule in RULES_OF.get(args[0].lower(), ()))


def translated(args: Args, reply: bytes) -> Args:
    """Return what Redis is asked: where we drew members, to remove the same ones."""
    if args[0].lower() == b"spop" and reply[:1] in b"$*~":
        popped = parsed(reply)
        members = [popped] if isinstance(popped, bytes) else list(popped or ())
        if members:
            return [b"SREM", args[1], *members]
    return args


OUT_OF_RANGE = (b"1e400", b"-1e400", b"1e-400", b"1e5000", b"-1e5000", b"1e-5000", b"0x1p9999", b"9" * 400, b"0e999")


@pytest.mark.parametrize("number_", OUT_OF_RANGE)
def test_numbers_beyond_what_there_is(redis_port: int, number_: bytes) -> None:
    """Too large and too small, they are refused or taken as Redis does it, wherever a number is read."""
    sequence = [
        [b"ZADD", b"z", b"1", b"a", b"inf", b"b"],
        [b"ZADD", b"z", number_, b"c"],
        [b"ZINCRBY", b"z", number_, b"a"],
        [b"ZRANGE", b"z", number_, b"+inf", b"BYSCORE", b"WITHSCORES"],
        [b"ZCOUNT", b"z", b"-inf", b"(" + number_],
        [b"ZUNION", b"1", b"z", b"WEIGHTS", number_, b"WITHSCORES"],
        [b"INCRBYFLOAT", b"s", number_],
        [b"GET", b"s"],
        [b"HINCRBYFLOAT", b"h", b"f", number_],
        [b"HINCRBYFLOAT", b"h", b"f", number_],
        [b"RPUSH", b"l", number_, b"1"],
        [b"SORT", b"l"],
    ]
    redis, ours = Redis(redis_port), Ours(2)
    try:
        assert [ours.ask(args) for args in sequence] == redis.ask([[b"FLUSHALL"], [b"HELLO", b"2"], *sequence])[2:]
    finally:
        redis.close()


def difference(redis: Redis, sequence: list[Args], protocol: int) -> str | None:
    """Carry out a sequence on both sides; return the first replies that should not differ, None if there are none."""
    ours = Ours(protocol)
    began_s = time.monotonic()
    found = [ours.ask(args) for args in sequence]
    asked = [translated(args, reply) for args, reply in zip(sequence, found, strict=True)]
    expected = redis.ask([[b"FLUSHALL"], [b"HELLO", b"%d" % protocol], *asked])[2:]
    within_s = time.monotonic() - began_s
    for args, question, mine, theirs in zip(sequence, asked, found, expected, strict=True):
        if question is not args:
            if theirs != b":%d\r\n" % (len(question) - 2):
                return f"{args}: not all of {question[2:]} were members"
        elif mine != theirs and not are_equal(args, mine, theirs, within_s):
            return f"{args}: {mine!r} is not {theirs!r}"
    return None


def shortened(redis: Redis, sequence: list[Args], protocol: int) -> list[Args]:
    """Return what is left of a sequence when everything is taken out without which it still fails."""
    size = len(sequence) // 2
    while size:
        place = 0
        while place < len(sequence):
            shorter = sequence[:place] + sequence[place + size :]
            if difference(redis, shorter, protocol):
                sequence = shorter
            else:
                place += size
        size //= 2
    return sequence


def drawn_commands(count: int) -> list[Args]:
    """Return commands of all kinds."""
    drawn: list[Args] = []

    @settings(
        max_examples=count // COMMANDS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(st.lists(commands, min_size=COMMANDS, max_size=COMMANDS))
    def collect(sequence: list[Args]) -> None:
        drawn.extend(sequence)

    collect()
    return drawn


@pytest.mark.parametrize("protocol", [2, 3])
def test_sequences_of_commands_about_all_types(redis_port: int, protocol: int) -> None:
    """Whatever the commands and whatever the keys hold, the replies are those of Redis."""
    redis = Redis(redis_port)
    pool = drawn_commands(COMMANDS * max(40, SEQUENCES // 10))
    try:
        for seed in range(SEQUENCES):
            sequence = Random(seed * 2 + protocol).choices(pool, k=COMMANDS)
            if difference(redis, sequence, protocol):
                shorter = shortened(redis, sequence, protocol)
                pytest.fail(f"seed {seed}: {difference(redis, shorter, protocol)}\nafter {shorter}")
    finally:
        redis.close()
