"""A real redis-server is the oracle: random commands, the same replies, errors included, in both protocols."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftline.kv.commands.table import COMMANDS
from raftline.runtime.clock import SystemClock

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

    NewConversation = Callable[..., Conversation]
    Encode = Callable[..., bytes]

KEYS = (b"a", b"b", b"c", b"{tag}d", b"", b"with\r\nline", b"\xff\x00")
VALUES = (b"", b"0", b"10", b"-5", b"007", b"+3", b" 1", b"1.5", b"abc", b"-0", b"\x00\xff\r\n")
EXTREMES = (b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"99999999999999999999999")
FAR = 4_000_000_000
RELATIVE = {b"expire", b"pexpire", b"ttl", b"pttl", b"expiretime", b"pexpiretime"}
"""Commands whose replies are times, of two servers that were not asked at the same moment."""
SOON = 1000
"""Times up to this one, in seconds or milliseconds, may end on one side before they do on the other."""

keys = st.sampled_from((b"a",) * 4 + KEYS)
values = st.one_of(st.sampled_from(VALUES + EXTREMES), st.binary(max_size=12), st.integers(-20, 20).map(b"%d".__mod__))
bad_times = st.sampled_from((b"0", b"-1", b"abc", b"", b"1.5", *EXTREMES))
words = st.sampled_from((b"NX", b"xx", b"GET", b"KeepTTL", b"GT", b"lt", b"EX", b"PERSIST", b"COUNT", b"foo", b"\r\n"))


@st.composite
def times(draw: st.DrawFn, *, absolute_ms: bool) -> bytes:
    """Return an amount of time that never comes twice, so that GT and LT do not depend on a millisecond."""
    if draw(st.integers(0, 4)) == 0:
        return draw(bad_times)
    base = FAR * 1000 if absolute_ms else 100_000
    return b"%d" % (base + draw(st.integers(0, 10**7)) * 100)


def expiry_option(*, relative: bool) -> st.SearchStrategy[list[bytes]]:
    """Return EX, PX, EXAT or PXAT and a time."""
    spans = st.tuples(st.sampled_from((b"EX", b"px")), times(absolute_ms=False))
    moments = st.tuples(st.sampled_from((b"PXAT", b"pxat")), times(absolute_ms=True))
    return st.one_of(spans, moments).map(list) if relative else moments.map(list)


options = st.lists(st.one_of(words.map(lambda word: [word]), expiry_option(relative=True)), max_size=3).map(
    lambda parts: [word for part in parts for word in part]
)
conditions = st.lists(st.sampled_from((b"NX", b"xx", b"GT", b"lt", b"foo")), max_size=2)


def command(name: bytes, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[list[bytes]]:
    """Return a command of a name and parts, which are arguments or lists of them."""

    def flat(drawn: tuple[Any, ...]) -> list[bytes]:
        return [name, *[arg for part in drawn for arg in (part if isinstance(part, list) else [part])]]

    return st.tuples(*parts).map(flat)


many_keys = st.lists(keys, min_size=1, max_size=4)
pairs = st.lists(st.tuples(keys, values), min_size=1, max_size=3).map(lambda found: [x for pair in found for x in pair])

names = (
    b"get set setnx setex psetex getset getex getdel append strlen incr decr incrby decrby mget mset del unlink exists "
    b"type expire pexpire expireat pexpireat ttl pttl expiretime pexpiretime persist dbsize keys scan flushall flushdb "
    b"ping echo select nosuchcommand config client"
).split()
wrong = st.tuples(st.sampled_from(names), st.lists(st.one_of(keys, values, words), max_size=4)).map(
    lambda drawn: [drawn[0], *drawn[1]]
)


def ends_soon(args: list[bytes]) -> bool:
    """Say whether a key may get a deadline so near that a pause of either server decides what is still there."""
    has_time = args[0] in {b"expire", b"pexpire", b"setex", b"psetex"} or b"EX" in args
    return has_time and any(arg.isdigit() and 0 < int(arg) <= SOON for arg in args)


commands = st.one_of(
    command(b"SET", keys, values),
    command(b"set", keys, values, options),
    command(b"GET", keys),
    command(b"SetNX", keys, values),
    command(b"setex", keys, times(absolute_ms=False), values),
    command(b"psetex", keys, times(absolute_ms=False), values),
    command(b"getset", keys, values),
    command(b"getex", keys, st.one_of(options, expiry_option(relative=True), st.just([b"PERSIST"]))),
    command(b"getdel", keys),
    command(b"append", keys, values),
    command(b"strlen", keys),
    command(b"incr", keys),
    command(b"decr", keys),
    command(b"incrby", keys, values),
    command(b"decrby", keys, values),
    command(b"mget", many_keys),
    command(b"mset", pairs),
    command(b"del", many_keys),
    command(b"unlink", many_keys),
    command(b"exists", many_keys),
    command(b"type", keys),
    command(b"expire", keys, times(absolute_ms=False), conditions),
    command(b"pexpire", keys, times(absolute_ms=False), conditions),
    command(b"pexpireat", keys, times(absolute_ms=True), conditions),
    command(b"expireat", keys, st.one_of(bad_times, st.just(b"1")), conditions),
    command(b"ttl", keys),
    command(b"pttl", keys),
    command(b"expiretime", keys),
    command(b"pexpiretime", keys),
    command(b"persist", keys),
    command(b"dbsize"),
    command(b"keys", st.sampled_from((b"*", b"?", b"[ab]", b"{*"))),
    command(b"scan", st.just(b"0"), st.just([b"COUNT", b"1000"])),
    command(b"echo", values),
    command(b"ping"),
    wrong.filter(lambda args: not ends_soon(args) and (args[0] not in {b"config", b"client"} or len(args) < 2)),
)


class Oracle:
    """A connection to the real server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))

    def ask(self, requests: Sequence[bytes]) -> list[Any]:
        """Send requests together and return their replies."""
        reader = hiredis.Reader()
        self._socket.sendall(b"".join(requests))
        replies: list[Any] = []
        while len(replies) < len(requests):
            reply = reader.gets()
            if reply is False:
                reader.feed(self._socket.recv(1 << 16))
            else:
                replies.append(reply)
        return replies

    def close(self) -> None:
        self._socket.close()


def decode(data: bytes) -> list[Any]:
    """Return the replies that `data` consists of."""
    reader = hiredis.Reader()
    reader.feed(data)
    replies = []
    while (reply := reader.gets()) is not False:
        replies.append(reply)
    return replies


def comparable(args: list[bytes], reply: Any) -> Any:
    """Return what has to be equal: errors as text, walks without their order."""
    if isinstance(reply, hiredis.ReplyError):
        return str(reply)
    name = args[0].lower()
    if name == b"keys":
        return sorted(reply)
    if name == b"scan":
        return sorted(reply[1]) if args[1] == b"0" else "the walk goes on somewhere"
    return reply


def are_alike(args: list[bytes], mine: Any, theirs: Any, within_s: float) -> bool:
    """Say whether two replies to a command are the same, times as far as both servers were asked `within_s`."""
    name = args[0].lower()
    if name in RELATIVE and isinstance(mine, int) and isinstance(theirs, int) and min(mine, theirs) > 1:
        return abs(mine - theirs) <= 1 + within_s * (1000 if name.startswith(b"p") else 1)
    return bool(comparable(args, mine) == comparable(args, theirs))


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_random_commands_are_answered_as_redis_answers_them(
    redis_port: int, new_conversation: "NewConversation", request_of: "Encode", protocol: bytes
) -> None:
    """Whatever the commands, the replies are Redis's, errors word for word."""
    oracle = Oracle(redis_port)
    hello = request_of(b"HELLO", protocol)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(commands, min_size=1, max_size=40))
    def compare(sequence: list[list[bytes]]) -> None:
        ours = new_conversation(SystemClock())
        oracle.ask([request_of(b"FLUSHALL"), hello])
        ours.raw(hello)
        requests = [request_of(*args) for args in sequence]
        began_s = time.monotonic()
        expected = oracle.ask(requests)
        found = decode(ours.raw(b"".join(requests)))
        within_s = time.monotonic() - began_s
        for args, mine, theirs in zip(sequence, found, expected, strict=True):
            assert are_alike(args, mine, theirs, within_s), (args, mine, theirs)

    try:
        compare()
    finally:
        oracle.close()


@settings(max_examples=300, deadline=None)
@given(pattern=st.text("ab*?[]^-\\", max_size=8).map(str.encode))
def check_pattern(oracle: Oracle, ours: "Conversation", encode: "Encode", pattern: bytes) -> None:
    """Compare what one pattern finds."""
    request = encode(b"KEYS", pattern)
    assert sorted(decode(ours.raw(request))[0]) == sorted(oracle.ask([request])[0])


def test_patterns_match_what_they_match_in_redis(
    redis_port: int, new_conversation: "NewConversation", request_of: "Encode"
) -> None:
    """KEYS finds the same keys for any pattern, odd ones included."""
    oracle = Oracle(redis_port)
    ours = new_conversation()
    texts = [*(bytes(text) for size in (1, 2, 3) for text in _texts(size)), b"abab", b"aabbab", b"a\\b"]
    fill = [request_of(b"FLUSHALL"), *(request_of(b"SET", text, b"x") for text in texts)]
    oracle.ask(fill)
    for request in fill:
        ours.raw(request)
    try:
        check_pattern(oracle, ours, request_of)
    finally:
        oracle.close()


def _texts(size: int) -> list[list[int]]:
    letters = b"ab-^]"
    return [[]] if size == 0 else [[letter, *rest] for letter in letters for rest in _texts(size - 1)]


FIXED = [
    [b"FLUSHALL"],
    [b"HELLO", b"4"],
    [b"HELLO", b"abc"],
    [b"HELLO", b"2", b"foo"],
    [b"HELLO", b"2", b"SETNAME", b"a b"],
    [b"HELLO", b"2", b"AUTH", b"somebody", b"secret"],
    [b"SELECT", b"0"],
    [b"SELECT", b"1"],
    [b"SELECT", b"abc"],
    [b"CLIENT"],
    [b"CLIENT", b"foo"],
    [b"CLIENT", b"GETNAME"],
    [b"CLIENT", b"SETNAME", b"name"],
    [b"CLIENT", b"GETNAME"],
    [b"CLIENT", b"SETNAME", b"a b"],
    [b"CLIENT", b"ID", b"1"],
    [b"CLIENT", b"LIST", b"TYPE", b"foo"],
    [b"CLIENT", b"LIST", b"ID", b"abc"],
    [b"CLIENT", b"LIST", b"foo"],
    [b"CLIENT", b"NO-EVICT", b"maybe"],
    [b"CLIENT", b"NO-EVICT", b"on"],
    [b"CLIENT", b"REPLY", b"maybe"],
    [b"CONFIG"],
    [b"CONFIG", b"GET"],
    [b"CONFIG", b"foo"],
    [b"CONFIG", b"GET", b"databases"],
    [b"CONFIG", b"RESETSTAT", b"x"],
    [b"COMMAND", b"foo"],
    [b"COMMAND", b"GETKEYS", b"MSET", b"a", b"1", b"b", b"2"],
    [b"COMMAND", b"GETKEYS", b"DEL", b"a", b"b"],
    [b"COMMAND", b"GETKEYS", b"PING", b"x"],
    [b"COMMAND", b"GETKEYS", b"nosuch", b"x"],
    [b"COMMAND", b"GETKEYS", b"get", b"a", b"b"],
    [b"COMMAND", b"GETKEYS", b"get"],
    [b"COMMAND", b"LIST", b"FILTERBY", b"foo", b"x"],
    [b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", b"mge[t]"],
    [b"COMMAND", b"INFO", b"nosuch"],
    [b"SCAN", b"abc"],
    [b"SCAN", b"-1"],
    [b"SCAN", b"0", b"COUNT", b"0"],
    [b"SCAN", b"0", b"COUNT", b"x"],
    [b"SCAN", b"0", b"TYPE", b"nosuchtype"],
    [b"SCAN", b"0", b"MATCH"],
    [b"SCAN", b"99999999999999999999"],
    [b"nosuch", b"x" * 200, b"y"],
    [b"no\r\nsuch", b"a\r\nb", b"c\x00d"],
    [b"\xff" * 200, b"\xfe", *[b"word"] * 60],
    [b"PING", b"a", b"b"],
    [b"RESET"],
    [b"RESET", b"x"],
    [b"FLUSHALL", b"async"],
    [b"FLUSHALL", b"sync", b"sync"],
    [b"CLIENT", b"REPLY", b"ON"],
]


def test_commands_about_the_connection_are_answered_as_redis_answers_them(
    redis_port: int, new_conversation: "NewConversation", request_of: "Encode"
) -> None:
    """Greetings, names and subcommands, right and wrong, get Redis's replies."""
    oracle = Oracle(redis_port)
    ours = new_conversation()
    try:
        for args in FIXED:
            request = request_of(*args)
            expected = oracle.ask([request])[0]
            found = decode(ours.raw(request))[0]
            assert comparable(args, found) == comparable(args, expected), args
    finally:
        oracle.close()


def test_rows_of_the_table_say_what_redis_says(redis_port: int, request_of: "Encode") -> None:
    """Arity, key positions and the flags that clients act on are Redis's, for every command it has too."""
    oracle = Oracle(redis_port)
    newer = {"delex", "delifeq", "client|setinfo", "client|no-touch", "client|reads"}
    rows = [
        row
        for command in COMMANDS.values()
        for row in (command, *command.subcommands)
        if row.name not in newer and not row.name.startswith("raftline.")
    ]
    try:
        found = oracle.ask([request_of(b"COMMAND", b"INFO", *(row.name.encode() for row in rows))])[0]
    finally:
        oracle.close()
    for row, theirs in zip(rows, found, strict=True):
        flags = {flag.decode() for flag in theirs[2]} & {"write", "readonly", "admin"}
        assert (row.arity, *row.keys) == tuple(theirs[1:2] + theirs[3:6]), row.name
        assert set(row.flags) & {"write", "readonly", "admin"} == flags, row.name


RAW = [
    b"PING\r\n",
    b"PING\n",
    b"\r\n\r\nPING\r\n",
    b"  SET  k  'a \\'quoted\\' word'  \r\nGET k\r\n",
    b'SET k "\\x41\\n\\\\ \\q"\r\nGET k\r\n',
    b'SET k "open\r\n',
    b'SET k "a"b\r\n',
    b"SET k 'open\r\n",
    b"*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
    b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n",
    b"*abc\r\n",
    b"*99999999999999999999\r\n",
    b"*1\r\n+PING\r\n",
    b"*1\r\n\x01PING\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$abc\r\n",
    b"*1\r\n$99999999999\r\n",
    b"*1\r\n$4\r\nPING\r\n*1\r\n:1\r\n",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"x" * 70_000,
    b"*" + b"1" * 70_000,
    b"*1\r\n$" + b"1" * 70_000,
    b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k stolen\r\n",
    b"SET k v\r\nQUIT\r\nSET k w\r\n",
]


@pytest.mark.parametrize("data", RAW, ids=lambda data: repr(data[:24]))
def test_raw_input_is_answered_as_redis_answers_it(
    redis_port: int, new_conversation: "NewConversation", data: bytes
) -> None:
    """Lines typed by hand, empty requests and garbage get the same bytes, and the connection the same end."""
    with socket.create_connection(("127.0.0.1", redis_port)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        expected = b""
        while received := connection.recv(1 << 16):
            expected += received
    assert new_conversation().raw(data) == expected
