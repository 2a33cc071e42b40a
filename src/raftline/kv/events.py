"""Keyspace notifications: which events a write caused, told from what its keys held before and after it.

The names are Redis's, and so is their order. The commands themselves know nothing of this, and nothing of it is done
while nobody listens on a node; it changes neither the store nor a reply.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise, takewhile
from typing import Final, NamedTuple

from raftline.kv.commands.command import Arguments, WriteFunction
from raftline.kv.commands.strings import CONDITIONS
from raftline.kv.resp.replies import NULL, NULL_ARRAY, OK, ZERO, bulk
from raftline.kv.store import Store
from raftline.kv.values.container import Container
from raftline.kv.values.sorted_set import SortedSet

__all__ = ["EXPIRED", "KEY_EVENT", "KEY_SPACE", "MISSED", "Event", "flags_text", "parse_flags", "watch_write"]

_LETTERS: Final = b"Ag$lshzxeKEtmdn"
_ALL: Final = frozenset(b"g$lshzxetd")
_SHOWN: Final = b"g$lshzxetdn"
KEY_SPACE: Final = b"K"
KEY_EVENT: Final = b"E"
EXPIRED: Final = (b"x", b"expired")
MISSED: Final = (b"m", b"keymiss")


def parse_flags(text: bytes) -> bytes | None:
    """Return the letters that `notify-keyspace-events` means, `A` spelled out; None if there is another letter."""
    if not frozenset(text) <= frozenset(_LETTERS):
        return None
    letters = frozenset(text) | (_ALL if b"A" in text else frozenset())
    return bytes(letter for letter in b"g$lshzxetdnKEm" if letter in letters)


def flags_text(flags: bytes) -> bytes:
    """Return the letters as CONFIG GET shows them."""
    shown = b"A" if frozenset(flags) >= _ALL else bytes(letter for letter in _SHOWN if letter in flags)
    return shown + bytes(letter for letter in b"KEm" if letter in flags)


class Event(NamedTuple):
    """One of them."""

    kind: bytes
    """The letter of its class."""
    name: bytes
    key: bytes


class _Before(NamedTuple):
    """What a key held before the write."""

    size: int
    """Members, 1 for a string, 0 for nothing."""
    deadline_ms: int | None
    is_overdue: bool


class _Change:
    """One write that was carried out, between before and after."""

    def __init__(self, store: Store, args: Arguments, keys: list[bytes]) -> None:
        self.store = store
        self.args = args
        self.reply = b""
        self.before = {key: self._look(key) for key in keys}

    def _look(self, key: bytes) -> _Before:
        return _Before(self.count(key), self.store.deadline_ms(key), self.store.is_overdue(key))

    def count(self, key: bytes) -> int:
        """Return how many members a key holds now."""
        value = self.store.get(key)
        return value.count if isinstance(value, Container) else int(value is not None)

    def existed(self, key: bytes) -> bool:
        """Say whether the key was there."""
        return self.before[key].size > 0

    def exists(self, key: bytes) -> bool:
        """Say whether the key is there."""
        return self.store.get(key) is not None

    def shrunk(self) -> list[bytes]:
        """Return the keys that hold fewer members than before."""
        return [key for key, before in self.before.items() if self.count(key) < before.size]

    @property
    def is_positive(self) -> bool:
        """Say whether the reply is a number above 0."""
        return self.reply[:1] == b":" and self.reply != ZERO and self.reply[1:2] != b"-"

    def removed(self, kind: bytes, name: bytes, key: bytes) -> Iterator[Event]:
        """Yield an event, and that of the key's removal if nothing is left in it."""
        yield Event(kind, name, key)
        if not self.exists(key):
            yield Event(b"g", b"del", key)


Told = Callable[[_Change], Iterator[Event]]
Keys = Callable[[Arguments], list[bytes]]


class _Rule(NamedTuple):
    keys: Keys
    told: Told
    is_new: bool = False
    """The key named last is always a new one: what was there was removed before."""
    change: type[_Change] = _Change


def watch_write(
    store: Store, write: WriteFunction, args: Arguments, time_ms: int, tell: Callable[[Event], object]
) -> bytes:
    """Carry a write out and return its reply; `tell` gets every event that it caused, in order."""
    rule = _RULES.get(args[0])
    if rule is None:
        return write(store, args, time_ms)
    keys = rule.keys(args)
    change = rule.change(store, args, keys)
    change.reply = reply = write(store, args, time_ms)
    for key, before in change.before.items():
        if before.is_overdue and not store.is_overdue(key):
            tell(Event(*EXPIRED, key))
    if reply[:1] == b"-":
        return reply
    made = {key for key in change.before if change.exists(key) and not change.existed(key)}
    for event in rule.told(change):
        if rule.is_new:
            made, rule = set(), rule._replace(is_new=False)
            tell(Event(b"n", b"new", keys[1]))
        elif event.key in made:
            tell(Event(b"n", b"new", event.key))
        made.discard(event.key)
        tell(event)
    return reply


# Which keys matter.


def _first(args: Arguments) -> list[bytes]:
    return args[1:2]


def _all(args: Arguments) -> list[bytes]:
    return args[1:]


def _pairs(args: Arguments) -> list[bytes]:
    return args[1::2]


def _two(args: Arguments) -> list[bytes]:
    return args[1:3]


def _timed(args: Arguments) -> list[bytes]:
    return args[1:-1]


def _numbered(args: Arguments) -> list[bytes]:
    return args[2 : 2 + int(args[1])] if args[1].isdigit() and len(args[1]) < len(b"1000000") else []


def _timed_and_numbered(args: Arguments) -> list[bytes]:
    return _numbered(args[1:])


def _stored(args: Arguments) -> list[bytes]:
    words = [word.upper() for word in args[2:-1]]
    return [args[3 + place] for place, word in enumerate(words) if word == b"STORE"][-1:]


# What is told.


def _if_positive(kind: bytes, name: bytes, *, empties: bool = False) -> Told:
    def told(change: _Change) -> Iterator[Event]:
        if change.is_positive:
            if empties:
                yield from change.removed(kind, name, change.args[1])
            else:
                yield Event(kind, name, change.args[1])

    return told


def _always(kind: bytes, name: bytes) -> Told:
    def told(change: _Change) -> Iterator[Event]:
        yield Event(kind, name, change.args[1])

    return told


def _each(name: bytes) -> Told:
    def told(change: _Change) -> Iterator[Event]:
        if change.reply != ZERO:
            for key in change.args[1::2]:
                yield Event(b"$", name, key)

    return told


def _shrinks(kind: bytes, name: bytes) -> Told:
    def told(change: _Change) -> Iterator[Event]:
        for key in change.shrunk():
            yield from change.removed(kind, name, key)

    return told


def _shrinks_at_end(kind: bytes, names: dict[bytes, bytes]) -> Told:
    def told(change: _Change) -> Iterator[Event]:
        for key in change.shrunk():
            word = next(word.upper() for word in change.args[::-1] if word.upper() in names)
            yield from change.removed(kind, names[word], key)

    return told


def _stores(kind: bytes, name: bytes) -> Told:
    def told(change: _Change) -> Iterator[Event]:
        for key in change.before:
            if change.is_positive:
                yield Event(kind, name, key)
            elif change.existed(key):
                yield Event(b"g", b"del", key)

    return told


_TIMES: Final = frozenset({b"EX", b"PX", b"EXAT", b"PXAT"})


def _set(change: _Change) -> Iterator[Event]:
    key = change.args[1]
    options = {word.upper() for word in change.args[3:]}
    if b"GET" in options:
        done = not (b"NX" in options and change.existed(key)) and not (b"XX" in options and not change.existed(key))
        for option, expected in pairwise(change.args[3:]):
            if option.upper() in CONDITIONS:
                done = (change.reply == bulk(expected)) is (option.upper() == b"IFEQ")
    else:
        done = change.reply == OK
    if done:
        yield Event(b"$", b"set", key)
        if options & _TIMES:
            yield from _expires(change, key)


def _setex(change: _Change) -> Iterator[Event]:
    yield Event(b"$", b"set", change.args[1])
    yield from _expires(change, change.args[1])


def _expires(change: _Change, key: bytes) -> Iterator[Event]:
    yield Event(b"g", b"expire", key)
    if not change.exists(key):
        yield Event(*EXPIRED, key)


def _expire(change: _Change) -> Iterator[Event]:
    if change.is_positive:
        yield Event(b"g", b"expire" if change.exists(change.args[1]) else b"del", change.args[1])


def _getex(change: _Change) -> Iterator[Event]:
    key = change.args[1]
    word = change.args[2].upper() if len(change.args) > 2 and change.existed(key) else b""
    if word in _TIMES:
        yield Event(b"g", b"expire" if change.exists(key) else b"del", key)
    elif word == b"PERSIST" and change.before[key].deadline_ms is not None:
        yield Event(b"g", b"persist", key)


def _delete(change: _Change) -> Iterator[Event]:
    for key in change.before:
        if change.existed(key):
            yield Event(b"g", b"del", key)


def _setrange(change: _Change) -> Iterator[Event]:
    if change.args[3]:
        yield Event(b"$", b"setrange", change.args[1])


def _rename(change: _Change) -> Iterator[Event]:
    old, key = change.args[1:3]
    if old != key and change.reply != ZERO:
        yield Event(b"g", b"rename_from", old)
        yield Event(b"g", b"rename_to", key)


def _copy(change: _Change) -> Iterator[Event]:
    if change.is_positive:
        yield Event(b"g", b"copy_to", change.args[2])


def _ltrim(change: _Change) -> Iterator[Event]:
    if change.existed(change.args[1]):
        yield from change.removed(b"l", b"ltrim", change.args[1])


def _move(change: _Change) -> Iterator[Event]:
    if change.reply in {NULL, NULL_ARRAY}:
        return
    named = change.args[0] in {b"LMOVE", b"BLMOVE"}
    source, key = change.args[1:3]
    from_left = named and change.args[3].upper() == b"LEFT"
    to_left = not named or change.args[4].upper() == b"LEFT"
    yield Event(b"l", b"lpush" if to_left else b"rpush", key)
    yield from change.removed(b"l", b"lpop" if from_left else b"rpop", source)


def _smove(change: _Change) -> Iterator[Event]:
    source, key = change.args[1:3]
    if change.is_positive and source != key:
        yield from change.removed(b"s", b"srem", source)
        if change.count(key) > change.before[key].size:
            yield Event(b"s", b"sadd", key)


_ZADD_OPTIONS: Final = frozenset({b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"})


class _ScoreChange(_Change):
    """A ZADD or ZINCRBY, whose reply does not say whether a score changed."""

    def __init__(self, store: Store, args: Arguments, keys: list[bytes]) -> None:
        super().__init__(store, args, keys)
        self.scores_before = self._scores()

    def _scores(self) -> list[float | None]:
        value = self.store.get(self.args[1])
        return [value.scores.get(word) for word in self.args[3:]] if isinstance(value, SortedSet) else []

    def is_changed(self) -> bool:
        """Say whether any member has another score."""
        return self._scores() != (self.scores_before or [None] * len(self.args[3:]))


def _zadd(change: _Change) -> Iterator[Event]:
    assert isinstance(change, _ScoreChange), "the rule says so"
    args = change.args
    if change.exists(args[1]) and change.is_changed():
        options = {word.upper() for word in takewhile(lambda word: word.upper() in _ZADD_OPTIONS, args[2:])}
        increases = b"INCR" in options or args[0] == b"ZINCRBY"
        yield Event(b"z", b"zincr" if increases else b"zadd", args[1])


# One line per command.


_LIST_ENDS: Final = {b"LEFT": b"lpop", b"RIGHT": b"rpop"}
_SET_ENDS: Final = {b"MIN": b"zpopmin", b"MAX": b"zpopmax"}

_RULES: Final[dict[bytes, _Rule]] = {
    b"SET": _Rule(_first, _set),
    **dict.fromkeys((b"SETEX", b"PSETEX"), _Rule(_first, _setex)),
    b"SETNX": _Rule(_first, _if_positive(b"$", b"set")),
    b"GETSET": _Rule(_first, _always(b"$", b"set")),
    **dict.fromkeys((b"MSET", b"MSETNX"), _Rule(_pairs, _each(b"set"))),
    b"APPEND": _Rule(_first, _always(b"$", b"append")),
    b"SETRANGE": _Rule(_first, _setrange),
    **dict.fromkeys((b"INCR", b"DECR", b"INCRBY", b"DECRBY"), _Rule(_first, _always(b"$", b"incrby"))),
    b"INCRBYFLOAT": _Rule(_first, _always(b"$", b"incrbyfloat")),
    b"GETEX": _Rule(_first, _getex),
    **dict.fromkeys((b"GETDEL", b"DELEX", b"DELIFEQ"), _Rule(_first, _delete)),
    **dict.fromkeys((b"DEL", b"UNLINK"), _Rule(_all, _delete)),
    **dict.fromkeys((b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"), _Rule(_first, _expire)),
    b"PERSIST": _Rule(_first, _if_positive(b"g", b"persist")),
    **dict.fromkeys((b"RENAME", b"RENAMENX"), _Rule(_two, _rename, is_new=True)),
    b"COPY": _Rule(_two, _copy, is_new=True),
    b"SORT": _Rule(_stored, _stores(b"l", b"sortstore")),
    **dict.fromkeys((b"LPUSH", b"LPUSHX"), _Rule(_first, _if_positive(b"l", b"lpush"))),
    **dict.fromkeys((b"RPUSH", b"RPUSHX"), _Rule(_first, _if_positive(b"l", b"rpush"))),
    b"LINSERT": _Rule(_first, _if_positive(b"l", b"linsert")),
    b"LSET": _Rule(_first, _always(b"l", b"lset")),
    b"LREM": _Rule(_first, _if_positive(b"l", b"lrem", empties=True)),
    b"LTRIM": _Rule(_first, _ltrim),
    b"LPOP": _Rule(_first, _shrinks(b"l", b"lpop")),
    b"RPOP": _Rule(_first, _shrinks(b"l", b"rpop")),
    b"BLPOP": _Rule(_timed, _shrinks(b"l", b"lpop")),
    b"BRPOP": _Rule(_timed, _shrinks(b"l", b"rpop")),
    **dict.fromkeys((b"RPOPLPUSH", b"LMOVE", b"BLMOVE", b"BRPOPLPUSH"), _Rule(_two, _move)),
    b"LMPOP": _Rule(_numbered, _shrinks_at_end(b"l", _LIST_ENDS)),
    b"BLMPOP": _Rule(_timed_and_numbered, _shrinks_at_end(b"l", _LIST_ENDS)),
    b"SADD": _Rule(_first, _if_positive(b"s", b"sadd")),
    b"SREM": _Rule(_first, _if_positive(b"s", b"srem", empties=True)),
    b"SPOP": _Rule(_first, _shrinks(b"s", b"spop")),
    b"SMOVE": _Rule(_two, _smove),
    **{name: _Rule(_first, _stores(b"s", name.lower())) for name in (b"SINTERSTORE", b"SUNIONSTORE", b"SDIFFSTORE")},
    **dict.fromkeys((b"HSET", b"HMSET"), _Rule(_first, _always(b"h", b"hset"))),
    b"HSETNX": _Rule(_first, _if_positive(b"h", b"hset")),
    b"HINCRBY": _Rule(_first, _always(b"h", b"hincrby")),
    b"HINCRBYFLOAT": _Rule(_first, _always(b"h", b"hincrbyfloat")),
    b"HDEL": _Rule(_first, _if_positive(b"h", b"hdel", empties=True)),
    **dict.fromkeys((b"ZADD", b"ZINCRBY"), _Rule(_first, _zadd, change=_ScoreChange)),
    **{
        name: _Rule(_first, _if_positive(b"z", name.lower(), empties=True))
        for name in (b"ZREM", b"ZREMRANGEBYRANK", b"ZREMRANGEBYSCORE", b"ZREMRANGEBYLEX")
    },
    b"ZPOPMIN": _Rule(_first, _shrinks(b"z", b"zpopmin")),
    b"ZPOPMAX": _Rule(_first, _shrinks(b"z", b"zpopmax")),
    b"BZPOPMIN": _Rule(_timed, _shrinks(b"z", b"zpopmin")),
    b"BZPOPMAX": _Rule(_timed, _shrinks(b"z", b"zpopmax")),
    b"ZMPOP": _Rule(_numbered, _shrinks_at_end(b"z", _SET_ENDS)),
    b"BZMPOP": _Rule(_timed_and_numbered, _shrinks_at_end(b"z", _SET_ENDS)),
    **{
        name: _Rule(_first, _stores(b"z", name.lower()))
        for name in (b"ZUNIONSTORE", b"ZINTERSTORE", b"ZDIFFSTORE", b"ZRANGESTORE")
    },
}
"""Command → its keys, and what it tells; FLUSHALL and the commands about locks tell nothing."""
