"""Mutants of section A, elections and timers, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="vote_twice_in_a_term",
        rules=("A11",),
        does="The vote is given without looking whether it was given already.",
        patches=(Patch("raftline.core.election", "state.vote in (None, sender) and up_to_date", "up_to_date"),),
    ),
)
