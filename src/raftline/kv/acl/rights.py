"""What a user may do, laid out for speed: the commands allowed by name, the patterns a key has to match.

It is compiled on each node, from the user's rules and that node's command table. Categories and the access a command
needs to its keys follow from the rows' flags and groups; what does not follow, Redis's own table says, and stands here.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from raftline.kv.acl.user import User
from raftline.kv.commands.command import Arguments, Command
from raftline.kv.commands.glob import compile_glob

__all__ = [
    "ALWAYS_ALLOWED",
    "CATEGORIES",
    "Denial",
    "Rights",
    "categories_of",
    "key_access",
    "known_rules",
    "may_listen",
    "rows_of",
]

CATEGORIES: Final = (
    "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
    "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
    "raftline",
)  # fmt: skip
"""Redis's, in its order, and that of the commands which only raftline has."""

_OF_GROUP: Final = {"generic": "keyspace", "sorted-set": "sortedset", "transactions": "transaction"}
_OF_FLAG: Final = {
    "write": ("write",),
    "readonly": ("read",),
    "admin": ("admin", "dangerous"),
    "pubsub": ("pubsub",),
    "blocking": ("blocking",),
}
_FURTHER: Final = {
    **dict.fromkeys(("info", "keys", "restore", "migrate"), ("dangerous",)),
    **dict.fromkeys(("flushall", "flushdb", "swapdb"), ("dangerous", "keyspace")),
    **dict.fromkeys(("sort", "sort_ro"), ("dangerous", "list", "set", "sortedset")),
    **dict.fromkeys(("role", "lastsave"), ("admin", "dangerous")),
    **dict.fromkeys(("wait", "readonly", "readwrite", "asking"), ("connection",)),
    "dbsize": ("keyspace",),
}
_WITHOUT: Final = {"wait": "keyspace", "sort": "keyspace", "sort_ro": "keyspace"}
_WITHOUT_GROUP: Final = frozenset({"pubsub|help", "memory|usage"})

_NEITHER: Final = (
    "touch hstrlen hlen llen exists watch raftline.watch scard memory|usage type sismember strlen zcard hexists "
    "object|idletime object|freq object|encoding object|refcount"
)
_WRITE: Final = (
    "rpush ltrim hset lpushx psetex lset linsert lpush srem mset hdel msetnx zremrangebyscore setrange del rpushx zadd "
    "setnx zrem persist lrem zremrangebylex zremrangebyrank pexpireat hmset sadd pexpire setex expire expireat unlink "
    "append restore hsetnx"
)
_FROM_TO: Final = "renamenx blmove smove lmove rename rpoplpush brpoplpush"
_INTO: Final = "zinterstore sinterstore zunionstore zdiffstore sdiffstore zrangestore sunionstore"
_ACCESS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_NEITHER.split(), ("",)),
    **dict.fromkeys(_WRITE.split(), ("w",)),
    **dict.fromkeys(_FROM_TO.split(), ("rw", "w")),
    **dict.fromkeys(_INTO.split(), ("w", "r")),
    "copy": ("r", "w"),
    **dict.fromkeys(("sort", "sort_ro"), ("r",)),
}
"""Command → what it needs of its first key, of its second, ...; the last counts for all that follow."""
_READS: Final = frozenset({b"GET", b"IFEQ", b"IFNE"})
"""Options of SET with which it tells something of the value before."""
ALWAYS_ALLOWED: Final = frozenset({"auth", "hello", "reset", "quit"})
"""Commands that need no permission, and no login."""


_ANY_KEY: Final = b"\xff any key \xff"
"""Stands for keys that only the values of others name: who may read all keys may read it."""


_BY_NAME: Final = frozenset({"subscribe", "ssubscribe", "psubscribe"})
_BY_MESSAGE: Final = frozenset({"publish", "spublish"})


class Denial(NamedTuple):
    """Why a user may not do something."""

    reason: str
    """`command`, `key` or `channel`."""
    object: bytes
    """The command's name, or the key, or the channel."""


class Rights:
    """What one user may do; immutable."""

    __slots__ = ("_allowed", "_keys", "_user")

    def __init__(self, user: User, commands: Mapping[bytes, Command]) -> None:
        self._allowed = frozenset(_allowed(user, commands)) | ALWAYS_ALLOWED
        self._user = user
        self._keys: list[tuple[frozenset[str], Callable[[bytes], bool]]] | None = None
        if user.keys != (b"~*",):
            self._keys = [_key_rule(rule) for rule in user.keys]

    def denial(self, command: Command, args: Arguments) -> Denial | None:
        """Return why `command` with these arguments, name included, may not be carried out; None if it may."""
        if command.name not in self._allowed:
            return Denial("command", command.name.encode())
        if command.group == "pubsub":
            return self._denial_of_channel(command, args)
        if self._keys is None or not (command.keys[0] or command.numkeys):
            return None
        for key, needed in _needs(command, args):
            if not any(given.issuperset(needed) and matches(key) for given, matches in self._keys):
                return Denial("key", key)
        return None

    def _denial_of_channel(self, command: Command, args: Arguments) -> Denial | None:
        names = args[1:] if command.name in _BY_NAME else args[1:2] if command.name in _BY_MESSAGE else []
        for name in names:
            if not may_listen(self._user, name, is_pattern=command.name == "psubscribe"):
                return Denial("channel", name)
        return None


def may_listen(user: User, name: bytes, *, is_pattern: bool = False) -> bool:
    """Say whether a user may use a channel; a pattern has to be allowed letter by letter."""
    if user.channels == (b"&*",):
        return True
    allowed = [rule[1:] for rule in user.channels]
    return name in allowed if is_pattern else any(compile_glob(pattern)(name) for pattern in allowed)


def _needs(command: Command, args: Arguments) -> Iterator[tuple[bytes, str]]:
    """Yield each key that a command with these arguments uses, and what it needs of it."""
    access = key_access(command, args)
    for number, position in enumerate(command.keys_in(args)):
        yield args[position], access[min(number, len(access) - 1)]
    if command.name in {"sort", "sort_ro"}:
        for word, value in pairwise(args[2:]):
            if word.upper() == b"STORE":
                yield value, "w"
            elif word.upper() in {b"BY", b"GET"} and b"*" in value:
                yield _ANY_KEY, "r"


def rows_of(commands: Mapping[bytes, Command]) -> Iterator[Command]:
    """Yield every command and every subcommand."""
    for command in commands.values():
        yield command
        yield from command.subcommands


def categories_of(command: Command) -> list[str]:
    """Return the categories of a command, without the `@`."""
    found = [category for flag in command.flags for category in _OF_FLAG.get(flag, ())]
    group = _OF_GROUP.get(command.group, command.group)
    if group in CATEGORIES and not command.subcommands and command.name not in _WITHOUT_GROUP:
        found.append(group)
    found += _FURTHER.get(command.name, ())
    if command.name.partition("|")[0] == "command":
        found.append("connection")
    found.append("fast" if "fast" in command.flags else "slow")
    return [category for category in dict.fromkeys(found) if category != _WITHOUT.get(command.name)]


def key_access(command: Command, args: Arguments) -> tuple[str, ...]:
    """Return what is needed of each key: letters of `rw`, none where any right to the key will do."""
    if command.group == "pubsub":
        return ("",)
    if command.name == "set":
        return ("rw",) if any(arg.upper() in _READS for arg in args[3:]) else ("w",)
    return _ACCESS.get(command.name) or (("rw",) if "write" in command.flags else ("r",))


def known_rules(commands: Mapping[bytes, Command]) -> frozenset[bytes]:
    """Return what may stand behind the + or - of a rule: each command, subcommand and category that there is."""
    categories = ["@all", *(f"@{category}" for category in CATEGORIES)]
    return frozenset(name.encode() for name in [*categories, *(row.name for row in rows_of(commands))])


def _allowed(user: User, commands: Mapping[bytes, Command]) -> set[str]:
    rows = list(rows_of(commands))
    allowed: set[str] = set()
    for rule in user.commands:
        name = rule[1:].decode("ascii", "replace")
        if name == "@all":
            meant = {row.name for row in rows}
        elif name.startswith("@"):
            meant = {row.name for row in rows if name[1:] in categories_of(row)}
        else:
            meant = {row.name for row in rows if row.name == name or row.name.startswith(name + "|")}
        allowed = allowed | meant if rule[:1] == b"+" else allowed - meant
    return allowed


def _key_rule(rule: bytes) -> tuple[frozenset[str], Callable[[bytes], bool]]:
    head, _, pattern = rule.partition(b"~")
    access = frozenset(head[1:].decode().lower()) if head else frozenset("rw")
    return access, compile_glob(pattern)
