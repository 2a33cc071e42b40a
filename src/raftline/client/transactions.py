"""A pipeline with transaction=True as one command: what it watches, what is sent, and what its commands came to.

One request in one session can be repeated on any node, so a transaction is carried out once like any other write. No
I/O here; `sync` and `asynchronous` have a pipeline each.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import redis.exceptions
from redis.client import EMPTY_RESPONSE

from raftline.client.errors import note
from raftline.client.wire import words_of

__all__ = ["Marks", "results_of", "set_if"]

_pack = msgspec.msgpack.Encoder().encode
Encode = Callable[[Any], bytes]


class Marks:
    """Marks of watched keys, all of one history; the first mark of a key counts."""

    __slots__ = ("_history", "_marks")

    def __init__(self) -> None:
        self._history = b""
        self._marks: dict[bytes, int] = {}

    def with_keys(self, keys: Iterable[Any], encode: Encode) -> list[bytes]:
        """Return all keys to ask about for the sake of some: a sharded store refuses those that are in several slots.

        Asked about a few at a time it could not know, and each group would name a history of its own.
        """
        return list(dict.fromkeys([*self._marks, *(bytes(encode(key)) for key in keys)]))

    def learn(self, keys: Iterable[bytes], reply: Sequence[Any], encode: Encode) -> None:
        """Take what RAFTLINE.WATCH replied; raises `WatchError` if the data were restored in between."""
        history = bytes(encode(reply[0]))
        if self._marks and history != self._history:
            raise redis.exceptions.WatchError("the data were restored from a backup while keys were watched")
        self._history = history
        for key, mark in zip(keys, reply[1:], strict=True):
            self._marks.setdefault(key, mark)

    def clear(self) -> None:
        """Watch nothing."""
        self._marks = {}

    def request(self, commands: Iterable[tuple[Any, Mapping[str, Any]]], encode: Encode) -> tuple[Any, ...]:
        """Return the command that carries some others out if nothing that is watched has changed."""
        packed = [
            _pack([bytes(encode(word)) for word in words_of(args)])
            for args, options in commands
            if EMPTY_RESPONSE not in options
        ]
        return ("RAFTLINE.EXEC", self._history, _pack(list(self._marks.items())), *packed)


def results_of(pipeline: Any, commands: list[Any], response: Any, *, raise_on_error: bool) -> list[Any]:
    """Return what each command came to, parsed as redis-py does it; raises `WatchError` for a transaction not done."""
    if response is None:
        error = redis.exceptions.WatchError("Watched variable changed.")
        note(error, may_have_been_applied=False)
        raise error
    left = iter(response)
    found = [options[EMPTY_RESPONSE] if EMPTY_RESPONSE in options else next(left) for _, options in commands]
    if raise_on_error:
        try:
            pipeline.raise_first_error(commands, found)
        except redis.exceptions.ResponseError as error:
            note(error, may_have_been_applied=True)
            raise
    return [_parsed(pipeline, result, *command) for result, command in zip(found, commands, strict=True)]


def _parsed(pipeline: Any, result: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    callback = pipeline.response_callbacks.get(args[0])
    if callback is None or isinstance(result, Exception) or EMPTY_RESPONSE in options:
        return result
    return callback(result, **{name: value for name, value in options.items() if name != "keys"})


def set_if(key: Any, expected: Any, value: Any, px: int | None, *, keepttl: bool) -> list[Any]:
    """Return SET with a condition on the value before, or, for None, that there is none."""
    words = ["SET", key, value, *(["NX"] if expected is None else ["IFEQ", expected])]
    return words + ([] if px is None else ["PX", px]) + (["KEEPTTL"] if keepttl else [])
