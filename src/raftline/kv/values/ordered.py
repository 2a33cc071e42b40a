"""The order of a sorted set: pairs of score and member, ascending, found by bisection."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from raftline.kv.values.container import PART_MEMBERS_MAX
from raftline.kv.values.sequence import Sequence

__all__ = ["Ordered", "Pair", "member_of", "score_of"]

Pair = tuple[float, bytes]

score_of: Callable[[Pair], Any] = itemgetter(0)
member_of: Callable[[Pair], Any] = itemgetter(1)
_last: Callable[[list[Pair]], Pair] = itemgetter(-1)


class Ordered(Sequence[Pair]):
    """A sequence that is sorted at all times."""

    __slots__ = ()

    def add(self, pair: Pair) -> None:
        """Put a pair in its place."""
        parts = self._parts
        if not parts or pair > parts[-1][-1]:
            self.append(pair)
            return
        number = bisect_left(parts, pair, key=_last)
        offset = bisect_left(parts[number], pair)
        if number == 0 and offset == 0 and len(parts[0]) >= PART_MEMBERS_MAX:
            self.prepend(pair)
        else:
            self._insert_at(number, offset, pair)

    def remove(self, pair: Pair) -> None:
        """Remove a pair that is there."""
        number = bisect_left(self._parts, pair, key=_last)
        offset = bisect_left(self._parts[number], pair)
        assert self._parts[number][offset] == pair, "only a pair that is there is removed"
        self._pop_at(number, offset)

    def rank(self, pair: Pair) -> int:
        """Return how many pairs are before one that is there."""
        number = bisect_left(self._parts, pair, key=_last)
        return self._before(number) + bisect_left(self._parts[number], pair)

    def position(self, value: Any, key: Callable[[Pair], Any], *, after: bool) -> int:
        """Return where `value` would stand, before or after its equals, by `key`, by which the pairs are ascending."""
        bisect: Callable[..., int] = bisect_right if after else bisect_left
        number = bisect(self._parts, value, key=lambda part: key(part[-1]))
        if number == len(self._parts):
            return self.count
        return self._before(number) + bisect(self._parts[number], value, key=key)
