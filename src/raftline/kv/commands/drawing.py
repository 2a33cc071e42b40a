"""Where commands that draw take their numbers from: writes from their place in the log, reads from nowhere."""

from raftline.kv.store import Store
from raftline.kv.values.draws import Draws

__all__ = ["draws", "draws_to_show"]

_STEP = 0x9E3779B97F4A7C15


def draws(store: Store) -> Draws:
    """Return a stream for a write: the same on every replica, another for each command of a transaction."""
    return Draws(store.index << 42 ^ store.time_ms ^ store.step * _STEP)


def draws_to_show(store: Store) -> Draws:
    """Return a stream for a read: nobody can foresee it, but in a transaction it is part of a write."""
    return draws(store) if store.step else Draws.fresh()
