"""Tests of what a model is without any hints, and of the words it gives."""

import pytest

from raftline.linearizability.history import HistoryError, Operation, Value
from raftline.linearizability.model import Model, State, pair, require_kind, show


class Echo(Model):
    """Answers with what it was given before."""

    def initial(self) -> State:
        return None

    def apply(self, state: State, operation: Operation) -> tuple[State, Value]:
        return operation.input, state


def test_a_model_without_hints_promises_nothing() -> None:
    """Every operation may change the state, every state may be told from any other, nothing is ruled out."""
    operation = Operation(1, "echo", "b", "a", 1, 2)
    guide = Echo().guide([operation])
    assert Echo().changes(operation)
    assert guide.tells("x") == -1
    assert guide.forget("x") == "x"
    assert (guide.serves("x"), guide.sources("x"), guide.inert, guide.blind, guide.refuted) == (0, 0, 0, 0, 0)
    assert Echo().accepts(operation, "a")
    assert not Echo().accepts(operation, "b")
    Echo().check_operation(operation)


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "nil"), (True, "true"), (False, "false"), (3, "3"), ("a", '"a"'), ((1, (None,)), "[1, [nil]]")],
)
def test_values_are_shown_as_people_write_them(value: Value, words: str) -> None:
    """What a reader sees is close to JSON."""
    assert show(value) == words
    assert Echo().describe_state(value) == words


def test_operations_are_described() -> None:
    """What was asked, what came back, and a question mark where nothing did."""
    described = [
        Echo().describe_operation(op)
        for op in (
            Operation(1, "put", "b", None, 1, 2),
            Operation(1, "cas", (1, 2), output=False, call_time=1, return_time=2),
            Operation(1, "put", "b", None, 1, None),
            Operation(1, "get", None, "x", 1, 2),
        )
    ]
    assert described == ['put "b"', "cas [1, 2] → false", 'put "b" → ?', 'get → "x"']


def test_refusals_say_which_operation() -> None:
    """Client and call time are enough to find it in the file."""
    operation = Operation(7, "cas", 3, None, 11, 12)
    with pytest.raises(HistoryError, match=r"cas of client 7, called at 11: input must be \[old, new\], found 3"):
        pair(operation)
    with pytest.raises(HistoryError, match="operation of client 7, called at 11: model 'custom' has no kind 'cas'"):
        require_kind(Echo(), operation, "cas", ("echo",))
