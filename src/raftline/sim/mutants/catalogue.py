"""All mutants, by section; names are unique.

Imports nothing that a mutant may patch, so that it can be read before the patched modules are loaded.
"""

from collections.abc import Iterable

from raftline.errors import ConfigError
from raftline.sim.mutants import (
    election,
    flow,
    growth,
    locks,
    members,
    messages,
    persistence,
    queues,
    replication,
    runtime,
    services,
    sessions,
    shard_servers,
    sharded,
    sleepers,
    snapshots,
    timers,
    transactions,
)
from raftline.sim.mutants.mutant import Mutant

__all__ = ["CATALOGUE", "find", "select"]

CATALOGUE: tuple[Mutant, ...] = (
    *election.MUTANTS,
    *timers.MUTANTS,
    *sleepers.MUTANTS,
    *replication.MUTANTS,
    *persistence.MUTANTS,
    *snapshots.MUTANTS,
    *messages.MUTANTS,
    *runtime.MUTANTS,
    *services.MUTANTS,
    *sessions.MUTANTS,
    *locks.MUTANTS,
    *queues.MUTANTS,
    *transactions.MUTANTS,
    *sharded.MUTANTS,
    *shard_servers.MUTANTS,
    *members.MUTANTS,
    *flow.MUTANTS,
    *growth.MUTANTS,
)


def find(name: str) -> Mutant:
    """Return the mutant of this name; raise `ConfigError` if there is none."""
    for mutant in CATALOGUE:
        if mutant.name == name:
            return mutant
    raise ConfigError(f"there is no mutant {name!r}; `raftline sim --mutants --list` lists them")


def select(words: Iterable[str]) -> list[Mutant]:
    """Return the mutants meant by names, rules (`A11`) or sections (`A`), in the catalogue's order; all for none."""
    wanted = list(words)
    for word in wanted:
        if not any(_meant(mutant, word) for mutant in CATALOGUE):
            find(word)
    return [mutant for mutant in CATALOGUE if not wanted or any(_meant(mutant, word) for word in wanted)]


def _meant(mutant: Mutant, word: str) -> bool:
    section = len(word) == 1 and mutant.rules[0].startswith(word)
    return mutant.name == word or word in mutant.rules or section
