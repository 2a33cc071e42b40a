"""A history: what clients asked of a system, what it answered, and when each request began and ended.

One `Operation` per request. Times only order events, so any clock or event counter will do. The JSON Lines form is
documented in `docs/linearizability.md`; reading it is strict, and every refusal names the line. Nothing here opens a
file: lines come in, lines go out.
"""

import json
import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["FORMAT_VERSION", "History", "HistoryError", "Operation", "Value", "read_jsonl", "write_jsonl"]

FORMAT_VERSION = 1
"""What the header line `{"history": 1}` says; a reader refuses any other."""

Value: TypeAlias = Hashable
"""What an operation carries: None, a number, a string, a boolean, or a tuple of these."""

_FIELDS = frozenset({"client", "key", "kind", "input", "output", "call", "return", "outcome", "note"})
_REQUIRED = ("client", "kind", "call")
_OUTCOMES = ("ok", "unknown", "fail")


class HistoryError(ValueError):
    """A history that cannot be read or does not fit its model; says where and what is wrong."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One request: `call_time` ≤ `return_time`, or `return_time` None when nobody knows whether it took effect.

    An operation precedes another only if it returned strictly before the other was called; `note` is for readers.
    """

    client: int | str
    kind: str
    input: Value
    output: Value
    call_time: float
    return_time: float | None
    key: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.return_time is not None and not self.return_time >= self.call_time:
            raise HistoryError(
                f"{self.kind} of client {self.client} returns at {self.return_time}, "
                f"before its call at {self.call_time}"
            )

    @property
    def known(self) -> bool:
        """Whether an answer arrived; otherwise it may take effect at any later time, or never."""
        return self.return_time is not None


@dataclass(frozen=True, slots=True)
class History:
    """Operations in the order they were recorded, and the name of the model they were recorded for, if given."""

    operations: tuple[Operation, ...]
    model: str | None = None


def read_jsonl(lines: Iterable[str]) -> History:
    """Read the JSON Lines form; failed operations are left out. Raises HistoryError with the line number."""
    operations: list[Operation] = []
    model: str | None = None
    first = True
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = _decode(line, number)
        if "history" in fields:
            if not first:
                raise HistoryError(f"line {number}: a header can only be the first line")
            model = _read_header(fields, number)
        else:
            operation = _read_operation(fields, number)
            if operation is not None:
                operations.append(operation)
        first = False
    return History(tuple(operations), model)


def write_jsonl(history: History) -> Iterator[str]:
    """Yield the lines (each with its newline) that `read_jsonl` reads back; raises HistoryError on other values."""
    header: dict[str, Any] = {"history": FORMAT_VERSION}
    if history.model is not None:
        header["model"] = history.model
    yield json.dumps(header) + "\n"
    for number, operation in enumerate(history.operations, 1):
        fields: dict[str, Any] = {"client": operation.client}
        if operation.key is not None:
            fields["key"] = operation.key
        fields |= {"kind": operation.kind, "input": operation.input, "output": operation.output}
        fields |= {"call": operation.call_time, "return": operation.return_time}
        if operation.note:
            fields["note"] = operation.note
        try:
            yield json.dumps(fields, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise HistoryError(f"operation {number} ({operation.kind}) cannot be written as JSON: {error}") from error


def _decode(line: str, number: int) -> dict[str, Any]:
    """Return the JSON object on this line."""
    try:
        fields = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HistoryError(f"line {number}: not a JSON value: {error}") from error
    if not isinstance(fields, dict):
        raise HistoryError(f"line {number}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _read_header(fields: dict[str, Any], number: int) -> str | None:
    """Return the model's name from `{"history": 1, "model": ...}`."""
    if fields["history"] != FORMAT_VERSION or isinstance(fields["history"], bool):
        raise HistoryError(
            f"line {number}: history format {fields['history']!r} is not known, only {FORMAT_VERSION} is"
        )
    _refuse_unknown_fields(fields, frozenset({"history", "model"}), number)
    model = fields.get("model")
    if model is not None and not isinstance(model, str):
        raise HistoryError(f"line {number}: field 'model' must be a string, found {model!r}")
    return model


def _read_operation(fields: dict[str, Any], number: int) -> Operation | None:
    """Return the operation, or None if it failed and so never happened."""
    _refuse_unknown_fields(fields, _FIELDS, number)
    for name in _REQUIRED:
        if name not in fields:
            raise HistoryError(f"line {number}: field '{name}' is missing")
    client = fields["client"]
    if isinstance(client, bool) or not isinstance(client, int | str):
        raise HistoryError(f"line {number}: field 'client' must be a string or an integer, found {client!r}")
    kind, note = (_string(fields, name, number) for name in ("kind", "note"))
    key = fields.get("key")
    if key is not None and not isinstance(key, str):
        raise HistoryError(f"line {number}: field 'key' must be a string or null, found {key!r}")
    call_time = _time(fields, "call", number)
    return_time = None if fields.get("return") is None else _time(fields, "return", number)
    outcome = fields.get("outcome", "unknown" if return_time is None else "ok")
    output = _freeze(fields.get("output"), "output", number)
    _check_outcome(outcome, return_time, output, number)
    if outcome == "fail":
        return None
    if return_time is not None and return_time < call_time:
        raise HistoryError(f"line {number}: 'return' {return_time} is before 'call' {call_time}")
    entered = _freeze(fields.get("input"), "input", number)
    ended = None if outcome == "unknown" else return_time
    return Operation(client, kind, entered, output, call_time, ended, key, note)


def _check_outcome(outcome: object, return_time: float | None, output: Value, number: int) -> None:
    """Refuse an outcome that contradicts the other fields."""
    if outcome not in _OUTCOMES:
        raise HistoryError(f"line {number}: field 'outcome' must be one of {', '.join(_OUTCOMES)}, found {outcome!r}")
    if outcome == "ok" and return_time is None:
        raise HistoryError(f"line {number}: outcome 'ok' needs a 'return' time")
    if outcome == "unknown" and output is not None:
        raise HistoryError(f"line {number}: an operation of unknown outcome has no 'output', found {output!r}")


def _refuse_unknown_fields(fields: dict[str, Any], known: frozenset[str], number: int) -> None:
    """A misspelt field must not be taken for an absent one."""
    strange = sorted(fields.keys() - known)
    if strange:
        raise HistoryError(f"line {number}: unknown field '{strange[0]}'; known are {', '.join(sorted(known))}")


def _string(fields: dict[str, Any], name: str, number: int) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise HistoryError(f"line {number}: field '{name}' must be a string, found {value!r}")
    return value


def _time(fields: dict[str, Any], name: str, number: int) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise HistoryError(f"line {number}: field '{name}' must be a finite number, found {value!r}")
    return value


def _freeze(value: Any, name: str, number: int) -> Value:
    """Turn JSON arrays into tuples, so that values can be compared and remembered."""
    if isinstance(value, list):
        return tuple(_freeze(item, name, number) for item in value)
    if isinstance(value, dict):
        raise HistoryError(f"line {number}: field '{name}' holds an object; use an array, a string or a number")
    result: Value = value
    return result
