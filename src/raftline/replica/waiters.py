"""Who waits for which log position: a proposal is known by index *and* term, never by the index alone (G4, G6).

The same index can be handed out twice, and the command that got it first may still be the one that commits; what
decides is the term of the entry that is finally applied there.
"""

from collections.abc import Callable, Sequence

from raftline.core.ids import Index, Term
from raftline.errors import ProposalLost, Stopped

__all__ = ["Done", "Waiters"]

Done = Callable[[bytes | Exception], None]
"""Called exactly once, with the command's result or the reason why there is none."""


class Waiters:
    """Callbacks by (index, term).

    Invariants: every callback registered is called once: on apply, on loss, or when the outcome becomes unknowable;
    `_waiting` holds those of the latest term, `_older` those of terms before it, in the order in which they came.
    """

    __slots__ = ("_older", "_term", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Index, Done] = {}  # nothing around a callback: there is one for each command
        self._term: Term = 0
        self._older: dict[Index, list[tuple[Term, Done]]] = {}

    def __len__(self) -> int:
        return len(self._waiting) + sum(len(others) for others in self._older.values())

    def __bool__(self) -> bool:
        return bool(self._waiting or self._older)

    @property
    def first_index(self) -> Index | None:
        """Return the lowest index that somebody waits for; looks at all of them."""
        return min((*self._waiting, *self._older), default=None)

    def add(self, first: Index, term: Term, dones: Sequence[Done]) -> None:
        """Remember who proposed the entries of `term` from `first` on."""
        if term != self._term:
            self._begin_term(term)
        self._waiting.update(enumerate(dones, first))

    def settle(self, index: Index, term: Term, result: bytes | Exception) -> None:
        """The entry `(index, term)` was applied: its proposer gets `result`, any other at this index lost."""
        if self._older:
            for proposed_term, other in self._older.pop(index, ()):
                other(result if proposed_term == term else _lost(index, term, proposed_term))
        done = self._waiting.pop(index, None)
        if done is not None:
            done(result if self._term == term else _lost(index, term, self._term))

    def skip_to(self, index: Index) -> None:
        """A snapshot replaced everything up to `index`: what became of those proposals cannot be told any more."""
        for skipped in sorted(position for position in {*self._waiting, *self._older} if position <= index):
            for done in self._take(skipped):
                done(Stopped(f"a snapshot replaced index {skipped} before its outcome was seen"))

    def fail_all(self, error: Exception) -> None:
        """Give every proposer `error`: this replica stops."""
        for index in sorted({*self._waiting, *self._older}):
            for done in self._take(index):
                done(error)

    def _begin_term(self, term: Term) -> None:
        """Put those of the terms before aside: the same indices may be given out again."""
        for index, done in self._waiting.items():
            self._older.setdefault(index, []).append((self._term, done))
        self._waiting, self._term = {}, term

    def _take(self, index: Index) -> list[Done]:
        """Return who waits for an index, and forget them."""
        dones = [done for _, done in self._older.pop(index, ())]
        latest = self._waiting.pop(index, None)
        return dones if latest is None else [*dones, latest]


def _lost(index: Index, term: Term, proposed_term: Term) -> ProposalLost:
    return ProposalLost(f"index {index} went to an entry of term {term}, not {proposed_term}")
