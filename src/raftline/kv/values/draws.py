"""Random numbers that every replica draws alike: a stream that follows from its seed (SplitMix64).

Writes that draw take their seed from the entry's index and time; reads, which need not agree, from the system.
"""

import os

__all__ = ["Draws"]

_MASK = (1 << 64) - 1


class Draws:
    """A stream of numbers; `Draws.fresh()` is a new one each time."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    @classmethod
    def fresh(cls) -> "Draws":
        """Return a stream that nobody can foresee."""
        return cls(int.from_bytes(os.urandom(8), "little"))

    def below(self, end: int) -> int:
        """Return a number in [0, end), each with the same probability but for one part in 2**64."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) * end) >> 64
