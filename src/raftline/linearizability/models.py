"""The objects that come with the checker: register, compare-and-set, append, counter and key/value.

Each is one key's sequential specification, plus the guide that keeps the search short. `docs/linearizability.md` has a
table of their operations. What a plain write answers says nothing about the object, so it is not looked at. The
object with Redis commands has its own file.
"""

# ruff: noqa: D102  the methods do what `Model` says of them

from collections.abc import Mapping, Sequence
from typing import ClassVar

from raftline.linearizability.guides import UNREAD, Role, counter_guide, text_guide, unread_text, value_guide
from raftline.linearizability.history import HistoryError, Operation, Value
from raftline.linearizability.model import Guide, Model, State, pair, refusal, require_kind
from raftline.linearizability.redis_strings import RedisStrings

__all__ = ["MODELS", "Append", "CompareAndSet", "Counter", "KeyValue", "Register", "model_named"]


class Register(Model):
    """One value, nil at first: `read`, `write` value, `cas` [old, new] which answers whether it set the value."""

    name: ClassVar[str] = "register"

    def initial(self) -> State:
        return None

    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        if operation.kind == "write":
            return operation.input, None
        if operation.kind == "cas":
            old, new = pair(operation)
            return (new, True) if state == old else (state, False)
        return state, state

    def accepts(self, operation: Operation, answer: Value) -> bool:
        return operation.kind == "write" or operation.output == answer

    def changes(self, operation: Operation) -> bool:
        return operation.kind == "write" or (operation.kind == "cas" and operation.output is not False)

    def check_operation(self, operation: Operation) -> None:
        require_kind(self, operation, operation.kind, ("read", "write", "cas"))
        if operation.kind == "cas":
            pair(operation)
            if operation.known and not isinstance(operation.output, bool):
                raise refusal(operation, "output", "true or false")

    def guide(self, operations: Sequence[Operation]) -> Guide:
        return value_guide([self._role(op) for op in operations], start=None, unread=UNREAD)

    def _role(self, operation: Operation) -> Role:
        """Sum up one operation for the guide."""
        if operation.kind == "write":
            return Role(makes=operation.input)
        if operation.kind == "read":
            return Role(needs=operation.output, known=operation.known)
        old, new = pair(operation)
        if operation.output is False:
            return Role(compares=old)
        return Role(needs=old, makes=new, known=operation.known)


class CompareAndSet(Register):
    """A register whose `cas` may also answer with the value it found (compare-and-swap): it was set iff that is old."""

    name: ClassVar[str] = "cas"

    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        after, answer = super().apply(state, operation)
        return after, state if operation.kind == "cas" else answer

    def accepts(self, operation: Operation, answer: Value) -> bool:
        if operation.kind == "cas" and isinstance(operation.output, bool):
            return operation.output is (answer == pair(operation)[0])
        return super().accepts(operation, answer)

    def changes(self, operation: Operation) -> bool:
        return super().changes(operation) and not self._found_another(operation)

    def check_operation(self, operation: Operation) -> None:
        require_kind(self, operation, operation.kind, ("read", "write", "cas"))
        if operation.kind == "cas":
            pair(operation)

    def _role(self, operation: Operation) -> Role:
        if self._found_another(operation):
            return Role(needs=operation.output)
        return super()._role(operation)

    def _found_another(self, operation: Operation) -> bool:
        """Whether this `cas` answered with a value that is not `old`."""
        asked = operation.kind == "cas" and operation.known and not isinstance(operation.output, bool)
        return asked and operation.output != pair(operation)[0]


class Counter(Model):
    """A total, 0 at first: `add` n answers the new total (or null: not recorded), `read` answers the total."""

    name: ClassVar[str] = "counter"

    def initial(self) -> State:
        return 0

    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        assert isinstance(state, int)
        total = state + _amount(operation) if operation.kind == "add" else state
        return total, total

    def accepts(self, operation: Operation, answer: Value) -> bool:
        return operation.output == answer or (operation.kind == "add" and operation.output is None)

    def changes(self, operation: Operation) -> bool:
        return operation.kind == "add" and operation.input != 0

    def check_operation(self, operation: Operation) -> None:
        require_kind(self, operation, operation.kind, ("add", "read"))
        if operation.kind == "add":
            _amount(operation)
        if (
            operation.known
            and not _is_integer(operation.output)
            and (operation.kind, operation.output) != ("add", None)
        ):
            raise refusal(operation, "output", "an integer")

    def guide(self, operations: Sequence[Operation]) -> Guide:
        needs: list[int | None] = []
        for op in operations:
            found = op.output if op.known and isinstance(op.output, int) else None
            needs.append(found - _amount(op) if found is not None and op.kind == "add" else found)
        return counter_guide(needs, grows=all(_amount(op) >= 0 for op in operations if op.kind == "add"))


class Append(Model):
    """A list, empty at first: `append` value puts it at the end, `read` answers the whole list."""

    name: ClassVar[str] = "append"

    def initial(self) -> State:
        return ()

    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        if operation.kind == "append":
            return (*_items(state), operation.input), None
        return state, state

    def accepts(self, operation: Operation, answer: Value) -> bool:
        if operation.kind == "append":
            return True
        read, items = _items(operation.output), _items(answer)
        return len(read) == len(items) and read == items

    def changes(self, operation: Operation) -> bool:
        return operation.kind == "append"

    def check_operation(self, operation: Operation) -> None:
        require_kind(self, operation, operation.kind, ("append", "read"))
        if operation.kind == "read" and operation.known and not isinstance(operation.output, tuple):
            raise refusal(operation, "output", "a list")

    def guide(self, operations: Sequence[Operation]) -> Guide:
        letters: dict[Value, str] = {UNREAD: chr(0)}
        for op in operations:
            for item in (op.input,) if op.kind == "append" else _items(op.output):
                letters.setdefault(item, chr(len(letters)))

        def spell(state: State) -> str:
            """Write a list as a text with one letter for each different item."""
            return "".join(map(letters.__getitem__, _items(state)))

        roles = [
            Role(adds=letters[op.input]) if op.kind == "append" else Role(needs=spell(op.output)) for op in operations
        ]
        return text_guide(roles, text_of=spell, unread=lambda _state: (UNREAD,), unread_is_poorest=True)


class KeyValue(Model):
    """A text, empty at first: `put` text, `append` text, `get` answers the text (null counts as empty)."""

    name: ClassVar[str] = "kv"

    def initial(self) -> State:
        return ""

    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        if operation.kind == "get":
            return state, state
        assert isinstance(state, str)
        assert isinstance(operation.input, str)
        return (operation.input if operation.kind == "put" else state + operation.input), None

    def accepts(self, operation: Operation, answer: Value) -> bool:
        return operation.kind != "get" or (operation.output or "") == answer

    def changes(self, operation: Operation) -> bool:
        return operation.kind == "put" or (operation.kind == "append" and operation.input != "")

    def check_operation(self, operation: Operation) -> None:
        require_kind(self, operation, operation.kind, ("get", "put", "append"))
        if operation.kind != "get" and not isinstance(operation.input, str):
            raise refusal(operation, "input", "a string")
        if operation.kind == "get" and operation.known and not isinstance(operation.output, str | None):
            raise refusal(operation, "output", "a string or null")

    def guide(self, operations: Sequence[Operation]) -> Guide:
        roles = []
        for op in operations:
            if op.kind == "get":
                roles.append(Role(needs=op.output or "", known=op.known))
            elif op.kind == "put":
                roles.append(Role(makes=op.input))
            else:
                roles.append(Role(adds=str(op.input)))
        if not any(role.adds for role in roles):
            return value_guide(roles, start="", unread=unread_text(roles))
        unread = unread_text(roles)
        return text_guide(roles, text_of=str, unread=lambda _state: unread, unread_is_poorest=True)


def _items(value: Value) -> tuple[Value, ...]:
    """Return a list's items."""
    assert isinstance(value, tuple)
    return value


def _is_integer(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _amount(operation: Operation) -> int:
    """Return what an `add` adds."""
    if not isinstance(operation.input, int) or isinstance(operation.input, bool):
        raise refusal(operation, "input", "an integer")
    return operation.input


MODELS: Mapping[str, type[Model]] = {
    model.name: model for model in (Register, Append, Counter, CompareAndSet, KeyValue, RedisStrings)
}
"""The models that have a name on the command line and in a history's header."""


def model_named(name: str) -> Model:
    """Return a model by its name; raises HistoryError that lists the names."""
    if name not in MODELS:
        raise HistoryError(f"there is no model {name!r}, only {', '.join(sorted(MODELS))}")
    return MODELS[name]()
