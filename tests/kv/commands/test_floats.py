"""Numbers with a fraction: read as C reads them, added as x86 adds in 80 bits, written as Redis writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.kv.commands.floats import LongDouble, parse_bound, parse_double

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"1.5", 1.5),
        (b"-.5", -0.5),
        (b"5.", 5.0),
        (b"+1e3", 1000.0),
        (b"0x1p-1", 0.5),
        (b"-InFinity", -INFINITE),
        (b"0e999", 0.0),
        (b"1e400", None),
        (b"1e-400", None),
        (b"0x1p99999", None),
        (b"nan", None),
        (b" 1", None),
        (b"1 ", None),
        (b"1_0", None),
        (b".", None),
        (b"", None),
        (b"1\x00", None),
        ("١".encode(), None),
    ],
)
def test_scores_are_read_as_c_reads_them(text: bytes, number: float | None) -> None:
    """What is no number, or beyond what there is, is refused."""
    assert parse_double(text) == number


def test_ends_of_ranges_are_read_more_generously() -> None:
    """Blanks may come first, nothing is 0, too much is infinite."""
    found = [
        parse_bound(text) for text in (b"", b" 1", b"1e400", b"-1e400", b"1\x00x", b"x", b" ", b"nan", b"0x1p9999")
    ]
    assert found == [0.0, 1.0, INFINITE, -INFINITE, 1.0, None, None, None, INFINITE]


def total(*texts: bytes) -> bytes:
    """Return the sum of texts as it is stored."""
    found = LongDouble.zero()
    for text in texts:
        number = LongDouble.parse(text)
        assert number is not None
        found += number
    return found.human()


@pytest.mark.parametrize(
    ("texts", "stored"),
    [
        ((b"0.1", b"0.2"), b"0.3"),
        ((b"3.0",), b"3"),
        ((b"5.0e3", b"200"), b"5200"),
        ((b"-0",), b"0"),
        ((b"1e-20",), b"0"),
        ((b"-1.5", b"1"), b"-0.5"),
        ((b"123456789.123456789",), b"123456789.12345678899873747"),
        ((b"18446744073709551617", b"0"), b"18446744073709551616"),
        ((b"1e30",), b"1000000000000000000024696061952"),
    ],
)
def test_sums_have_64_bits_of_mantissa(texts: tuple[bytes, ...], stored: bytes) -> None:
    """The results are those that Redis gives on x86."""
    assert total(*texts) == stored


@pytest.mark.parametrize("text", [b"1" * 300_000 + b"x", b"0x" + b"1" * 300_000 + b"x", b"." + b"1" * 300_000 + b"e"])
def test_what_is_no_number_is_known_after_one_look(text: bytes) -> None:
    """However long it is: it may stand in the log, where every replica reads it, and again at each start."""
    assert parse_double(text) is None
    assert LongDouble.parse(text) is None


def test_what_is_too_large_is_refused_at_once() -> None:
    """No text takes long to read, whatever its exponent says."""
    texts = (b"1e999999999999", b"1e-999999999999", b"1e5000", b"1e-5000", b"9" * 6000, b"0x1p999999999", b"nan")
    assert [LongDouble.parse(text) for text in texts] == [None] * len(texts)
    assert total(b"0e999999999999") == b"0"
    assert total(b"100e00000000000000000", b"1e0000000001", b"0x1p0000000000001") == b"112"
    assert total(b"1e-00000000000002", b"1e3") == b"1000.01000000000000001"
    assert total(b"1" + b"0" * 4900) == total(b"1e4900")
    assert len(total(b"1e4900")) == 4901
    largest = LongDouble.parse(b"1.18e4932")
    assert largest is not None
    assert largest.is_finite
    assert not (largest + largest).is_finite
    infinite = LongDouble.parse(b"-inf")
    assert infinite is not None
    assert not infinite.is_finite
    assert not (infinite + largest).is_finite


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_every_ordinary_float_is_a_long_double(number: float) -> None:
    """A 64-bit float has a long double of the same value, written with up to 17 digits behind the point."""
    found = LongDouble.parse(repr(number).encode())
    assert found is not None
    assert abs(float(found.human()) - number) <= 1e-17
