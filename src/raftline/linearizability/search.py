"""The search for one order: Wing and Gong's algorithm with Lowe's memory of where it has been, for one object.

A position is: how many answered operations, by time of return, are all in the order; which later ones are in it too;
which unknown ones; the state. Only operations called before the first missing return can come next. Each rule that
leaves moves out keeps this: if any order continues from here, one continues through a move that is tried. The proofs
are in `docs/linearizability.md`. Lowe, "Testing for linearizability" (2017); Horn and Kroening, "Faster
linearizability checking via P-compositionality" (2015).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from raftline.linearizability.ground import REFUSED, Ground, bits
from raftline.linearizability.history import Operation
from raftline.linearizability.model import Model, State

__all__ = ["Budget", "Placed", "Search", "Verdict"]

_POLL_STEPS = 256
_MEMORY_POSITIONS_MAX = 3_000_000
"""Beyond this many remembered positions (about 300 MB) new ones are not remembered: slower, never wrong."""
_NONE_USED = (0,)


class Verdict(Enum):
    """The answer; UNKNOWN means that the budget ran out first."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Budget:
    """How long a search may go on: `steps_max` positions (None: any number), or until `expired()` says so."""

    steps_max: int | None = None
    expired: Callable[[], bool] | None = None
    steps: int = 0

    def spend(self) -> bool:
        """Count one position; return False once there is nothing left."""
        self.steps += 1
        if self.steps_max is not None and self.steps > self.steps_max:
            return False
        return self.steps % _POLL_STEPS != 1 or self.expired is None or not self.expired()


@dataclass(frozen=True, slots=True)
class Placed:
    """One operation of an order, and the state after it."""

    operation: Operation
    state: State


@dataclass(slots=True, eq=False)
class _Position:
    """Where the search stands: every answered operation below `base` is placed, and base + i if bit i is set.

    `before_forgetting` tells which were placed when the state after `move` was given up for the one it is forgotten as.
    """

    parent: "_Position | None"
    move: int
    base: int
    window: int
    extras: int
    state: int
    before_forgetting: int = 0


class Search:
    """One object's search: `run` once, then ask for the `order` found, or the one that came furthest."""

    def __init__(self, operations: Sequence[Operation], model: Model) -> None:
        self._ground = Ground(operations, model)
        self._count = self._ground.answered_count
        self._answered = (1 << self._count) - 1
        self._best = _Position(None, -1, 0, 0, 0, self._ground.number(model.initial()))
        self._seen: dict[tuple[int, int, int], tuple[int, ...]] = {}
        self._remembered = 0

    def run(self, budget: Budget) -> Verdict:
        """Search until an order is found, none is left to try, or the budget is used up."""
        if self._ground.guide.refuted & self._answered:
            return Verdict.NO
        root = self._best
        self._settle(root)
        if root.base == self._count:
            return Verdict.YES
        stack = [self._successors(root)]
        while stack:
            child = next(stack[-1], None)
            if child is None:
                stack.pop()
                continue
            if child.base == self._count:
                return Verdict.YES
            if not budget.spend():
                return Verdict.UNKNOWN
            if self._is_new(child):
                stack.append(self._successors(child))
        return Verdict.NO

    def order(self) -> tuple[Placed, ...]:
        """Return the order found; after NO or UNKNOWN, the one that came furthest."""
        trail: list[_Position] = []
        position: _Position | None = self._best
        while position is not None:
            trail.append(position)
            position = position.parent
        placed: list[Placed] = []
        state, done = self._ground.model.initial(), 0
        for position in reversed(trail):
            moved = 1 << position.move if position.move >= 0 else 0
            for together in (moved, position.before_forgetting, _placed(position)):
                for index in bits(together & ~done):
                    operation = self._ground.operations[index]
                    state, _ = self._ground.model.apply(state, operation)
                    placed.append(Placed(operation, state))
                done |= together
        return tuple(placed)

    def returns_passed(self) -> int:
        """Return how many answered operations, by time of return, the furthest order holds without a gap."""
        return self._best.base

    def _successors(self, position: _Position) -> Iterator[_Position]:
        """Yield the positions that may follow, those that came furthest first; just one where one is as good as all."""
        forced = self._forced(position)
        if forced is not None:
            yield forced
            return
        following = [self._advance(position, index, state) for index, state in self._moves(position)]
        following.sort(key=lambda child: (child.extras.bit_count(), -child.base, -child.window.bit_count()))
        yield from following

    def _advance(self, position: _Position, index: int, state: int) -> _Position:
        """Place operation `index`, and whatever then comes free."""
        window, extras = position.window, position.extras
        if index < self._count:
            window |= 1 << (index - position.base)
        else:
            extras |= 1 << (index - self._count)
        child = _Position(position, index, position.base, window, extras, state)
        self._settle(child)
        best = self._best
        if (child.base, child.window.bit_count()) > (best.base, best.window.bit_count()):
            self._best = child
        return child

    def _settle(self, position: _Position) -> None:
        """Place at once what fits this state and leaves it as it is: reads, and inert operations."""
        ground = self._ground
        while position.base < self._count:
            free = ground.free[position.base] & ~position.window
            if free:
                position.window |= ground.staying(position.state, free << position.base) >> position.base
            if position.window & 1:
                placed = (position.window ^ position.window + 1).bit_length() - 1
                position.base += placed
                position.window >>= placed
                continue
            facts = ground.states[position.state]
            if facts.forgotten == position.state or self._remains(facts.tells, position.base, position):
                return
            position.before_forgetting = _placed(position)
            position.state = facts.forgotten

    def _remains(self, operations: int, base: int, position: _Position) -> bool:
        """Whether any of the operations is not placed yet."""
        unknown = operations >> self._count & ~position.extras
        return unknown != 0 or (operations & self._answered) >> base & ~position.window != 0

    def _forced(self, position: _Position) -> _Position | None:
        """From a forgotten state, take a blind write whose readers can all follow at once, ending forgotten again."""
        ground, base, state = self._ground, position.base, position.state
        if not ground.guide.blind or ground.states[state].tells:
            return None
        blind = (ground.guide.blind & self._answered) >> base
        for offset in bits(ground.changing[base] & ~position.window & blind):
            after = ground.next(state, base + offset)
            assert after != REFUSED, "a blind operation is accepted by every state"
            asking = ground.states[after].tells
            waiting = (asking & self._answered) >> base & ~position.window & ~(1 << offset)
            if waiting & ~ground.free[base]:
                continue
            child = self._advance(position, base + offset, after)
            if child.state == state or child.base == self._count:
                return child
        return None

    def _moves(self, position: _Position) -> Iterator[tuple[int, int]]:
        """Yield (operation, next state) for each operation that may come next and is not ruled out."""
        ground, base = self._ground, position.base
        done: set[int] = set()  # classes of answered operations, and ~effect of what was found to have it
        for offset in bits(ground.changing[base] & ~position.window):
            index = base + offset
            if ground.class_of[index] in done:
                continue  # an equal one returns earlier: whatever this one can do, that one can
            done.add(ground.class_of[index])
            state = ground.next(position.state, index)
            if state != REFUSED:
                done.add(~ground.effect_of[index])
                if not self._loses(position, index, state):
                    yield index, state
        called = (1 << ground.unknown_called[base]) - 1
        for offset in bits(called & ~position.extras):
            index = self._count + offset
            if ~ground.effect_of[index] in done:
                continue  # an answered operation, or an earlier unknown one, does the same
            done.add(~ground.effect_of[index])
            state = ground.next(position.state, index)
            if state != position.state and not self._loses(position, index, state):
                yield index, state

    def _loses(self, position: _Position, index: int, state: int) -> bool:
        """Whether an answered operation that is not yet placed could no longer be, after this move."""
        before, after = self._ground.states[position.state], self._ground.states[state]
        lost = (before.serves | self._ground.depends[index]) & ~after.serves & self._answered
        if not lost:
            return False
        base, placed, extras = position.base, position.window, position.extras
        if index < self._count:
            placed |= 1 << (index - base)
        else:
            extras |= 1 << (index - self._count)
        if not lost >> base & ~placed:
            return False
        again = (before.sources & self._answered) >> base & ~placed
        return not again and not before.sources >> self._count & ~extras

    def _is_new(self, position: _Position) -> bool:
        """Remember the position; False if it, or one with fewer unknown operations used, was tried before."""
        where = (position.base, position.window, position.state)
        tried = self._seen.get(where, ())
        if any(extras & ~position.extras == 0 for extras in tried):
            return False
        if self._remembered < _MEMORY_POSITIONS_MAX:
            self._remembered += 1
            kept = tuple(extras for extras in tried if position.extras & ~extras)
            self._seen[where] = (*kept, position.extras) if kept or position.extras else _NONE_USED
        return True


def _placed(position: _Position) -> int:
    """Return the answered operations that are placed."""
    return (1 << position.base) - 1 | position.window << position.base
