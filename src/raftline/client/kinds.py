"""Which commands write and which only read: the servers say so themselves, in the reply to COMMAND.

A command that neither does, or that is not known, is sent once.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from raftline.client.call import Kind
from raftline.client.errors import note
from raftline.errors import ConfigError

__all__ = ["CommandKinds"]

_HARMLESS = frozenset({"PING", "ECHO", "INFO", "TIME", "COMMAND", "RAFTLINE.MEMBER LIST", "RAFTLINE.SESSION"})
"""Neither reads nor writes to the servers, and nothing is lost if they are asked twice."""
_OF_A_CONNECTION = frozenset(
    {"AUTH", "DISCARD", "EXEC", "HELLO", "MONITOR", "MULTI", "PSUBSCRIBE", "QUIT", "READONLY", "READWRITE", "RESET"}
    | {"SELECT", "SSUBSCRIBE", "SUBSCRIBE", "UNWATCH", "WATCH"}
    | {
        f"CLIENT {word}"
        for word in ("CACHING", "NO-EVICT", "NO-TOUCH", "READS", "REPLY", "SETINFO", "SETNAME", "TRACKING")
    }
)
"""They change one connection out of several: what the next command on it would mean is left to chance."""
_NEEDED = "RAFTLINE.ONCE"
_FIELDS = 10


class CommandKinds:
    """The command table of the servers, as far as it matters here."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def knows(self, words: Sequence[Any]) -> bool:
        """Say whether the servers have named this command; False before they were asked."""
        return _text(words[0]) in self._kinds

    def learn(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take what COMMAND returned; raises `ConfigError` if these servers have no sessions."""
        kinds: dict[str, Kind] = {}
        for row in rows:
            _add(kinds, row)
        if _NEEDED not in kinds:
            raise _refusal("this server does not know RAFTLINE.ONCE: it is not raftline, or an older one")
        self._kinds = kinds

    def of(self, words: Sequence[Any]) -> Kind:
        """Return what a command, its name in one word, may do if it is sent again.

        Raises `ConfigError` for one that changes the connection it is sent on.
        """
        name = _text(words[0])
        both = f"{name} {_text(words[1])}" if len(words) > 1 else name
        if name in _OF_A_CONNECTION or both in _OF_A_CONNECTION:
            raise _refusal(f"{both if name == 'CLIENT' else name} changes one connection, and this client has several")
        if name in _HARMLESS or both in _HARMLESS:
            return Kind.READ
        return self._kinds.get(both, self._kinds.get(name, Kind.OTHER))


def _add(kinds: dict[str, Kind], row: Sequence[Any]) -> None:
    flags = {_text(flag) for flag in row[2]}
    kind = Kind.OTHER
    if "BLOCKING" not in flags:
        kind = Kind.WRITE if "WRITE" in flags else Kind.READ if "READONLY" in flags else Kind.OTHER
    elif "WRITE" in flags:
        kind = Kind.WAIT
    kinds[_text(row[0]).replace("|", " ")] = kind
    if len(row) >= _FIELDS:
        for inner in row[_FIELDS - 1]:
            _add(kinds, inner)


def _refusal(words: str) -> ConfigError:
    error = ConfigError(words)
    note(error, may_have_been_applied=False)
    return error


def _text(word: Any) -> str:
    return (word.decode("ascii", "replace") if isinstance(word, bytes) else str(word)).upper()
