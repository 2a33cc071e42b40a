"""What the two clients share of redis-py: words as they are sent, options of connections, and what an error means."""

import contextlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import redis.exceptions
from redis.backoff import NoBackoff

from raftline.client.call import Outcome, outcome_of
from raftline.client.nodes import Member

__all__ = [
    "CLOSED_MAX",
    "DEADLINE_S",
    "MEMBERS",
    "NO_SCRIPTS",
    "OPEN",
    "Waits",
    "failure_of",
    "is_of_the_pool",
    "is_own_reply",
    "members_of",
    "node_options",
    "once",
    "patience_s",
    "piece_s",
    "words_of",
]

DEADLINE_S = 30.0
CLOSED_MAX = 64
"""Sessions that a client closes when it is closed: each takes an entry of the log, one after the other."""
OPEN = ("RAFTLINE.SESSION",)
MEMBERS = ("RAFTLINE.MEMBER", "LIST")
NO_SCRIPTS = "raftline runs no Lua scripts; for a lock there is Client.lock"

_AT_THE_DOOR = ("UNBLOCKED ", "too many keys are waited for", "too many half-received requests", "DENIED ")
_OWN_AFFAIR = (
    *("host", "port", "connection_pool", "unix_socket_path", "single_connection_client", "retry", "cache"),
    "cache_config",
)
_CONNECTIONS_MAX = 1 << 31
"""What redis-py did not bound before its version 8, which stops at 100: as many as commands are under way at a time."""
_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 2.0
_TIMEOUT_FIRST = frozenset({"BLMPOP", "BZMPOP"})
_FINAL = (
    redis.exceptions.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.DataError,
)
"""Nothing was carried out, and nothing would be another time: a wrong password, an argument that cannot be sent."""
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.ClusterDownError, "CLUSTERDOWN"),
    (redis.exceptions.TryAgainError, "TRYAGAIN"),
    (redis.exceptions.BusyLoadingError, "LOADING"),
    (redis.exceptions.MovedError, "MOVED"),
)


def node_options(options: dict[str, Any], retry: Any) -> dict[str, Any]:
    """Return the options for a redis-py client of one node: it never retries by itself, and never waits for ever."""
    for name in _OWN_AFFAIR:
        if name in options:
            raise TypeError(f"{name} cannot be given: this client has connections to several nodes of its own")
    defaults = {
        "socket_timeout": _TIMEOUT_S,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "max_connections": _CONNECTIONS_MAX,
    }
    return {**defaults, **options, "retry": retry(NoBackoff(), 0)}


def words_of(args: Sequence[Any]) -> tuple[Any, ...]:
    """Return a command word by word: redis-py has some names with a space in them."""
    name = args[0]
    if isinstance(name, bytes):
        return (*name.split(), *args[1:])
    return (*str(name).split(), *args[1:])


def once(session: int, sequence: int, words: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the command that carries another out once."""
    return ("RAFTLINE.ONCE", session, sequence, *words)


def failure_of(error: Exception, *, sent: bool) -> Outcome:
    """Return what an attempt that raised `error` came to."""
    if isinstance(error, _FINAL):
        return Outcome.FINAL
    for kind, code in _CODES:
        if isinstance(error, kind):
            return outcome_of(f"{code} {error}")
    if isinstance(error, redis.exceptions.ResponseError):
        return outcome_of(str(error))
    if str(error).startswith("max number of clients"):
        return Outcome.REFUSED
    return Outcome.LOST if sent else Outcome.NOT_SENT


def is_of_the_pool(error: Exception) -> bool:
    """Say whether it was this client's own limit that was met: the node is not to blame, nor would another one be."""
    return isinstance(error, redis.exceptions.ConnectionError) and str(error).startswith("Too many connections")


class Waits:
    """A command that waits, cut into pieces that one attempt can take; one that cannot be read goes as it is."""

    def __init__(self, words: Sequence[Any], now: float, piece_s: float) -> None:
        self._words = words
        self._piece_s = piece_s
        self._place = 1 if _text(words[0]).upper() in _TIMEOUT_FIRST else len(words) - 1
        try:
            self._timeout_s = float(words[self._place])
        except (TypeError, ValueError):
            self._timeout_s = -1.0
        self._end = now + self._timeout_s if self._timeout_s > 0 else math.inf

    def piece(self, now: float) -> tuple[tuple[Any, ...], float]:
        """Return the command with what is left of its time, and for how long that waits, in seconds."""
        if not 0 <= self._timeout_s < math.inf:
            return tuple(self._words), 0.0
        left_s = round(min(self._piece_s, max(0.001, self._end - now)), 3)
        return (*self._words[: self._place], left_s, *self._words[self._place + 1 :]), left_s

    def is_over(self, now: float) -> bool:
        """Say whether the command has waited long enough."""
        return now >= self._end or not 0 <= self._timeout_s < math.inf


def piece_s(options: dict[str, Any]) -> float:
    """Return for how long one attempt of a command that waits may wait, given the options of connections."""
    return patience_s(options["socket_timeout"]) / 2


def patience_s(socket_timeout: float | None) -> float:
    """Return for how long a node that was asked may say nothing, given the `socket_timeout` of connections."""
    return float(socket_timeout or _TIMEOUT_S)


def is_own_reply(error: BaseException) -> bool:
    """Say whether an error is what the command itself came to: whatever was sent before came to the same.

    What a node refuses at its door says nothing of an earlier attempt, which another node may have carried out.
    """
    theirs = redis.exceptions
    if isinstance(error, theirs.NoPermissionError | theirs.OutOfMemoryError | theirs.MovedError):
        return False
    return isinstance(error, theirs.ResponseError) and not str(error).startswith(_AT_THE_DOOR)


def members_of(rows: Iterable[Any]) -> list[Member]:
    """Read what RAFTLINE.MEMBER LIST replied, in RESP2 or RESP3, decoded or not."""
    found = []
    for row in rows:
        pairs = row.items() if isinstance(row, dict) else zip(row[::2], row[1::2], strict=False)
        told = {_text(name): _text(value) for name, value in pairs}
        with contextlib.suppress(ValueError):
            if (member := Member.parse(told)) is not None:
                found.append(member)
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
