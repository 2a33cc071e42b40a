"""The bytes of `raft_state`: term, vote, the log's base and its entries (C1), kept up to date entry by entry.

A save copies a buffer and encodes nothing, so its cost does not depend on how the log came about. Layout, little
endian: magic, term, vote (-1: none), base index, base term, number of entries; then per entry its term, the length
of its command and the command.
"""

import struct
from collections.abc import Sequence

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.ids import Index, Term
from raftline.errors import CorruptLog

__all__ = ["LogImage"]

_MAGIC = b"RLL1"
_HEADER = struct.Struct("<4sQqQQI")
_ENTRY = struct.Struct("<QI")
_NO_VOTE = -1


class LogImage:
    """What is in `raft_state`, and what the next save will put there.

    Invariants: one end offset per entry; entry number `n` has index `base_index + n + 1`.
    """

    __slots__ = ("_buffer", "_ends", "base_index", "base_term", "hard_state")

    def __init__(self, raft_state: bytes = b"") -> None:
        self.hard_state = HardState()
        self.base_index: Index = 0
        self.base_term: Term = 0
        self._buffer = bytearray()
        self._ends: list[int] = []
        if raft_state:
            self._load(raft_state)

    @property
    def last_index(self) -> Index:
        """Return the index of the last entry, the base if there is none."""
        return self.base_index + len(self._ends)

    def entries(self) -> list[Entry]:
        """Return all entries, decoded."""
        found: list[Entry] = []
        start = 0
        for position, end in enumerate(self._ends):
            term, _ = _ENTRY.unpack_from(self._buffer, start)
            found.append(Entry(self.base_index + position + 1, term, bytes(self._buffer[start + _ENTRY.size : end])))
            start = end
        return found

    def put(self, entries: Sequence[Entry]) -> None:
        """Append `entries`; if the first is not behind the end, it replaces everything from there on."""
        if not entries:
            return
        position = entries[0].index - self.base_index - 1
        assert 0 <= position <= len(self._ends), "entries follow what is held, or replace a part of it"
        if position < len(self._ends):
            del self._buffer[self._start_of(position) :]
            del self._ends[position:]
        for entry in entries:
            self._buffer += _ENTRY.pack(entry.term, len(entry.data))
            self._buffer += entry.data
            self._ends.append(len(self._buffer))

    def compact_to(self, index: Index, term: Term) -> None:
        """Let go of everything up to and including `index`, of `term`, which becomes the base (D1)."""
        position = index - self.base_index
        assert 0 <= position <= len(self._ends), "only what is held can be compacted"
        start = self._start_of(position)
        del self._buffer[:start]
        self._ends = [end - start for end in self._ends[position:]]
        self.base_index = index
        self.base_term = term

    def restart_at(self, meta: SnapshotMeta) -> None:
        """Drop every entry: a snapshot stands for the log now (D10)."""
        self._buffer.clear()
        self._ends.clear()
        self.base_index = meta.index
        self.base_term = meta.term

    def encode(self) -> bytes:
        """Return the whole as `raft_state`."""
        vote = _NO_VOTE if self.hard_state.vote is None else int(self.hard_state.vote)
        header = _HEADER.pack(_MAGIC, self.hard_state.term, vote, self.base_index, self.base_term, len(self._ends))
        return header + self._buffer

    def _start_of(self, position: int) -> int:
        return self._ends[position - 1] if position else 0

    def _load(self, raft_state: bytes) -> None:
        """Take over saved bytes; raise `CorruptLog` if they are anything but what `encode` returns (C9)."""
        if len(raft_state) < _HEADER.size or not raft_state.startswith(_MAGIC):
            raise CorruptLog(f"raft_state of {len(raft_state)} bytes is not one of raftline's")
        _, term, vote, self.base_index, self.base_term, count = _HEADER.unpack_from(raft_state)
        self.hard_state = HardState(term, None if vote == _NO_VOTE else str(vote))
        self._buffer += memoryview(raft_state)[_HEADER.size :]
        end = 0
        for position in range(count):
            if end + _ENTRY.size > len(self._buffer):
                raise CorruptLog(f"raft_state ends before entry {self.base_index + position + 1} of {count}")
            end += _ENTRY.size + _ENTRY.unpack_from(self._buffer, end)[1]
            self._ends.append(end)
        if end != len(self._buffer):
            raise CorruptLog(f"raft_state has {len(self._buffer)} bytes of entries where its lengths add up to {end}")
