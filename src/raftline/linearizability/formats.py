"""Readers for recorded formats of other tools; each turns lines into the operations that `check` takes.

`jepsen`        the log of a Jepsen run against one register: process, event, operation, value, between other lines.
`porcupine-kv`  Porcupine's key/value recordings: one EDN map a line, with `get`, `put` and `append`.

Both list events in the order they happened, so an event's line number is its time.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raftline.linearizability.history import History, HistoryError, Operation, Value, read_jsonl

__all__ = ["READERS", "guess_format", "read_jepsen", "read_porcupine_kv"]

_JEPSEN_EVENT = re.compile(r"(?:^|\s)(\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(\S.*?)\s*$")
_KV_EVENT = re.compile(
    r'\s*\{:process (\d+), :type :(invoke|ok|fail|info), :f :(get|put|append), :key "(.*?)", '
    r':value (nil|:timed-out|"(.*)")\}\s*$'
)
_PAIR = re.compile(r"\[(nil|-?\d+)\s+(nil|-?\d+)\]$")


@dataclass(slots=True)
class _Recorder:
    """Pairs each invocation with the event that ends it."""

    operations: list[Operation] = field(default_factory=list)
    open_calls: dict[int, tuple[int, str, str | None, Value]] = field(default_factory=dict)

    def invoke(self, process: int, number: int, kind: str, key: str | None, entered: Value) -> None:
        """Note a call; a process does one thing at a time."""
        if process in self.open_calls:
            raise HistoryError(
                f"line {number}: process {process} invokes {kind}, but its operation of line "
                f"{self.open_calls[process][0]} has not ended"
            )
        self.open_calls[process] = (number, kind, key, entered)

    def called(self, process: int, number: int, kind: str) -> tuple[int, str, str | None, Value]:
        """Return the call which this event ends."""
        call = self.open_calls.pop(process, None)
        if call is None or call[1] != kind:
            expected = "nothing" if call is None else f"a {call[1]}, invoked on line {call[0]}"
            raise HistoryError(f"line {number}: process {process} ends a {kind}, but it has begun {expected}")
        return call

    def end(self, process: int, number: int, kind: str, output: Value) -> None:
        """The operation was answered."""
        began, _, key, entered = self.called(process, number, kind)
        self.operations.append(Operation(process, kind, entered, output, began, number, key))

    def leave_open(self, process: int, number: int, kind: str) -> None:
        """Nobody knows what became of the operation."""
        began, _, key, entered = self.called(process, number, kind)
        self.operations.append(Operation(process, kind, entered, None, began, None, key))

    def history(self, model: str) -> History:
        """Return everything; what was never ended has an unknown outcome."""
        for process, (began, kind, _, _) in sorted(self.open_calls.items()):
            self.leave_open(process, began, kind)
        return History(tuple(sorted(self.operations, key=lambda op: op.call_time)), model)


def read_jepsen(lines: Iterable[str]) -> History:
    """Read a Jepsen log of `:read`, `:write` and `:cas` on one register; other lines are passed over.

    `:fail` of a cas with its values is the answer that the comparison failed; of what failed by `:timed-out` nobody
    knows; any other `:fail` did not happen. Raises HistoryError with the line number.
    """
    recorder = _Recorder()
    for number, line in enumerate(lines, 1):
        event = _JEPSEN_EVENT.search(line)
        if event is None:
            continue
        process, kind, value = int(event[1]), event[3], event[4]
        if event[2] == "invoke":
            recorder.invoke(process, number, kind, None, None if kind == "read" else _jepsen_value(value, kind, number))
        elif event[2] == "info" or value == ":timed-out":
            recorder.leave_open(process, number, kind)
        elif event[2] == "ok":
            answer = _jepsen_value(value, kind, number)
            recorder.end(process, number, kind, {"read": answer, "write": None, "cas": True}[kind])
        elif kind == "cas" and not value.startswith(":"):
            recorder.end(process, number, kind, output=False)
        else:
            recorder.called(process, number, kind)
    return recorder.history("register")


def _jepsen_value(text: str, kind: str, number: int) -> Value:
    """Read `nil`, an integer, or `[old new]`."""
    pair = _PAIR.match(text)
    if kind == "cas" and pair:
        return _number(pair[1]), _number(pair[2])
    if kind != "cas" and re.fullmatch(r"nil|-?\d+", text):
        return _number(text)
    expected = "[old new]" if kind == "cas" else "nil or an integer"
    raise HistoryError(f"line {number}: the value of :{kind} must be {expected}, found {text}")


def _number(text: str) -> int | None:
    return None if text == "nil" else int(text)


def read_porcupine_kv(lines: Iterable[str]) -> History:
    """Read Porcupine's key/value recording; raises HistoryError with the line number."""
    recorder = _Recorder()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        event = _KV_EVENT.match(line)
        if event is None:
            raise HistoryError(f"line {number}: not an event of a key/value recording: {line.strip()[:80]}")
        process, kind, key, value = int(event[1]), event[3], event[4], event[6]
        if event[2] == "invoke":
            if kind != "get" and value is None:
                raise HistoryError(f"line {number}: :{kind} needs a value in quotes, found {event[5]}")
            recorder.invoke(process, number, kind, key, None if kind == "get" else value)
        elif event[2] == "info":
            recorder.leave_open(process, number, kind)
        elif event[2] == "fail":
            recorder.called(process, number, kind)
        else:
            recorder.end(process, number, kind, value if kind == "get" else None)
    return recorder.history("kv")


READERS: Mapping[str, Callable[[Iterable[str]], History]] = {
    "jsonl": read_jsonl,
    "jepsen": read_jepsen,
    "porcupine-kv": read_porcupine_kv,
}
"""Readers by the name they have on the command line."""


def guess_format(lines: Sequence[str]) -> str:
    """Return the name of the format of which these look like the first lines; JSON Lines in doubt."""
    for line in lines:
        if line.lstrip().startswith("{:"):
            return "porcupine-kv"
        if line.lstrip().startswith("{"):
            return "jsonl"
        if _JEPSEN_EVENT.search(line):
            return "jepsen"
    return "jsonl"
