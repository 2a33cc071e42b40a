"""ACL LOG: the latest attempts that were refused on this node, alike ones counted together."""

from collections import deque
from typing import Final

import msgspec

__all__ = ["Denials", "Entry"]

_ENTRIES_MAX: Final = 128
_ALIKE_MS_MAX: Final = 60_000


class Entry(msgspec.Struct):
    """One refusal, or several alike."""

    count: int
    reason: str
    """`auth`, `command` or `key`."""
    object: bytes
    username: bytes
    created_ms: int
    client_info: str


class Denials:
    """The newest first, at most 128."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_ENTRIES_MAX)

    def note(self, reason: str, subject: bytes, username: bytes, now_ms: int, client_info: str) -> None:
        """Add a refusal, or count it to one like it of the last minute."""
        for entry in self._entries:
            is_alike = (entry.reason, entry.object, entry.username) == (reason, subject, username)
            if is_alike and now_ms - entry.created_ms <= _ALIKE_MS_MAX:
                entry.count += 1
                entry.created_ms = now_ms
                entry.client_info = client_info
                self._entries.remove(entry)
                self._entries.appendleft(entry)
                return
        self._entries.appendleft(Entry(1, reason, subject, username, now_ms, client_info))

    def latest(self, count: int) -> list[Entry]:
        """Return the newest entries."""
        return list(self._entries)[:count]

    def clear(self) -> None:
        """Forget all of them."""
        self._entries.clear()
