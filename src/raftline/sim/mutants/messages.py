"""Mutants of section E, messages that are stale, repeated or reordered, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

MUTANTS: tuple[Mutant, ...] = ()
