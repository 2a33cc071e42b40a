"""One key of a Redis-like store that holds strings: GET, SET, SETNX, APPEND, INCRBY, GETSET, GETDEL, DEL and others.

Values are text, None is a missing key. Kinds are the commands' names, in any case. An error of INCRBY (text that is no
integer, overflow) is recorded as an output that begins with `ERR`.
"""

# ruff: noqa: D102  the methods do what `Model` says of them

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from raftline.linearizability.guides import NOTHING, Role, text_guide, unread_text, value_guide
from raftline.linearizability.history import Operation, Value
from raftline.linearizability.model import Guide, Model, State, pair, refusal, require_kind

__all__ = ["RedisStrings"]

_READS = frozenset({"get", "exists", "strlen"})
_ANSWER_OPTIONAL = frozenset({"set", "append", "incr", "incrby", "decr", "decrby", "del"})
"""Writes whose output may be null: the answer was not recorded."""
_ARITHMETIC = frozenset({"incr", "incrby", "decr", "decrby"})
_ERROR = "ERR"
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1


def _set(_text: str | None, op: Operation) -> tuple[State, Value]:
    return op.input, "OK"


def _setnx(text: str | None, op: Operation) -> tuple[State, Value]:
    return (op.input, 1) if text is None else (text, 0)


def _append(text: str | None, op: Operation) -> tuple[State, Value]:
    assert isinstance(op.input, str)
    after = (text or "") + op.input
    return after, _length_bytes(after)


def _incrby(text: str | None, op: Operation) -> tuple[State, Value]:
    step = 1 if op.input is None else op.input
    assert isinstance(step, int)
    found = _integer("0" if text is None else text)
    if found is None:
        return text, f"{_ERROR} value is not an integer or out of range"
    total = found - step if op.kind.lower().startswith("decr") else found + step
    if not _INTEGER_MIN <= total <= _INTEGER_MAX:
        return text, f"{_ERROR} increment or decrement would overflow"
    return str(total), total


def _cas(text: str | None, op: Operation) -> tuple[State, Value]:
    old, new = pair(op)
    return (new, 1) if text == old else (text, 0)


_COMMANDS: Mapping[str, Callable[[str | None, Operation], tuple[State, Value]]] = {
    "get": lambda text, _op: (text, text),
    "exists": lambda text, _op: (text, int(text is not None)),
    "strlen": lambda text, _op: (text, _length_bytes(text or "")),
    "set": _set,
    "setnx": _setnx,
    "append": _append,
    "getset": lambda text, op: (op.input, text),
    "getdel": lambda text, _op: (None, text),
    "del": lambda text, _op: (None, int(text is not None)),
    "incr": _incrby,
    "incrby": _incrby,
    "decr": _incrby,
    "decrby": _incrby,
    "cas": _cas,
}


class RedisStrings(Model):
    """A string or nothing; `cas` [old, new] (old null: only if missing) answers 1 or 0, as SETNX, DEL and EXISTS do."""

    name: ClassVar[str] = "redis"

    def initial(self) -> State:
        return None

    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        assert state is None or isinstance(state, str)
        return _COMMANDS[operation.kind.lower()](state, operation)

    def accepts(self, operation: Operation, answer: Value) -> bool:
        kind = operation.kind.lower()
        if kind == "set" or (operation.output is None and kind in _ANSWER_OPTIONAL):
            return True
        if kind in _ARITHMETIC and isinstance(answer, str):
            return isinstance(operation.output, str) and operation.output.startswith(_ERROR)
        return operation.output == answer

    def changes(self, operation: Operation) -> bool:
        kind, output = operation.kind.lower(), operation.output
        if kind in _READS:
            return False
        if not operation.known:
            return True
        if kind in {"setnx", "cas", "del"}:
            return output != 0
        if kind == "getdel":
            return output is not None
        return kind not in _ARITHMETIC or not isinstance(output, str)

    def check_operation(self, operation: Operation) -> None:
        kind = operation.kind.lower()
        require_kind(self, operation, kind, tuple(_COMMANDS))
        _check_input(operation, kind)
        output = operation.output
        if not operation.known or (output is None and kind in _ANSWER_OPTIONAL):
            return
        if kind in {"get", "getset", "getdel"} and not isinstance(output, str | None):
            raise refusal(operation, "output", "a string or null")
        if kind in {"exists", "setnx", "cas", "del"} and output not in (0, 1):
            raise refusal(operation, "output", "0 or 1 (or false or true)")
        if kind in {"strlen", "append"} and not isinstance(output, int):
            raise refusal(operation, "output", "a length in bytes")
        if kind in _ARITHMETIC and not (isinstance(output, int) or str(output).startswith(_ERROR)):
            raise refusal(operation, "output", f"an integer or a string that begins with {_ERROR}")

    def guide(self, operations: Sequence[Operation]) -> Guide:
        kinds = {op.kind.lower() for op in operations}
        if kinds & _ARITHMETIC:
            return Guide()  # a total can be any text, so nothing is known to be unread
        roles = [_role(op) for op in operations]
        lengths = any(op.kind.lower() == "strlen" or _tells_length(op) for op in operations)
        if "append" not in kinds and not lengths:
            return value_guide(roles, start=None, unread=unread_text(roles))
        letter = unread_text(roles)
        if not letter.isascii():
            return Guide()

        def unread(state: State) -> State:
            """Keep what can still be told apart: whether there is a text, and its length where that is asked for."""
            if not isinstance(state, str):
                return state
            return letter * _length_bytes(state) if lengths else letter

        return text_guide(
            roles,
            text_of=lambda state: state if isinstance(state, str) else "",
            unread=unread,
            unread_is_poorest=kinds <= {"get", "set", "append"} and not lengths,
        )


def _role(operation: Operation) -> Role:
    """Sum up one operation for the guide; arithmetic has no role."""
    kind, known, output, entered = operation.kind.lower(), operation.known, operation.output, operation.input
    if kind in {"setnx", "cas"}:
        old, new = (None, entered) if kind == "setnx" else pair(operation)
        return Role(compares=old) if known and output == 0 else Role(needs=old, makes=new, known=known)
    if kind in {"getset", "getdel"}:
        return Role(needs=output if known else NOTHING, makes=entered)
    return {
        "get": Role(needs=output, known=known),
        "set": Role(makes=entered),
        "append": Role(adds=str(entered)),
        "del": Role(makes=None, compares=NOTHING if output is None else None),
    }.get(kind, Role(compares=None))


def _check_input(operation: Operation, kind: str) -> None:
    """Raise HistoryError unless the input has the command's shape."""
    entered = operation.input
    if kind in {"set", "setnx", "append", "getset"} and not isinstance(entered, str):
        raise refusal(operation, "input", "a string")
    if kind in {"incrby", "decrby"} and (not isinstance(entered, int) or isinstance(entered, bool)):
        raise refusal(operation, "input", "an integer")
    if kind in {"get", "getdel", "del", "exists", "strlen", "incr", "decr"} and entered is not None:
        raise refusal(operation, "input", "null")
    if kind == "cas":
        old, new = pair(operation)
        if not isinstance(old, str | None) or not isinstance(new, str):
            raise refusal(operation, "input", "[string or null, string]")


def _tells_length(operation: Operation) -> bool:
    return operation.kind.lower() == "append" and operation.output is not None


def _integer(text: str) -> int | None:
    """Return the integer that Redis would see in `text`, or None."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19 or str(int(text)) != text:
        return None
    value = int(text)
    return value if _INTEGER_MIN <= value <= _INTEGER_MAX else None


def _length_bytes(text: str) -> int:
    """Return the length as Redis counts it; bytes that are no UTF-8 stand in the text as surrogate escapes."""
    return len(text.encode("utf-8", "surrogateescape"))
