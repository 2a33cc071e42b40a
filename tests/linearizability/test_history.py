"""Tests of the history's JSON Lines form."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftline.linearizability.history import History, HistoryError, Operation, read_jsonl, write_jsonl

TEXTS = st.text('aé"\\\n\u2028\ud800', max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=3).map(tuple)
)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Draw any operation that can be written."""
    call = draw(st.integers(-5, 5) | st.floats(-5, 5))
    end = draw(st.none() | st.integers(5, 9))
    client = draw(st.integers() | TEXTS)
    output = None if end is None else draw(VALUES)
    key, note = draw(st.none() | TEXTS), draw(TEXTS)
    return Operation(client, draw(TEXTS), draw(VALUES), output, call, end, key, note)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations(), max_size=4), st.sampled_from([None, "kv"]))
def test_what_is_written_is_read_back(ops: list[Operation], model: str | None) -> None:
    """Every history survives the way to JSON Lines and back, whatever text it holds."""
    history = History(tuple(ops), model)
    assert read_jsonl(write_jsonl(history)) == history


def test_a_line_needs_client_kind_and_call_only() -> None:
    """Key, input, output, return, outcome and note may be left out; without a return the outcome is unknown."""
    history = read_jsonl(['{"client": "a", "kind": "read", "call": 1.5}', ""])
    assert history == History((Operation("a", "read", None, None, 1.5, None),))
    assert not history.operations[0].known


def test_a_failed_operation_is_left_out() -> None:
    """Outcome `fail` says that it did not happen."""
    line = '{"client": 1, "kind": "write", "input": 1, "call": 1, "return": 2, "outcome": "fail"}'
    assert read_jsonl([line]).operations == ()


def test_an_unknown_outcome_outweighs_a_return_time() -> None:
    """A client that gave up at some time has written down when, yet the operation may take effect later."""
    line = '{"client": 1, "kind": "write", "input": 1, "call": 1, "return": 2, "outcome": "unknown"}'
    assert read_jsonl([line]).operations[0].return_time is None


def test_arrays_become_tuples() -> None:
    """Values are hashable however deep they go."""
    line = '{"client": 1, "kind": "cas", "input": [[1, null], "b"], "output": true, "call": 1, "return": 2}'
    assert read_jsonl([line]).operations[0].input == ((1, None), "b")


START = '{"client": 1, "kind": "read", "call": 1'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "not a JSON value"),
        ("[1]", "expected a JSON object, found list"),
        ("[" * 100_000, "not a JSON value"),
        ('{"kind": "read", "call": 1}', "field 'client' is missing"),
        ('{"client": true, "kind": "read", "call": 1}', "'client' must be a string or an integer, found True"),
        ('{"client": 1, "kind": 7, "call": 1}', "'kind' must be a string, found 7"),
        ('{"client": 1, "kind": "read", "call": "1"}', "'call' must be a finite number, found '1'"),
        ('{"client": 1, "kind": "read", "call": NaN}', "NaN is no JSON number"),
        ('{"client": 1, "kind": "read", "call": 1e999}', "'call' must be a finite number, found inf"),
        (START + ', "return": 0}', "'return' 0 is before 'call' 1"),
        (START + ', "return": false}', "'return' must be a finite number, found False"),
        (START + ', "retrun": 2}', "unknown field 'retrun'; known are call, client, input, key,"),
        (START + ', "key": 5}', "'key' must be a string or null, found 5"),
        (START + ', "note": 5}', "'note' must be a string, found 5"),
        (START + ', "output": {"a": 1}, "return": 2}', "'output' holds an object"),
        (START + ', "outcome": "maybe"}', "'outcome' must be one of ok, unknown, fail, found 'maybe'"),
        (START + ', "outcome": "ok"}', "outcome 'ok' needs a 'return' time"),
        (START + ', "output": 3}', "an operation of unknown outcome has no 'output', found 3"),
        ('{"history": 1}', "a header can only be the first line"),
    ],
)
def test_a_line_that_is_wrong_is_refused_by_its_number(line: str, words: str) -> None:
    """Every refusal says which line, which field, what it should be and what was found."""
    with pytest.raises(HistoryError) as caught:
        read_jsonl([START + "}", "", line])
    assert str(caught.value).startswith("line 3: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ('{"history": 2}', "history format 2 is not known, only 1 is"),
        ('{"history": true}', "history format True is not known"),
        ('{"history": 1, "model": 3}', "'model' must be a string, found 3"),
        ('{"history": 1, "modell": "kv"}', "unknown field 'modell'"),
    ],
)
def test_a_header_that_is_wrong_is_refused(header: str, words: str) -> None:
    """Another version of the format is not guessed at."""
    with pytest.raises(HistoryError, match="line 1: ") as caught:
        read_jsonl([header])
    assert words in str(caught.value)


def test_a_value_that_json_has_not_is_refused() -> None:
    """Writing says which operation holds it, instead of writing something else."""
    good, bad = Operation(1, "read", None, None, 1, 2), Operation(1, "write", b"x", None, 3, 4)
    with pytest.raises(HistoryError, match=r"operation 2 \(write\) cannot be written as JSON"):
        list(write_jsonl(History((good, bad))))


def test_an_operation_cannot_return_before_its_call() -> None:
    """Such an operation is a mistake of the recorder, and is refused where it is made."""
    with pytest.raises(HistoryError, match="read of client 1 returns at 1, before its call at 2"):
        Operation(1, "read", None, None, 2, 1)
