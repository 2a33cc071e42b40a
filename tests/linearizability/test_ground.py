"""Tests of the numbering of operations and states."""

import pytest

from raftline.linearizability.ground import REFUSED, Ground, bits
from raftline.linearizability.history import Operation, Value
from raftline.linearizability.models import model_named

REGISTER = model_named("register")


def _op(kind: str, value: Value, call: float, end: float | None) -> Operation:
    read = kind == "read"
    return Operation(1, kind, None if read else value, value if read else None, call, end)


def test_operations_are_numbered_by_return_then_lost_ones_by_call() -> None:
    """A lost read can be left out at once; a lost write keeps its place after all that was answered."""
    late, early = _op("write", 1, 0, 9), _op("read", 1, 3, 4)
    lost = [_op("write", 3, 6, None), _op("write", 2, 5, None), _op("read", None, 1, None)]
    ground = Ground([late, *lost, early], REGISTER)
    assert ground.operations == [early, late, lost[1], lost[0]]
    assert ground.answered_count == 2


def test_windows_hold_what_was_called_before_the_first_missing_return() -> None:
    """Masks start at that return; reads come free, writes are chosen; unknown ones are counted."""
    ops = [_op("read", 1, 0, 2), _op("write", 1, 1, 4), _op("read", 1, 3, 6), _op("write", 2, 5, None)]
    ground = Ground(ops, REGISTER)
    assert ground.free == [0b001, 0b10, 0b1]
    assert ground.changing == [0b010, 0b01, 0b0]
    assert ground.unknown_called == [0, 0, 1]


def test_equal_requests_share_their_numbers() -> None:
    """Equal requests have one effect, and with equal answers one class; true is not 1."""
    ops = [
        _op("write", 1, 0, 1), _op("write", 1, 2, 3), _op("write", True, 4, 5),  # noqa: FBT003  true is the point
        _op("read", 1, 6, 7), _op("read", 2, 8, 9), _op("write", 1, 10, None),
    ]  # fmt: skip
    ground = Ground(ops, REGISTER)
    assert ground.effect_of == [0, 0, 1, 2, 2, 0]
    assert len(set(ground.class_of)) == 5
    assert ground.class_of[0] == ground.class_of[1] != ground.class_of[5]


def test_states_that_nobody_can_tell_apart_have_one_number() -> None:
    """Values that are never read become one state, and a value that is read is forgotten as that one."""
    ground = Ground([_op("write", value, 0, 1) for value in (1, 2, 3)] + [_op("read", 3, 2, 3)], REGISTER)
    start = ground.number(None)
    assert ground.next(start, 0) == ground.next(start, 1) == start
    read = ground.next(start, 2)
    assert read != start
    assert ground.states[read].forgotten == start
    assert ground.states[start].forgotten == start


def test_an_answer_the_state_does_not_give_is_refused() -> None:
    """Only the state that answers as recorded goes on; those that go on unchanged are found together."""
    ground = Ground(
        [_op("write", 1, 0, 1), _op("read", 1, 2, 3), _op("read", 2, 4, 5), _op("write", 2, 6, 7)], REGISTER
    )
    one = ground.next(ground.number(None), 0)
    assert ground.next(one, 2) == REFUSED
    assert ground.next(one, 1) == one
    assert ground.staying(one, 0b0110) == 0b0010
    assert ground.staying(one, 0b0111) == 0b0011


@pytest.mark.parametrize(("mask", "numbers"), [(0, []), (0b1011, [0, 1, 3]), (1 << 90, [90])])
def test_bits_are_named_from_the_lowest(mask: int, numbers: list[int]) -> None:
    """Masks of any size are taken apart."""
    assert list(bits(mask)) == numbers
