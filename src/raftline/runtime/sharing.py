"""What the groups of a node hold together of something that the node bounds; who holds most gives way.

Each group says in its own turns how much it holds, which keeps the sum: a group in which nothing happens costs nothing.
While the sum is too large, whoever holds most is asked to let go of some of it, awake or not. That is fair without
anybody's knowing what the others need: a busy group has what idle ones do not use, equally busy ones come to equal
parts, and who holds little is left alone while one that holds more than twice as much could let go of some.
"""

from collections.abc import Callable

__all__ = ["Part", "Shared"]

_MAGNITUDES = 64
"""Of sizes: two of one magnitude are within a factor of two, and count as equal."""
_FINENESS = 6
"""A part is noted again when it has grown by 1/64 (two to the power of this): nearly all turns pass without it."""


class Shared:
    """One sum and its bound.

    Invariants: `size` is the sum of all parts; `leaving` is how much of it was promised; a part that is not empty is
    listed by its magnitude unless it was asked and has not been noted since.
    """

    __slots__ = ("_at_once", "_by_magnitude", "_granted", "_least", "giving", "leaving", "limit", "parts", "size")

    def __init__(self, limit: int, at_once: float = float("inf")) -> None:
        """No more than `at_once` groups give way at a time."""
        self._at_once = at_once
        self._least = self.limit = limit
        self._granted = 0
        self._by_magnitude: tuple[dict[Part, None], ...] = tuple({} for _ in range(_MAGNITUDES))
        self.size = 0
        self.leaving = 0
        self.giving = 0
        """How many groups give way, and were not noted since."""
        self.parts = 0
        """How many groups there are."""

    def join(self, give_way: Callable[[int], int]) -> "Part":
        """Return a new part, which is empty; `give_way` is called with by how much the sum is too large.

        It returns how much goes soon, as in the group's next turn, behind which the part is noted; 0: nothing can now.
        """
        self.parts += 1
        return Part(self, give_way)

    def grant(self, size: int) -> None:
        """Let the limit be the sum of what was granted where that is more than what it was made with."""
        self._granted += size
        self.limit = max(self._least, self._granted)

    def place(self, part: "Part") -> None:
        """List a part among those of its magnitude."""
        if part.size:
            self._by_magnitude[part.magnitude][part] = None

    def take_out(self, part: "Part") -> None:
        """List a part no more."""
        self._by_magnitude[part.magnitude].pop(part, None)

    def relieve(self) -> None:
        """Ask those who hold most, until what is left is within the limit, enough give way or everybody was asked."""
        for listed in reversed(self._by_magnitude):
            while listed and self.giving < self._at_once and (excess := self.size - self.leaving - self.limit) > 0:
                next(iter(listed)).ask(excess)


class Part:
    """What one group holds of it."""

    __slots__ = ("_give_way", "_is_asked", "_leaving", "_shared", "granted", "high", "low", "magnitude", "size")

    def __init__(self, shared: Shared, give_way: Callable[[int], int]) -> None:
        self._shared = shared
        self._give_way = give_way
        self.granted = 0
        self._leaving = 0
        self.size = 0
        self.magnitude = 0
        self.low = self.high = 0
        self._is_asked = False
        """It was asked to give way since it was noted last."""

    def note(self, size: int) -> None:
        """Take in how much the group holds now; to be called whenever that is not in `[low, high)`.

        So once for a small part of what it holds, or of what is left for all; and in the turn after it was asked.
        """
        shared = self._shared
        shared.size += size - self.size
        self.size = size
        magnitude = size.bit_length()
        if magnitude != self.magnitude or self._is_asked:
            shared.take_out(self)
            self.magnitude = magnitude
            self._forget_asked()
            shared.place(self)
        left = shared.limit - shared.size + shared.leaving
        self.low = size
        self.high = size + 1 + min(size >> _FINENESS, max(left, 0))
        if left < 0:
            shared.relieve()

    def grant(self, size: int) -> None:
        """Let the group count with so much towards the limit of all."""
        self._shared.grant(size - self.granted)
        self.granted = size

    def ask(self, excess: int) -> None:
        """Let go of what can go."""
        self._shared.take_out(self)
        self._is_asked = True
        self.high = 0  # whatever it holds next is noted
        self._leaving = self._give_way(excess)
        self._shared.leaving += self._leaving
        self._shared.giving += self._leaving > 0

    def leave(self) -> None:
        """The group is gone, and what it held."""
        self._shared.take_out(self)
        self._forget_asked()
        self._shared.size -= self.size
        self.size = 0
        self.grant(0)
        self._shared.parts -= 1

    def _forget_asked(self) -> None:
        self._shared.leaving -= self._leaving
        self._shared.giving -= self._leaving > 0
        self._leaving = 0
        self._is_asked = False
