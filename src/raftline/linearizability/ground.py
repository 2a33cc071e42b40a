"""The ground a search walks on: one object's operations numbered, its states numbered, and what is known of both.

Answered operations are numbered by return, those of unknown outcome follow by call; bit *i* of every mask is operation
*i*. States get their number when they are first seen; what an operation does to a state is worked out once.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from raftline.linearizability.history import Operation
from raftline.linearizability.model import Model, State

__all__ = ["REFUSED", "Ground", "StateFacts", "bits"]

REFUSED = -1
"""In place of a state's number: the operation's answer is not what the object gives there."""


@dataclass(slots=True, eq=False)
class StateFacts:
    """What is known of one numbered state; the masks are those of `Guide`.

    `forgotten` is the number of the state that stands for it once nobody is left who can tell. Of the operations in
    `tested` it is known whether they are accepted here and leave the state as it is: then they are in `stays`.
    """

    state: State
    tells: int
    serves: int
    sources: int
    forgotten: int
    next_of: dict[int, int] = field(default_factory=dict)
    tested: int = 0
    stays: int = 0


class Ground:
    """One object's operations and states.

    `windows[n]` holds what was called before return *n*, as masks shifted down by *n*: `changing` and `free` (those
    that are placed without a choice) of the answered operations; `unknown_called[n]` counts the unknown ones.
    """

    def __init__(self, operations: Sequence[Operation], model: Model) -> None:
        answered = sorted((op for op in operations if op.known), key=lambda op: (_end(op), op.call_time))
        unknown = sorted((op for op in operations if not op.known and model.changes(op)), key=lambda op: op.call_time)
        self.model = model
        self.answered_count = len(answered)
        self.operations = answered + unknown
        self.guide = model.guide(self.operations)
        self.depends = self.guide.depends or (0,) * len(self.operations)
        self.states: list[StateFacts] = []
        self._numbers: dict[State, int] = {}
        self._number_classes()
        self._open_windows(answered, [op.call_time for op in unknown])

    def number(self, state: State) -> int:
        """Return the number of the state, or of the one that stands for it if no operation can tell."""
        tells = self.guide.tells(state)
        if not tells:
            state = self.guide.forget(state)
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self.states)
            facts = StateFacts(state, tells, self.guide.serves(state), self.guide.sources(state), number)
            self.states.append(facts)
            if tells:
                facts.forgotten = self.number(self.guide.forget(state))
        return number

    def next(self, state: int, index: int) -> int:
        """Return the number of the state after operation `index`, or REFUSED."""
        facts = self.states[state]
        found = facts.next_of.get(self.class_of[index])
        if found is None:
            operation = self.operations[index]
            after, answer = self.model.apply(facts.state, operation)
            accepted = not operation.known or self.model.accepts(operation, answer)
            found = facts.next_of[self.class_of[index]] = self.number(after) if accepted else REFUSED
        return found

    def staying(self, state: int, operations: int) -> int:
        """Return those of the operations that the state accepts and that leave it as it is."""
        facts = self.states[state]
        untested = operations & ~facts.tested
        if untested:
            facts.tested |= untested
            for index in bits(untested):
                if self.next(state, index) == state:
                    facts.stays |= 1 << index
        return operations & facts.stays

    def _number_classes(self) -> None:
        """Give equal requests one effect number, and equal requests with equal answers one class number."""
        effects: dict[object, int] = {}
        classes: dict[object, int] = {}
        self.effect_of: list[int] = []
        self.class_of: list[int] = []
        for op in self.operations:
            effect = effects.setdefault((op.kind, type(op.input), op.input), len(effects))
            self.effect_of.append(effect)
            self.class_of.append(classes.setdefault((effect, op.known, type(op.output), op.output), len(classes)))

    def _open_windows(self, answered: Sequence[Operation], unknown_calls: Sequence[float]) -> None:
        """Work out, for each return, which operations were called before it."""
        calls = sorted(range(len(answered)), key=lambda index: answered[index].call_time)
        changing = free = place = 0
        self.changing: list[int] = []
        self.free: list[int] = []
        self.unknown_called: list[int] = []
        for base, first_missing in enumerate(answered):
            while place < len(calls) and answered[calls[place]].call_time <= _end(first_missing):
                bit = 1 << calls[place]
                changes = self.model.changes(answered[calls[place]])
                changing |= bit if changes else 0
                free |= bit if not changes or self.guide.inert & bit else 0
                place += 1
            self.changing.append(changing >> base)
            self.free.append(free >> base)
            self.unknown_called.append(bisect_right(unknown_calls, _end(first_missing)))


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _end(operation: Operation) -> float:
    """Return when an answered operation returned."""
    assert operation.return_time is not None
    return operation.return_time
