"""The commands that took long, newest first, as Redis's SLOWLOG keeps them.

What counts is the time from when this node took a command up until its reply was known: for a write, that includes its
way through the log. Entries are bounded in number and size, and hold no secret.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

__all__ = ["SlowEntry", "Slowlog", "shorten"]

_ARGUMENTS_MAX = 32
_ARGUMENT_BYTES_MAX = 128
_SECRET = frozenset({b"AUTH", b"HELLO", b"ACL", b"MIGRATE", b"CONFIG"})


class SlowEntry(msgspec.Struct, frozen=True):
    """One slow command."""

    number: int
    time_s: int
    """When it was answered, since 1970."""
    duration_us: int
    full_arguments: Sequence[bytes]
    """As they came, but for those of a large request; not to be shown."""
    address: str
    client_name: bytes

    @property
    def arguments(self) -> tuple[bytes, ...]:
        """Return what may be shown: shortened, without secrets."""
        return shorten(self.full_arguments)


class Slowlog:
    """The latest slow commands.

    Invariant: numbers rise by one with each entry and are never given twice, whatever is forgotten.
    """

    def __init__(self, slower_than_us: int, entries_max: int) -> None:
        """`slower_than_us` below 0 switches it off, 0 keeps every command."""
        self.entries: deque[SlowEntry] = deque(maxlen=entries_max)
        self.threshold_s = slower_than_us / 1e6 if slower_than_us >= 0 else float("inf")
        self._next_number = 0

    def __len__(self) -> int:
        return len(self.entries)

    def add(
        self, arguments: Sequence[bytes], duration_s: float, time_ms: int, address: str, client_name: bytes
    ) -> None:
        """Keep a command that took `duration_s`; the oldest entry goes if there are too many."""
        number = self._next_number
        self._next_number = number + 1
        self.entries.appendleft(
            SlowEntry(number, time_ms // 1000, round(duration_s * 1e6), arguments, address, client_name)
        )

    def reset(self) -> None:
        """Forget every entry."""
        self.entries.clear()


class Shown(tuple[bytes, ...]):
    """Arguments as they may be shown: shortened already, which is not done twice."""

    __slots__ = ()


def shorten(arguments: Sequence[bytes]) -> Shown:
    """Return at most 32 arguments of at most 128 bytes, with what was left out in words, as Redis does."""
    if isinstance(arguments, Shown):
        return arguments
    if arguments and arguments[0].upper().partition(b"|")[0] in _SECRET:
        return Shown((bytes(arguments[0]), *(b"(redacted)" for _ in arguments[1:2])))
    kept = list(arguments[:_ARGUMENTS_MAX])
    if len(arguments) > _ARGUMENTS_MAX:
        kept[-1] = b"... (%d more arguments)" % (len(arguments) - _ARGUMENTS_MAX + 1)
    return Shown(
        each
        if len(each) <= _ARGUMENT_BYTES_MAX
        else each[:_ARGUMENT_BYTES_MAX] + b"... (%d more bytes)" % (len(each) - _ARGUMENT_BYTES_MAX)
        for each in kept
    )
