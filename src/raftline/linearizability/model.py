"""What a checker must know of a system: its sequential specification, and optionally what makes the search short.

A `Model` says what one object (one key) answers when operations run one at a time. Only `initial` and `apply` are
needed; the other methods are promises that let the checker try fewer orders. A promise that is not true makes the
verdict wrong, so leave out what you cannot prove. The object must be deterministic: state and request give the answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from raftline.linearizability.history import HistoryError, Operation, Value

__all__ = ["Guide", "Model", "State", "pair", "refusal", "require_kind", "show"]

State: TypeAlias = Hashable
"""One object's value between two operations; equal states must behave alike."""


def _itself(state: State) -> State:
    return state


def _everybody(_state: State) -> int:
    return -1


def _nobody(_state: State) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Guide:
    """What is true of one partition's operations; bit *i* of a mask is operation *i* of the sequence given.

    `tells`    (state) → operations that can tell this state, or one that grows from it, from `forget(state)`.
    `forget`   (state) → the state that stands for it once none of those is left; forgetting it again gives itself.
    `serves`   (state) → answered operations that fit only this state, or one that grows from it.
    `sources`  (state) → operations that can bring back what those need; 0: left once, it is lost for good.
    `depends`  per operation *i* → answered operations that fit only if *i* is used on the way to their state.
    `inert`    operations that never open a possibility: whatever can follow them can follow without them.
    `blind`    operations that every state accepts and that set it whatever it was; given only if a forgotten state is
               the poorest of all, that is, if every other accepts in its place whatever it accepts, and does the same.
    `refuted`  answered operations that no order at all can explain.
    """

    tells: Callable[[State], int] = _everybody
    forget: Callable[[State], State] = _itself
    serves: Callable[[State], int] = _nobody
    sources: Callable[[State], int] = _nobody
    depends: Sequence[int] = ()
    inert: int = 0
    blind: int = 0
    refuted: int = 0


class Model(ABC):
    """Subclass this for your own object; instances hold no state, `apply` never changes its arguments."""

    name: ClassVar[str] = "custom"

    @abstractmethod
    def initial(self) -> State:
        """Return the state before the first operation."""

    @abstractmethod
    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        """Return the state after `operation` and its answer; looks at `kind` and `input` only, never at `output`."""

    def accepts(self, operation: Operation, answer: Value) -> bool:
        """Whether the recorded output of `operation` agrees with the `answer` of `apply`."""
        return operation.output == answer

    def changes(self, operation: Operation) -> bool:
        """Return False only if `operation`, with the output it has, leaves every state that accepts it as it was."""
        del operation
        return True

    def check_operation(self, operation: Operation) -> None:
        """Raise HistoryError if this model has no such kind, or the input or output has the wrong shape."""
        del operation

    def guide(self, operations: Sequence[Operation]) -> Guide:
        """Return what shortens the search among these operations of one key; they are all there will be.

        Unknown operations that change nothing are left out already.
        """
        del operations
        return Guide()

    def describe_operation(self, operation: Operation) -> str:
        """Return a short text for people: what was asked and what came back."""
        asked = operation.kind if operation.input is None else f"{operation.kind} {show(operation.input)}"
        if not operation.known:
            return f"{asked} → ?"
        return asked if operation.output is None and self.changes(operation) else f"{asked} → {show(operation.output)}"

    def describe_state(self, state: State) -> str:
        """Return a short text for people."""
        return show(state)


def show(value: Value) -> str:
    """Write a value as people know it from JSON: `nil`, `true`, `[1, 2]`, `"text"`."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(show(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + value + '"'
    return str(value)


def refusal(operation: Operation, field: str, expected: str) -> HistoryError:
    """Return the error that says what was wrong with which operation."""
    found = operation.input if field == "input" else operation.output
    return HistoryError(
        f"{operation.kind} of client {operation.client}, called at {operation.call_time}: "
        f"{field} must be {expected}, found {found!r}"
    )


def require_kind(model: Model, operation: Operation, kind: str, kinds: Sequence[str]) -> None:
    """Raise HistoryError unless `kind` is one of the model's."""
    if kind not in kinds:
        raise HistoryError(
            f"operation of client {operation.client}, called at {operation.call_time}: "
            f"model '{model.name}' has no kind {operation.kind!r}, only {', '.join(kinds)}"
        )


def pair(operation: Operation) -> tuple[Value, Value]:
    """Return the old and the new value of a compare-and-set."""
    if not isinstance(operation.input, tuple) or len(operation.input) != 2:
        raise refusal(operation, "input", "[old, new]")
    old, new = operation.input
    return old, new
