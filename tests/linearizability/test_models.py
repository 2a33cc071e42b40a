"""Tests of the objects: what they answer, what they refuse, and what they promise to the search."""

import pytest

from raftline.linearizability.history import HistoryError, Operation, Value
from raftline.linearizability.models import MODELS, model_named

Step = tuple[str, Value, Value]
"""Kind, input, answer."""

DIALOGUES: list[tuple[str, list[Step]]] = [
    ("register", [("read", None, None), ("write", 3, None), ("read", None, 3)]),
    ("register", [("cas", (None, 1), True), ("cas", (2, 5), False), ("read", None, 1), ("cas", (1, None), True)]),
    ("cas", [("cas", (1, 2), None), ("write", 1, None), ("cas", (1, 2), 1), ("cas", (1, 3), 2), ("read", None, 2)]),
    ("append", [("read", None, ()), ("append", 1, None), ("append", "b", None), ("read", None, (1, "b"))]),
    ("counter", [("read", None, 0), ("add", 5, 5), ("add", -7, -2), ("read", None, -2)]),
    ("kv", [("get", None, ""), ("append", "a", None), ("append", "b", None), ("get", None, "ab"), ("put", "c", None)]),
]


@pytest.mark.parametrize(("name", "steps"), DIALOGUES)
def test_objects_answer_as_specified(name: str, steps: list[Step]) -> None:
    """Run one at a time, operations get the answers of the table in the documentation."""
    model = model_named(name)
    state = model.initial()
    for kind, entered, expected in steps:
        operation = Operation(1, kind, entered, expected, 1, 2)
        model.check_operation(operation)
        state, answer = model.apply(state, operation)
        assert answer == expected
        assert model.accepts(operation, answer)


@pytest.mark.parametrize(
    ("name", "kind", "entered", "output", "words"),
    [
        ("register", "push", 1, None, "model 'register' has no kind 'push', only read, write, cas"),
        ("register", "cas", 1, True, "input must be [old, new], found 1"),
        ("register", "cas", (1, 2), 3, "output must be true or false, found 3"),
        ("cas", "cas", (1, 2, 3), True, "input must be [old, new], found (1, 2, 3)"),
        ("append", "read", None, "ab", "output must be a list, found 'ab'"),
        ("counter", "add", "1", None, "input must be an integer, found '1'"),
        ("counter", "add", True, None, "input must be an integer, found True"),
        ("counter", "read", None, None, "output must be an integer, found None"),
        ("kv", "put", 5, None, "input must be a string, found 5"),
        ("kv", "get", None, 5, "output must be a string or null, found 5"),
    ],
)
def test_operations_of_the_wrong_shape_are_refused(
    name: str, kind: str, entered: Value, output: Value, words: str
) -> None:
    """The refusal names the operation, the field, what it should be and what was found."""
    with pytest.raises(HistoryError) as caught:
        model_named(name).check_operation(Operation(1, kind, entered, output, 5, 6))
    assert words in str(caught.value)
    assert "client 1, called at 5" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "entered", "output", "accepted"),
    [
        ("cas", "cas", (1, 2), True, True),
        ("cas", "cas", (1, 2), 1, True),
        ("cas", "cas", (1, 2), False, False),
        ("cas", "cas", (5, 2), False, True),
        ("cas", "cas", (5, 2), 1, True),
        ("cas", "cas", (5, 2), 5, False),
        ("counter", "add", 2, None, True),
        ("counter", "add", 2, 3, True),
        ("counter", "add", 2, 2, False),
        ("kv", "get", None, "1", False),
        ("append", "read", None, (1, 1), False),
    ],
)
def test_answers_are_accepted_in_each_form_they_are_recorded_in(
    name: str, kind: str, entered: Value, output: Value, *, accepted: bool
) -> None:
    """A compare-and-set may tell success or the value found, an addition its total or nothing."""
    state = {"cas": 1, "counter": 1, "kv": "", "append": (1,)}[name]
    operation = Operation(1, kind, entered, output, 1, 2)
    model = model_named(name)
    assert model.accepts(operation, model.apply(state, operation)[1]) is accepted


def test_a_missing_key_reads_as_empty_text() -> None:
    """Recorders write null or the empty text for a key that was never put; both are right."""
    model = model_named("kv")
    assert all(model.accepts(Operation(1, "get", None, output, 1, 2), "") for output in (None, ""))


@pytest.mark.parametrize(
    ("name", "states", "operations"),
    [
        ("register", (None, 1, 2), [("read", None, 1), ("cas", (1, 2), False), ("cas", (1, 1), True)]),
        ("cas", (None, 1, 2), [("cas", (1, 2), 2), ("cas", (1, 2), None), ("cas", (1, 2), False)]),
        ("append", ((), (1,)), [("read", None, (1,))]),
        ("counter", (0, 3), [("read", None, 3), ("add", 0, 3)]),
        ("kv", ("", "a"), [("get", None, "a"), ("append", "", None)]),
    ],
)
def test_what_is_said_to_change_nothing_changes_nothing(
    name: str, states: tuple[Value, ...], operations: list[Step]
) -> None:
    """An operation for which `changes` is false leaves every state that accepts it as it was."""
    model = model_named(name)
    steady = 0
    for kind, entered, output in operations:
        operation = Operation(1, kind, entered, output, 1, 2)
        for state in states:
            after, answer = model.apply(state, operation)
            if not model.changes(operation) and model.accepts(operation, answer):
                assert after == state
                steady += 1
    assert steady > 0


def test_models_are_found_by_name() -> None:
    """The names of the command line, and an error that lists them."""
    assert set(MODELS) == {"register", "append", "counter", "cas", "kv", "redis"}
    assert all(model_named(name).name == name for name in MODELS)
    with pytest.raises(HistoryError, match="there is no model 'stack', only append, cas, counter, kv, redis, register"):
        model_named("stack")
