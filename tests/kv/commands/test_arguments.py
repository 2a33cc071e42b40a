"""How arguments are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.kv.commands.arguments import INTEGER_MAX, INTEGER_MIN, deadline_of, parse_integer, require_integer
from raftline.kv.commands.command import Refused


@given(st.integers())
def test_integers_of_64_bits_are_read(number: int) -> None:
    """What Redis would write is read, what does not fit is none."""
    assert parse_integer(b"%d" % number) == (number if INTEGER_MIN <= number <= INTEGER_MAX else None)


@given(st.binary(max_size=25))
def test_anything_else_is_none(text: bytes) -> None:
    """Only the one way of writing a number counts: no blanks, zeros in front, plus signs or underscores."""
    number = parse_integer(text)
    assert number is None or b"%d" % number == text


@pytest.mark.parametrize("text", [b"", b" 1", b"1 ", b"+1", b"01", b"-0", b"1_000", b"0x10", b"1.0", b"\xd9\xa1"])
def test_what_python_would_read_is_not_enough(text: bytes) -> None:
    """The refusal has Redis's words."""
    with pytest.raises(Refused) as refused:
        require_integer(text)
    assert refused.value.reply == b"-ERR value is not an integer or out of range\r\n"


@pytest.mark.parametrize(
    ("amount", "unit_ms", "base_ms", "deadline_ms"),
    [(5, 1000, 100, 5100), (5, 1, 0, 5), (-5, 1000, 0, -5000), (INTEGER_MAX, 1, 0, INTEGER_MAX)],
)
def test_deadlines_are_computed(amount: int, unit_ms: int, base_ms: int, deadline_ms: int) -> None:
    """Amount times unit, from the base."""
    assert deadline_of(amount, unit_ms, base_ms, "expire") == deadline_ms


@pytest.mark.parametrize(
    ("amount", "unit_ms", "base_ms"), [(INTEGER_MAX, 1000, 0), (INTEGER_MAX, 1, 1), (INTEGER_MIN, 1000, 5)]
)
def test_deadlines_that_overflow_are_refused(amount: int, unit_ms: int, base_ms: int) -> None:
    """The refusal names the command."""
    with pytest.raises(Refused, match="invalid expire time in 'expire' command"):
        deadline_of(amount, unit_ms, base_ms, "expire")
