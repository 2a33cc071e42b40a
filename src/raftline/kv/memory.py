"""maxmemory: above it, this node takes no command that may make the store grow; nothing is ever evicted.

The node that is asked decides, by its own copy, before it proposes anything: what stands in the log is carried out on
every replica whatever its memory, so replicas stay equal. Reads, DEL and everything else that cannot grow goes on.
"""

import re
from collections.abc import Iterable
from typing import Final, Protocol

from raftline.kv.resp.replies import error

__all__ = ["OUT_OF_MEMORY", "MemoryLimit", "parse_memory"]

OUT_OF_MEMORY: Final = error("OOM command not allowed when used memory > 'maxmemory'.")

_UNITS: Final = {
    b"": 1, b"b": 1, b"k": 10**3, b"kb": 1 << 10, b"m": 10**6, b"mb": 1 << 20, b"g": 10**9, b"gb": 1 << 30,
}  # fmt: skip
_MEMORY = re.compile(rb"([0-9]{1,19})([a-z]{0,2})")
_ENDS_TRANSACTION: Final = frozenset({"exec", "discard", "multi", "watch", "quit", "reset"})
"""Commands that are no part of the transaction that they stand in."""


class Holder(Protocol):
    """Who holds the data."""

    @property
    def used_bytes(self) -> int:
        """Return how much keys and values take."""


class MemoryLimit:
    """How much this node's copy of the data may take; `bytes_max` 0 means that there is no limit."""

    __slots__ = ("_holder", "bytes_max")

    def __init__(self, holder: Holder, bytes_max: int) -> None:
        self._holder = holder
        self.bytes_max = bytes_max

    @property
    def is_exceeded(self) -> bool:
        """Say whether nothing may grow for now."""
        return 0 < self.bytes_max < self._holder.used_bytes

    def refusal(self, name: str, flags: Iterable[str], *, in_transaction: bool = False) -> bytes | None:
        """Return the reply to a command that may make the store grow, while that is not allowed.

        Behind MULTI every command counts as one that may, because it waits in memory; EXEC does if one of `flags`,
        which are then those of all commands that it would carry out, is `denyoom`.
        """
        if not self.is_exceeded:
            return None
        if "denyoom" in flags or (in_transaction and name not in _ENDS_TRANSACTION):
            return OUT_OF_MEMORY
        return None


def parse_memory(text: bytes) -> int | None:
    """Read a number of bytes as Redis writes it, `100`, `100mb` (2^20) or `100m` (10^6); None if it is none."""
    found = _MEMORY.fullmatch(text.lower())
    if found is None or found[2] not in _UNITS:
        return None
    count = int(found[1]) * _UNITS[found[2]]
    return count if count < 1 << 63 else None
