"""ACL against a real redis-server: the same words in, the same answers and the same refusals out."""

import secrets
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
import redis

from raftline.kv.acl.rights import categories_of, key_access, rows_of
from raftline.kv.commands.table import COMMANDS

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

    NewConversation = Callable[..., Conversation]

Words = tuple[str, ...]


class _Refusal(Exception):
    """An error reply."""


def _plain(reply: object) -> object:
    return str(reply) if isinstance(reply, _Refusal) else reply


class Both:
    """The same client of a redis-server and of ours."""

    def __init__(self, port: int, ours: "Conversation") -> None:
        self._ours = ours
        self._theirs = socket.create_connection(("127.0.0.1", port), 60)

    def ask(self, *words: str) -> tuple[object, object]:
        """Return redis-server's reply and ours."""
        args = [word.encode() for word in words]
        request = b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)
        self._theirs.sendall(request)
        reader = hiredis.Reader(replyError=_Refusal)
        while (theirs := reader.gets()) is False:
            reader.feed(self._theirs.recv(65536))
        return _plain(theirs), decoded(self._ours.raw(request))

    def close(self) -> None:
        """Close the connection."""
        self._theirs.close()


def decoded(reply: bytes) -> object:
    """Read one reply as redis-py would; an error is its text."""
    reader = hiredis.Reader(replyError=_Refusal)
    reader.feed(reply)
    return _plain(reader.gets())


@pytest.fixture
def both(redis_port: int, new_conversation: "NewConversation") -> Iterator[Both]:
    """Return a pair of clients whose servers have no users but `default`."""
    admin = redis.Redis(port=redis_port)
    names: list[Any] = [name for name in admin.acl_users() if name != "default"]
    if names:
        admin.acl_deluser(*names)
    pair = Both(redis_port, new_conversation())
    try:
        yield pair
    finally:
        pair.close()
        names = [name for name in admin.acl_users() if name != "default"]
        if names:
            admin.acl_deluser(*names)
        admin.close()


def same(both: Both, *words: str) -> object:
    """Ask both, check that they answer alike, and return the answer."""
    theirs, ours = both.ask(*words)
    assert ours == theirs, words
    return ours


RULES: list[Words] = [
    (),
    ("on",),
    ("on", ">pw", "~a:*", "%R~b:*", "%W~c:*", "&ch*", "+@list", "-lpush"),
    ("on", "nopass", "allkeys", "allchannels", "allcommands"),
    ("on", ">one", ">two", "<one"),
    ("on", ">one", ">one"),
    ("on", ">one", "nopass", "resetpass"),
    ("~a", "~b", "resetkeys", "~c"),
    ("&a", "&b", "resetchannels", "&c"),
    ("%RW~both", "%rw~both", "%r~x"),
    ("+@read", "nocommands"),
    ("ALLKEYS", "ON", "+GET"),
    ("#" + "ab" * 32,),
    ("",),
]
WRONG: list[Words] = [
    ("foo",),
    ("+nosuch",),
    ("-nosuch",),
    ("+@nosuch",),
    ("+client|nosuch",),
    ("-get|x",),
    ("#12",),
    ("!12",),
    ("#" + "AB" * 32,),
    ("~*", "~a"),
    ("&*", "&a"),
    ("%X~a",),
    ("%~a",),
    ("on", "+get", "bar"),
]


@pytest.mark.parametrize("rules", RULES, ids=" ".join)
def test_users_are_described_as_redis_does(both: Both, rules: Words) -> None:
    """What SETUSER made of a user is what Redis would have made of it (LIST, GETUSER, USERS)."""
    assert same(both, "ACL", "SETUSER", "alice", *rules) == b"OK"
    same(both, "ACL", "LIST")
    same(both, "ACL", "GETUSER", "alice")
    same(both, "ACL", "USERS")
    assert same(both, "ACL", "DELUSER", "alice", "nobody") == 1
    same(both, "ACL", "LIST")


@pytest.mark.parametrize("rules", WRONG, ids=" ".join)
def test_wrong_rules_are_refused_as_redis_does(both: Both, rules: Words) -> None:
    """A rule that cannot be used is named with Redis's reason, and nothing of the command counts."""
    assert isinstance(same(both, "ACL", "SETUSER", "alice", *rules), str)
    same(both, "ACL", "GETUSER", "alice")


def test_other_refusals_are_those_of_redis(both: Both) -> None:
    """Names, categories and numbers that cannot be, and whatever else can be asked wrongly."""
    for words in (
        ("ACL", "SETUSER", "b b", "on"),
        ("ACL", "DELUSER", "default"),
        ("ACL", "GETUSER", "nobody"),
        ("ACL", "CAT", "nosuch"),
        ("ACL", "GENPASS", "0"),
        ("ACL", "GENPASS", "4097"),
        ("ACL", "GENPASS", "x"),
        ("ACL", "DRYRUN", "nobody", "get", "a"),
        ("ACL", "DRYRUN", "default", "nosuch"),
        ("ACL", "DRYRUN", "default", "get"),
        ("ACL", "DRYRUN", "default", "get", "a"),
        ("ACL", "NOSUCH"),
        ("ACL",),
        ("ACL", "LOG", "x"),
        ("AUTH",),
        ("AUTH", "x"),
        ("AUTH", "a", "b", "c"),
        ("AUTH", "nobody", "x"),
        ("AUTH", "default", "x"),
        ("HELLO", "3", "AUTH", "nobody", "x"),
        ("ACL", "WHOAMI"),
    ):
        same(both, *words)


QUESTIONS: list[Words] = [
    ("GET", "a:1"), ("GET", "z"), ("SET", "a:1", "x"), ("SET", "w:1", "x"), ("SET", "w:1", "x", "GET"),
    ("SET", "r:1", "x"), ("GET", "w:1"), ("GET", "r:1"), ("MGET", "a:1", "r:1"), ("MGET", "a:1", "w:1"),
    ("EXISTS", "w:1"), ("EXISTS", "z"), ("STRLEN", "w:1"), ("TYPE", "r:1"), ("TTL", "w:1"), ("DEL", "r:1"),
    ("DEL", "w:1"), ("INCR", "w:1"), ("INCR", "a:1"), ("APPEND", "w:1", "x"), ("EXPIRE", "w:1", "9"),
    ("EXPIRE", "r:1", "9"), ("MSET", "w:1", "x", "w:2", "y"), ("MSET", "w:1", "x", "r:2", "y"), ("GETDEL", "w:1"),
    ("GETSET", "w:1", "x"), ("LPUSH", "a:l", "x"), ("RPOPLPUSH", "a:l", "w:l"), ("RPOPLPUSH", "w:l", "a:l"),
    ("LMPOP", "1", "a:l", "LEFT"), ("LMPOP", "1", "w:l", "LEFT"), ("SUNIONSTORE", "w:s", "r:s", "a:s"),
    ("SUNIONSTORE", "r:s", "a:s"), ("SUNIONSTORE", "w:s", "w:t"), ("SINTERCARD", "1", "r:s"),
    ("SINTERCARD", "1", "w:s"), ("SMOVE", "a:s", "w:s", "x"), ("HSET", "w:h", "f", "v"), ("HGET", "w:h", "f"),
    ("HLEN", "w:h"), ("DBSIZE",), ("KEYS", "*"), ("CLIENT", "ID"), ("CLIENT", "LIST"), ("PING",), ("FLUSHALL",),
    ("CONFIG", "GET", "port"), ("COMMAND", "COUNT"), ("SELECT", "0"), ("ACL", "WHOAMI"),
]  # fmt: skip
WORDS = "~a:* %R~r:* %W~w:*"


@pytest.mark.parametrize(
    "rules",
    [
        "+@all " + WORDS,
        "+@read " + WORDS,
        "+@write " + WORDS,
        "+@fast -@write " + WORDS,
        "+@all -@dangerous " + WORDS,
        "+@string +@connection " + WORDS,
        "+@keyspace -del " + WORDS,
        "+get +client +config|get " + WORDS,
        "+@all -client|list " + WORDS,
        "+@all -client +client|id " + WORDS,
        "+@slow allkeys",
        "+@all",
        "",
    ],
)
def test_users_may_do_what_redis_lets_them_do(both: Both, rules: str) -> None:
    """Each command with each kind of key is allowed or refused as in Redis, by DRYRUN (words included)."""
    same(both, "ACL", "SETUSER", "alice", *rules.split())
    for words in QUESTIONS:
        same(both, "ACL", "DRYRUN", "alice", *words)


def test_a_session_of_a_restricted_user(both: Both) -> None:
    """Logging in, being refused commands and keys, trying other passwords, and starting again: reply by reply."""
    password = secrets.token_hex(8)
    for words in (
        ("ACL", "SETUSER", "alice", "on", ">" + password, *WORDS.split(), "+@string", "+ping", "+acl|whoami"),
        ("AUTH", "alice", "wrong"),
        ("ACL", "WHOAMI"),
        ("AUTH", "alice", password),
        ("ACL", "WHOAMI"),
        ("SET", "w:1", "x"),
        ("GET", "w:1"),
        ("SET", "z", "x"),
        ("DEL", "a:1"),
        ("ACL", "LIST"),
        ("CLIENT", "LIST"),
        ("NOSUCH", "x"),
        ("GET",),
        ("AUTH", "alice", "wrong"),
        ("ACL", "WHOAMI"),
        ("AUTH", "default", "whatever"),
        ("ACL", "WHOAMI"),
        ("ACL", "SETUSER", "alice", "off"),
        ("AUTH", "alice", password),
        ("RESET",),
        ("ACL", "WHOAMI"),
    ):
        same(both, *words)


def test_the_log_of_refusals_says_what_redis_says(both: Both) -> None:
    """ACL LOG counts alike refusals together and names reason, object and user."""
    same(both, "ACL", "SETUSER", "alice", "on", ">x", "~a:*", "+get", "+auth", "+acl|log", "+acl|whoami")
    both.ask("ACL", "LOG", "RESET")
    for words in (("AUTH", "alice", "wrong"), ("AUTH", "alice", "x"), ("GET", "z"), ("GET", "z"), ("SET", "a:1", "x")):
        same(both, *words)
    theirs, ours = both.ask("ACL", "LOG")
    assert [row[:10] for row in ours] == [row[:10] for row in theirs]  # type: ignore[attr-defined]
    assert len(both.ask("ACL", "LOG", "1")[1]) == 1  # type: ignore[arg-type]


def test_nothing_works_before_login_if_default_has_a_password(both: Both) -> None:
    """With a password for `default`, a new connection may greet, log in and leave, and nothing else."""
    steps: list[Words] = [
        ("PING",), ("GET", "a"), ("GET",), ("NOSUCH",), ("HELLO",), ("HELLO", "2"), ("HELLO", "9"), ("ACL", "WHOAMI"),
        ("AUTH", "wrong"), ("PING",), ("AUTH", "secret"), ("PING",), ("ACL", "WHOAMI"), ("RESET",), ("PING",),
        ("HELLO", "2", "AUTH", "default", "secret", "SETNAME", "me"), ("CLIENT", "GETNAME"),
    ]  # fmt: skip
    same(both, "ACL", "SETUSER", "default", ">secret")
    try:
        same(both, "RESET")
        for words in steps:
            theirs, ours = both.ask(*words)
            if words[0] == "HELLO" and isinstance(ours, list):
                assert isinstance(theirs, list)
            else:
                assert ours == theirs, words
    finally:
        both.ask("AUTH", "secret")
        both.ask("ACL", "SETUSER", "default", "resetpass", "nopass")


def test_categories_and_access_to_keys_are_those_of_redis(redis_port: int) -> None:
    """Every command that Redis has, too, is of the same categories and needs the same access to its keys."""
    with redis.Redis(port=redis_port) as client:
        rows = [row for row in rows_of(COMMANDS) if not row.name.startswith("raftline.")]
        connection: Any = client.connection_pool.get_connection()
        connection.send_command("COMMAND", "INFO", *(row.name for row in rows))
        replies = connection.read_response()
        client.connection_pool.release(connection)
    for row, theirs in zip(rows, replies, strict=True):
        if theirs is None:
            continue
        assert set(categories_of(row)) == {category.decode()[1:] for category in theirs[6]}, row.name
        specs = [
            spec if isinstance(spec, dict) else dict(zip(spec[::2], spec[1::2], strict=True)) for spec in theirs[8]
        ]
        assert not theirs[8] or row.keys[0] or row.numkeys, f"rules for keys do not see the keys of {row.name}"
        needed = tuple(_access({flag.decode() for flag in spec[b"flags"]}) for spec in specs)
        if needed and row.name not in {"set", "sort", "sort_ro"}:
            assert key_access(row, []) in {needed, (*set(needed),)}, row.name


def _access(flags: set[str]) -> str:
    return ("r" if "access" in flags else "") + ("w" if flags & {"insert", "delete", "update"} else "")


def _pairs(spec: Any) -> Any:
    return spec if isinstance(spec, dict) else dict(zip(spec[::2], spec[1::2], strict=True))
