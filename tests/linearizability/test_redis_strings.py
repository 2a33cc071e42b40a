"""Tests of the Redis-like object: the commands' answers, the recorder's freedom, the mistakes it tells."""

import pytest

from raftline.linearizability.checker import Verdict, check
from raftline.linearizability.history import HistoryError, Operation, Value
from raftline.linearizability.redis_strings import RedisStrings

MODEL = RedisStrings()


@pytest.mark.parametrize(
    ("before", "kind", "entered", "after", "answer"),
    [
        (None, "GET", None, None, None),
        ("a", "get", None, "a", "a"),
        (None, "set", "", "", "OK"),
        (None, "setnx", "a", "a", 1),
        ("b", "setnx", "a", "b", 0),
        (None, "append", "é", "é", 2),
        ("a", "append", "b", "ab", 2),
        (None, "append", "", "", 0),
        ("a", "getset", "b", "b", "a"),
        ("a", "getdel", None, None, "a"),
        ("a", "del", None, None, 1),
        (None, "del", None, None, 0),
        ("a", "exists", None, "a", 1),
        (None, "strlen", None, None, 0),
        ("é\udcff", "strlen", None, "é\udcff", 3),
        (None, "cas", (None, "a"), "a", 1),
        ("", "cas", (None, "a"), "", 0),
        ("a", "cas", ("a", "b"), "b", 1),
        (None, "incr", None, "1", 1),
        ("-1", "incrby", 5, "4", 4),
        ("4", "decr", None, "3", 3),
        ("4", "decrby", 5, "-1", -1),
        (None, "incrby", 0, "0", 0),
        ("a", "incr", None, "a", "ERR value is not an integer or out of range"),
        ("", "incr", None, "", "ERR value is not an integer or out of range"),
        ("01", "incr", None, "01", "ERR value is not an integer or out of range"),
        ("-0", "incr", None, "-0", "ERR value is not an integer or out of range"),
        ("--1", "incr", None, "--1", "ERR value is not an integer or out of range"),
        ("²", "incr", None, "²", "ERR value is not an integer or out of range"),
        ("9223372036854775808", "decr", None, "9223372036854775808", "ERR value is not an integer or out of range"),
        ("9" * 5000, "incr", None, "9" * 5000, "ERR value is not an integer or out of range"),
        ("9223372036854775807", "incr", None, "9223372036854775807", "ERR increment or decrement would overflow"),
    ],
)
def test_commands_answer_as_redis_does(
    before: str | None, kind: str, entered: Value, after: str | None, answer: Value
) -> None:
    """State and answer of each command on missing, present, numeric and broken values."""
    operation = Operation(1, kind, entered, answer, 1, 2)
    MODEL.check_operation(operation)
    assert MODEL.apply(before, operation) == (after, answer)
    assert MODEL.accepts(operation, answer)
    if not MODEL.changes(operation):
        assert before == after


@pytest.mark.parametrize(
    ("kind", "entered", "output", "words"),
    [
        ("hset", None, None, "model 'redis' has no kind 'hset', only get, exists,"),
        ("set", 5, None, "input must be a string, found 5"),
        ("incrby", "5", None, "input must be an integer, found '5'"),
        ("incr", 5, None, "input must be null, found 5"),
        ("cas", ("a", None), 1, "input must be [string or null, string], found ('a', None)"),
        ("cas", "a", 1, "input must be [old, new], found 'a'"),
        ("get", None, 5, "output must be a string or null, found 5"),
        ("setnx", "a", None, "output must be 0 or 1 (or false or true), found None"),
        ("append", "a", "b", "output must be a length in bytes, found 'b'"),
        ("incr", None, "oops", "output must be an integer or a string that begins with ERR, found 'oops'"),
    ],
)
def test_operations_of_the_wrong_shape_are_refused(kind: str, entered: Value, output: Value, words: str) -> None:
    """The refusal says which field, what it should be and what was found."""
    with pytest.raises(HistoryError) as caught:
        MODEL.check_operation(Operation(1, kind, entered, output, 1, 2))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("state", "kind", "entered", "output", "accepted"),
    [
        ("a", "append", "b", None, True),
        ("a", "append", "b", 7, False),
        ("a", "del", None, None, True),
        ("a", "setnx", "b", False, True),
        ("a", "incr", None, "ERR whatever the server says", True),
        ("1", "incr", None, "ERR whatever the server says", False),
        ("1", "incr", None, None, True),
        ("a", "set", "b", "OK", True),
    ],
)
def test_answers_that_were_not_recorded_are_not_held_against_the_store(
    state: str, kind: str, entered: Value, output: Value, *, accepted: bool
) -> None:
    """A write's null output says nothing; booleans stand for 1 and 0; any error text that begins with ERR will do."""
    operation = Operation(1, kind, entered, output, 1, 2)
    assert MODEL.accepts(operation, MODEL.apply(state, operation)[1]) is accepted


def test_lengths_tell_states_apart_that_nobody_reads() -> None:
    """Appends whose text is never read are still held to the lengths they answered."""
    right = [Operation(i, "append", "xy" * i, length, i, i) for i, length in ((1, 2), (2, 6), (3, 12))]
    assert check(right, MODEL).verdict is Verdict.YES
    wrong = [*right[:2], Operation(3, "append", "xy" * 3, 11, 3, 3)]
    assert check(wrong, MODEL).verdict is Verdict.NO


def test_every_letter_taken_still_leaves_a_right_verdict() -> None:
    """When texts that are asked for begin with every ASCII letter there is, lengths are still counted right."""
    letters = [chr(code) for code in range(128)]
    history: list[Operation] = []
    for at, letter in enumerate(letters):
        history += [
            Operation(1, "set", letter, None, 10 * at, 10 * at + 1),
            Operation(1, "get", None, letter, 10 * at + 2, 10 * at + 3),
        ]
    end = Operation(1, "append", "b", 2, 10_000, 10_001)
    assert check([*history, end], MODEL).verdict is Verdict.YES
    assert check([*history, Operation(1, "append", "b", 3, 10_000, 10_001)], MODEL).verdict is Verdict.NO
