"""Which membership is in force: the one of the last membership entry in the log, committed or not (§6).

Cutting the log takes the entry back and with it the membership; compaction keeps the last one it swallows.
"""

from collections.abc import Iterable

import msgspec

from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.ids import Index
from raftline.core.membership import Membership
from raftline.errors import SafetyViolation

__all__ = ["Configuration", "decode_membership", "encode_membership", "is_membership"]

encode_membership = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Membership).decode


def decode_membership(data: bytes) -> Membership:
    """Return the membership that an entry carries; raise `SafetyViolation` if it carries none that can be in force."""
    try:
        membership = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SafetyViolation(f"a membership entry of {len(data)} bytes cannot be read: {error}") from error
    problem = membership.problem() if membership.voters else "nobody votes"
    if problem is not None:
        raise SafetyViolation(f"a membership entry makes no sense: {problem}")
    return membership


def is_membership(data: bytes) -> bool:
    """Say whether `data` can be decoded to a membership that can be in force."""
    try:
        decode_membership(data)
    except SafetyViolation:
        return False
    return True


class Configuration:
    """The memberships named by the snapshot and by the log behind it, oldest first.

    Invariants: never empty; indices rise; only the first may lie at or below the log's base.
    """

    __slots__ = ("_history",)

    def __init__(self, base_index: Index, membership: Membership, entries: Iterable[Entry] = ()) -> None:
        self._history: list[tuple[Index, Membership]] = [(base_index, membership)]
        self.on_appended(entries)

    @property
    def current(self) -> Membership:
        """Return the membership in force."""
        return self._history[-1][1]

    @property
    def index(self) -> Index:
        """Return the index of the entry (or snapshot) that brought the membership in force."""
        return self._history[-1][0]

    def count_above(self, index: Index) -> int:
        """Return how many memberships were appended behind `index`."""
        return sum(position > index for position, _ in self._history)

    def at(self, index: Index) -> Membership:
        """Return the membership that was in force at `index`: what a snapshot there has to carry."""
        found = self._history[0][1]
        for position, membership in self._history:
            if position <= index:
                found = membership
        return found

    def possible(self, commit: Index) -> list[Membership]:
        """Return those that may turn out to hold: the one at `commit`, and each behind it, which may be taken back."""
        return [self.at(commit), *(membership for position, membership in self._history if position > commit)]

    def on_appended(self, entries: Iterable[Entry]) -> bool:
        """Let every membership among `entries` take effect; say whether there was one."""
        changed = False
        for entry in entries:
            if entry.kind == KIND_MEMBERSHIP:
                assert entry.index > self._history[-1][0], "memberships follow each other"
                self._history.append((entry.index, decode_membership(entry.data)))
                changed = True
        return changed

    def on_cut(self, index: Index) -> bool:
        """Take back every membership from `index` on; say whether there was one."""
        before = len(self._history)
        while len(self._history) > 1 and self._history[-1][0] >= index:
            self._history.pop()
        return len(self._history) != before

    def on_compacted(self, index: Index) -> None:
        """Forget memberships that a later one at or below `index` replaced."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            del self._history[0]

    def restart_at(self, index: Index, membership: Membership) -> None:
        """Take over a snapshot's membership in place of everything known."""
        self._history = [(index, membership)]
