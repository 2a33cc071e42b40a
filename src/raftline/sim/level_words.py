"""A load at a fixed number of keys: commands of every kind, drawn so that what they leave behind stays the same size.

Each key keeps its kind. What adds to a container is held by what takes away from it, so that after a while every key
is as large as it will be; keys that are deleted or expire come back. Nothing here knows who sends it, or when.
"""

from collections.abc import Callable
from random import Random

__all__ = ["LevelWords", "Words"]

Words = tuple[bytes, ...]

_MEMBERS = 24
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
        """Return the commands that make all keys what they will be."""
        numbers = range(self._keys)
        members = [self._member() for _ in range(_MEMBERS)]
        pairs = tuple(part for member in members for part in (member, self._value()))
        scored = tuple(part for rank, member in enumerate(members) for part in (b"%d" % rank, member))
        return [
            *((b"SET", b"s%d" % number, self._value()) for number in numbers),
            *((b"SET", b"n%d" % number, b"1") for number in numbers),
            *((b"HSET", b"h%d" % number, *pairs) for number in numbers),
            *((b"RPUSH", b"l%d" % number, *members[: _MEMBERS // 2]) for number in numbers),
            *((b"SADD", b"t%d" % number, *members) for number in numbers),
            *((b"ZADD", b"z%d" % number, *scored) for number in numbers),
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
        key, field = self._key(b"h"), self._member()
        return self._one_of(
            (b"HSET", key, field, self._value(), self._member(), self._value()),
            (b"HDEL", key, field),
            (b"HSETNX", key, field, self._value()),
        )

    def _list(self) -> Words:
        key = self._key(b"l")
        return self._one_of(
            (b"LPUSH", key, self._value(), self._value()),
            (b"RPUSH", key, self._value()),
            (b"LTRIM", key, b"0", b"%d" % (_MEMBERS // 2)),
            (b"LTRIM", key, b"0", b"%d" % (_MEMBERS // 2)),
            (b"RPOP", key),
            (b"LMOVE", key, self._key(b"l"), b"LEFT", b"RIGHT"),
        )

    def _set(self) -> Words:
        key, member = self._key(b"t"), self._member()
        return self._one_of(
            (b"SADD", key, member, self._member()),
            (b"SREM", key, member),
            (b"SMOVE", key, self._key(b"t"), member),
            (b"SPOP", key),
            (b"SUNIONSTORE", key, self._key(b"t"), self._key(b"t")),
        )

    def _sorted_set(self) -> Words:
        key, member = self._key(b"z"), self._member()
        return self._one_of(
            (b"ZADD", key, b"%d" % self._below(1000), member),
            (b"ZINCRBY", key, b"5", member),
            (b"ZREM", key, member),
            (b"ZPOPMIN", key),
            (b"ZRANGESTORE", key, self._key(b"z"), b"0", b"-1"),
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
