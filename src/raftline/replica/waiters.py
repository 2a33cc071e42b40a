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

    Invariant: every callback registered is called once: on apply, on loss, or when the outcome becomes unknowable.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Index, list[tuple[Term, Done]]] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def add(self, first: Index, term: Term, dones: Sequence[Done]) -> None:
        """Remember who proposed the entries of `term` from `first` on."""
        waiting = self._waiting
        for index, done in enumerate(dones, first):
            others = waiting.get(index)
            if others is None:
                waiting[index] = [(term, done)]
            else:
                others.append((term, done))

    def settle(self, index: Index, term: Term, result: bytes | Exception) -> None:
        """The entry `(index, term)` was applied: its proposer gets `result`, any other at this index lost."""
        waiting = self._waiting.pop(index, None)
        if waiting is None:
            return
        for proposed_term, done in waiting:
            if proposed_term == term:
                done(result)
            else:
                done(ProposalLost(f"index {index} went to an entry of term {term}, not {proposed_term}"))

    def skip_to(self, index: Index) -> None:
        """A snapshot replaced everything up to `index`: what became of those proposals cannot be told any more."""
        for skipped in sorted(position for position in self._waiting if position <= index):
            for _, done in self._waiting.pop(skipped):
                done(Stopped(f"a snapshot replaced index {skipped} before its outcome was seen"))

    def fail_all(self, error: Exception) -> None:
        """Give every proposer `error`: this replica stops."""
        waiting, self._waiting = self._waiting, {}
        for index in sorted(waiting):
            for _, done in waiting[index]:
                done(error)
