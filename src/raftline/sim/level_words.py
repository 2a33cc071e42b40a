"""A load at a fixed number of keys: commands of every kind, drawn so that what they leave behind stays the same size.

Each key keeps its kind. A container draws its members from a fixed few, and is given as many as are taken from it when
it holds about half of them: fuller ones shrink, emptier ones grow, within minutes. What is made of several containers
goes into keys of its own, never back. Keys begin as they will be; those that are deleted or expire come back.
"""

from collections.abc import Callable
from random import Random

__all__ = ["LevelWords", "Words"]

Words = tuple[bytes, ...]

_MEMBERS = 24
_LIST_MAX = 12
_SCORES = 1000
_VALUE_BYTES_MAX = 600
_LIFE_MS = (1_000, 45_000)


class LevelWords:
    """Draws commands for `keys` keys of each kind."""

    def __init__(self, random: Random, keys: int) -> None:
        self._random = random.random
        self._keys = keys
        self._named = 0
        """Keys that expire have a new name each, as those of caches do; the others keep theirs."""
        draws: tuple[tuple[int, Callable[[], Words]], ...] = (
            (5, self._string),
            (2, self._counter),
            (4, self._hash),
            (4, self._list),
            (4, self._set),
            (4, self._sorted_set),
            (8, self._expiring),
            (1, self._gone),
            (8, self._read),
        )
        self._draws = tuple(draw for weight, draw in draws for _ in range(weight))

    def fill(self) -> list[Words]:
        """Return the commands that make all keys what they will be, in any order."""
        numbers = range(self._keys)
        return [
            *((b"SET", b"s%d" % number, self._value()) for number in numbers),
            *((b"SET", b"n%d" % number, b"1") for number in numbers),
            *((b"HSET", b"h%d" % number, *self._with_values(self._share(0.5))) for number in numbers),
            *((b"RPUSH", b"l%d" % number, *self._values(4 + self._below(_LIST_MAX))) for number in numbers),
            *((b"SADD", b"t%d" % number, *self._share(0.5)) for number in numbers),
            *((b"ZADD", b"z%d" % number, *self._with_scores(self._share(0.5))) for number in numbers),
            *((b"SADD", b"u%d" % number, *self._share(0.42)) for number in numbers),
            *((b"ZADD", b"y%d" % number, *self._with_scores(self._share(0.25))) for number in numbers),
        ]

    def next(self) -> Words:
        """Return some command; none of them is refused by the store."""
        return self._draws[int(self._random() * len(self._draws))]()

    def _below(self, stop: int) -> int:
        return int(self._random() * stop)

    def _key(self, kind: bytes) -> bytes:
        return kind + b"%d" % self._below(self._keys)

    def _member(self) -> bytes:
        return b"m%d" % self._below(_MEMBERS)

    def _members(self, count: int) -> list[bytes]:
        return [self._member() for _ in range(count)]

    def _share(self, share: float) -> list[bytes]:
        """Return so many of all members, which ones chance decides."""
        left = [b"m%d" % number for number in range(_MEMBERS)]
        return [left.pop(self._below(len(left))) for _ in range(int(share * _MEMBERS))]

    def _with_values(self, members: list[bytes]) -> list[bytes]:
        return [part for member in members for part in (member, self._value())]

    def _with_scores(self, members: list[bytes]) -> list[bytes]:
        return [part for member in members for part in (b"%d" % self._below(_SCORES), member)]

    def _values(self, count: int) -> list[bytes]:
        return [self._value() for _ in range(count)]

    def _value(self) -> bytes:
        return b"v" * (1 + self._below(_VALUE_BYTES_MAX))

    def _life(self) -> bytes:
        low, high = _LIFE_MS
        return b"%d" % (low + self._below(high - low))

    def _one_of(self, *commands: Words) -> Words:
        return commands[self._below(len(commands))]

    def _string(self) -> Words:
        key = self._key(b"s")
        return self._one_of(
            (b"SET", key, self._value()),
            (b"GETSET", key, self._value()),
            (b"SETRANGE", key, b"%d" % self._below(_VALUE_BYTES_MAX), b"xyz"),
            (b"MSET", key, self._value(), self._key(b"s"), self._value()),
            (b"SETNX", key, self._value()),
        )

    def _counter(self) -> Words:
        key = self._key(b"n")
        return self._one_of((b"INCR", key), (b"DECRBY", key, b"3"), (b"SET", key, b"7"))

    def _hash(self) -> Words:
        key = self._key(b"h")
        return self._one_of(
            (b"HSET", key, *self._with_values(self._members(4))),
            (b"HDEL", key, *self._members(5)),
            (b"HSETNX", key, self._member(), self._value()),
        )

    def _list(self) -> Words:
        key = self._key(b"l")
        return self._one_of(
            (b"LPUSH", key, *self._values(5)),
            (b"RPUSH", key, *self._values(5)),
            (b"LTRIM", key, b"0", b"%d" % (_LIST_MAX - 1)),
            (b"LTRIM", key, b"-%d" % _LIST_MAX, b"-1"),
            (b"RPOP", key),
            (b"LMOVE", key, self._key(b"l"), b"LEFT", b"RIGHT"),
        )

    def _set(self) -> Words:
        key = self._key(b"t")
        return self._one_of(
            (b"SADD", key, *self._members(6)),
            (b"SREM", key, *self._members(3)),
            (b"SMOVE", key, self._key(b"t"), self._member()),
            (b"SPOP", key),
            (
                self._one_of((b"SUNIONSTORE",), (b"SINTERSTORE",), (b"SDIFFSTORE",))[0],
                self._key(b"u"),
                key,
                self._key(b"t"),
            ),
        )

    def _sorted_set(self) -> Words:
        key = self._key(b"z")
        return self._one_of(
            (b"ZADD", key, *self._with_scores(self._members(4))),
            (b"ZINCRBY", key, b"5", self._member()),
            (b"ZREM", key, *self._members(3)),
            (b"ZPOPMIN", key),
            (b"ZRANGESTORE", self._key(b"y"), key, b"0", b"%d" % (_MEMBERS // 4 - 1)),
        )

    def _expiring(self) -> Words:
        key = self._recent()
        if self._below(2):
            self._named += 1
            return (b"SET", self._recent(0), self._value(), b"PX", self._life())
        return self._one_of(
            (b"PEXPIRE", key, self._life()),
            (b"SET", key, self._value(), b"XX", b"KEEPTTL"),
            (b"GETEX", key, b"PX", self._life()),
            (b"DEL", key),
        )

    def _recent(self, back: int | None = None) -> bytes:
        """Return the name of one of the keys made last, which may be gone."""
        return b"e%d" % (self._named - (self._below(self._keys) if back is None else back))

    def _gone(self) -> Words:
        return (self._one_of((b"DEL",), (b"UNLINK",))[0], self._key(self._one_of((b"s",), (b"n",), (b"l",))[0]))

    def _read(self) -> Words:
        return self._one_of(
            (b"GET", self._key(b"s")),
            (b"HGETALL", self._key(b"h")),
            (b"LRANGE", self._key(b"l"), b"0", b"-1"),
            (b"SMEMBERS", self._key(b"t")),
            (b"ZRANGE", self._key(b"z"), b"0", b"-1", b"WITHSCORES"),
            (b"GET", self._recent()),
            (b"SCAN", b"0", b"COUNT", b"50"),
            (b"TTL", self._recent()),
        )
