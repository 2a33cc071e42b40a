"""The log in memory: the entries behind the last compaction, by their real index (D4).

All access goes through the offset; position and index never mix. It refuses to know what is committed, except as a
bound below which nothing may be cut (B17). Of entries that the disk holds the data may be let go; the terms stay, so
every comparison of logs is answered from memory (docs/decisions/0005-log-in-memory.md).
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from raftline.core.entries import KIND_COMMAND, Entry, fitting
from raftline.core.ids import Index, Term
from raftline.errors import SafetyViolation

__all__ = ["Log"]

_SHARED_ENTRIES_MAX = 64


def _term_of(entry: Entry) -> Term:
    return entry.term


class Log:
    """Entries `(base_index, last_index]`; `(base_index, base_term)` is the sentinel (D5).

    Invariants: indices are contiguous, terms never fall, `size_bytes` is the payload of all of them, `memory_bytes`
    of those behind `disk_index`. Up to `disk_index` the data of commands is not in memory.
    """

    __slots__ = (
        "_entries",
        "_sizes_on_disk",
        "base_index",
        "base_term",
        "bytes_on_disk",
        "disk_index",
        "last_index",
        "last_term",
        "size_bytes",
    )

    def __init__(self, base_index: Index = 0, base_term: Term = 0, entries: Sequence[Entry] = ()) -> None:
        self.base_index = base_index
        self.base_term = base_term
        self._entries: list[Entry] = []
        self.last_index = base_index
        self.last_term = base_term
        self.size_bytes = 0
        self.disk_index = base_index
        self._sizes_on_disk = array("I")
        self.bytes_on_disk = 0
        self.append(entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def memory_bytes(self) -> int:
        """Return the payload that is held in memory."""
        return self.size_bytes - self.bytes_on_disk

    def append(self, entries: Sequence[Entry]) -> None:
        """Add `entries` behind the end; the first must follow directly."""
        if not entries:
            return
        assert entries[0].index == self.last_index + 1, "a log has no gaps"
        self._entries.extend(entries)
        self.last_index = entries[-1].index
        self.last_term = entries[-1].term
        self.size_bytes += sum([len(entry.data) for entry in entries])
        assert self.last_index == self.base_index + len(self._entries), "indices are contiguous"

    def term_at(self, index: Index) -> Term | None:
        """Return the term of the entry at `index`, the sentinel included; None outside the log."""
        if index == self.base_index:
            return self.base_term
        if self.base_index < index <= self.last_index:
            return self._entries[index - self.base_index - 1].term
        return None

    def entry(self, index: Index) -> Entry:
        """Return the entry at `index`, which must be held; up to `disk_index` only its term is right."""
        assert self.base_index < index <= self.last_index, "the entry is held"
        return self._entries[index - self.base_index - 1]

    def slice(self, low: Index, high: Index) -> list[Entry]:
        """Return the entries `[low, high)`, all of them held in memory."""
        assert self.base_index < low <= high <= self.last_index + 1, "the range is held"
        assert low > self.disk_index or low == high, "the range is in memory"
        return self._entries[low - self.base_index - 1 : high - self.base_index - 1]

    def batch(self, low: Index, bytes_max: int, entries_max: int) -> tuple[Entry, ...]:
        """Return entries from `low` on: at least one if there is any, else as many as fit both limits."""
        return fitting(self.slice(low, min(low + entries_max, self.last_index + 1)), bytes_max)

    def start_before(self, stop: Index, bytes_max: int, entries_max: int) -> Index:
        """Return the index behind which the entries up to `stop` are as many as fit both limits, at most all."""
        count = min(stop - self.base_index, entries_max)
        if self.size_bytes <= bytes_max:
            return stop - count
        sizes = self._sizes_on_disk
        first = position = stop - self.base_index
        while first - position < count:
            bytes_max -= len(self._entries[position - 1].data) + (sizes[position - 1] if position <= len(sizes) else 0)
            if bytes_max < 0:
                break
            position -= 1
        return self.base_index + position

    def cut_from(self, index: Index, committed: Index) -> None:
        """Drop `index` and everything behind it (B7); cutting what is committed is a broken promise (B17)."""
        if index <= committed:
            raise SafetyViolation(f"entry {index} is committed (up to {committed}) and must not be cut")
        position = index - self.base_index - 1
        assert 0 <= position <= len(self._entries), "the cut lies inside the log"
        self.size_bytes -= sum([len(entry.data) for entry in self._entries[position:]])
        del self._entries[position:]
        self.last_index = index - 1
        self.last_term = self._entries[-1].term if self._entries else self.base_term

    def compact_to(self, index: Index) -> None:
        """Let go of everything up to and including `index`, keeping its term as the sentinel (D1, D16)."""
        if index <= self.base_index:
            return
        term = self.term_at(index)
        assert term is not None, "only what is held can be compacted"
        position = index - self.base_index
        self.size_bytes -= self.bytes_up_to(index)
        self.bytes_on_disk -= sum(self._sizes_on_disk[:position])
        del self._sizes_on_disk[:position]
        del self._entries[:position]
        self.base_index = index
        self.base_term = term
        self.disk_index = max(self.disk_index, index)

    def restart_at(self, index: Index, term: Term) -> None:
        """Give up every entry: a snapshot up to `(index, term)` stands for the log now (D10)."""
        self._entries = []
        self._sizes_on_disk = array("I")
        self.size_bytes = self.bytes_on_disk = 0
        self.base_index = self.last_index = self.disk_index = index
        self.base_term = self.last_term = term

    def unload(self, index: Index, bytes_max: int, count_max: int) -> None:
        """Let go of the data of the oldest entries, up to `index` at most, until `bytes_max` are left.

        The disk must hold them. At most `count_max` at a time: freeing a hundred thousand would hold the loop.
        Only commands go: memberships, and what opens a term, are few and looked at again.
        """
        excess = self.memory_bytes - bytes_max
        first = self.disk_index - self.base_index
        stop = min(index - self.base_index, first + count_max)
        position = first
        stub = Entry(0, self.base_term, b"")
        while position < stop and excess > 0:
            entry = self._entries[position]
            size = 0
            if entry.kind == KIND_COMMAND:
                size = len(entry.data)
                if stub.term != entry.term:
                    stub = Entry(0, entry.term, b"")
                self._entries[position] = stub
            self._sizes_on_disk.append(size)
            self.bytes_on_disk += size
            excess -= size
            position += 1
        self.disk_index = self.base_index + max(first, position)

    def share(self, same: Callable[[bytes], bytes]) -> None:
        """Hold what `same` returns, which must be equal, for the data of the latest commands that are in memory."""
        first = max(self.disk_index - self.base_index, len(self._entries) - _SHARED_ENTRIES_MAX)
        for position in range(first, len(self._entries)):
            entry = self._entries[position]
            data = same(entry.data)
            if data is not entry.data:
                self._entries[position] = Entry(entry.index, entry.term, data, entry.kind, entry.time_ms)

    def bytes_up_to(self, index: Index) -> int:
        """Return the payload of the entries up to and including `index`, in bytes, as far as they are held."""
        count = max(0, index - self.base_index)
        return sum(self._sizes_on_disk[:count]) + sum([len(entry.data) for entry in self._entries[:count]])

    def is_up_to_date(self, last_index: Index, last_term: Term) -> bool:
        """Say whether a log that ends in these is at least as up to date as this one (§5.4.1, A13)."""
        return last_term > self.last_term or (last_term == self.last_term and last_index >= self.last_index)

    def first_index_of_term_at(self, index: Index) -> Index:
        """Return the first index held of the term that stands at `index`, never below the base + 1 (B23, D19)."""
        term = self.entry(index).term
        return self.base_index + 1 + bisect_left(self._entries, term, key=_term_of)

    def last_index_of_term(self, term: Term) -> Index | None:
        """Return the last index of `term`, the sentinel included, or None where the log has no such term (B24)."""
        position = bisect_right(self._entries, term, key=_term_of)
        if position and self._entries[position - 1].term == term:
            return self.base_index + position
        if self.base_term == term and self.base_index:
            return self.base_index
        return None
