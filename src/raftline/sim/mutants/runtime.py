"""Mutants of section F, applying and concurrency, in the order of docs/rules.md."""

from raftline.sim.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

MUTANTS: tuple[Mutant, ...] = ()
