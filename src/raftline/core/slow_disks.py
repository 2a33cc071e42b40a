"""Whose disk did not keep up with leading, and for how long that counts: longer each time, and never for ever.

A leader that hands over for its disk tells its successor, which can know it from nobody else, and tells its own; see
`transfer`.
"""

from collections.abc import Iterable
from typing import Final

from raftline.core.ids import NodeId

__all__ = ["SlowDisks"]

_AT_FIRST: Final = 8
"""For so many times `priority_handover_s` a slow disk counts the first time; then twice as long each time,"""
_GROWTH_MAX: Final = 64
"""up to so many times as long."""
_IS_WELL_AFTER: Final = 4
"""Once it kept up for so many times as long as it counted, it counts as at first."""


class SlowDisks:
    """What one replica knows of them: of its own, and of those that whoever handed over to it told of."""

    __slots__ = ("_asked_at", "_handover_s", "_slow_at", "_slow_s", "_until")

    def __init__(self, handover_s: float) -> None:
        """`handover_s` is how long a leader leads before it hands over to a preferred one."""
        self._handover_s = handover_s
        self._asked_at = self._slow_at = float("-inf")
        self._slow_s = 0.0
        self._until: dict[NodeId, float] = {}

    def may_ask(self, now: float) -> bool:
        """Say whether a leader with nothing to write may ask who goes on without its disk, and note that it does.

        Where a quorum needs that disk, each answer comes from it, and would bring the next question.
        """
        if now < self._asked_at + self._handover_s:
            return False
        self._asked_at = now
        return True

    def on_own(self, now: float) -> float:
        """This replica hands over for its disk: return for how long it should not lead."""
        at_first_s = _AT_FIRST * self._handover_s
        was_well = now > self._slow_at + (1 + _IS_WELL_AFTER) * self._slow_s
        self._slow_s = at_first_s if was_well else min(2 * self._slow_s, _GROWTH_MAX * at_first_s)
        self._slow_at = now
        return self._slow_s

    def on_told(self, slow: Iterable[tuple[NodeId, float]], now: float) -> None:
        """A leader hands over to this replica, and says whose disk counts for how long."""
        for node, left_s in slow:
            self._until[node] = max(now + left_s, self._until.get(node, now))

    def all_left(self, now: float) -> tuple[tuple[NodeId, float], ...]:
        """Return who counts, and for how long."""
        self._until = {node: until for node, until in self._until.items() if until > now}
        return tuple([(node, until - now) for node, until in self._until.items()])

    def counts(self, node: NodeId, now: float) -> bool:
        """Say whether a node should not lead for its disk."""
        return now < self._until.get(node, now)
