"""Numbers with a fraction, as Redis reads, adds and writes them, on every machine alike.

Scores are 64-bit floats. INCRBYFLOAT and HINCRBYFLOAT add as x86 does in 80 bits, with 64 bits of mantissa; they are
calculated exactly here and rounded once, so that replicas agree whatever their processor.
"""

import math
import re
from decimal import Decimal
from fractions import Fraction

from raftline.kv.commands.command import Refused
from raftline.kv.resp.replies import error

__all__ = ["NOT_A_FLOAT", "LongDouble", "parse_bound", "parse_double", "require_double", "require_long_double"]

NOT_A_FLOAT = error("ERR value is not a valid float")

# No two parts can take the same digits: else a long text with a wrong end would be tried again at every digit.
_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(rb"[+-]?0[xX](?:[0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?|\.[0-9a-fA-F]+)(?:[pP][+-]?0*[0-9]{1,9})?")
_INFINITY = re.compile(rb"([+-]?)inf(?:inity)?", re.IGNORECASE)
_TEXT_BYTES_MAX = 5 * 1024 - 1

_MANTISSA_BITS = 64
_EXPONENT_MAX = 16_384
_SHIFT_MAX = 16_445
"""Bits behind the point of the smallest number above 0."""
_ADJUSTED_MAX = 4_940
"""Decimal exponents beyond this are infinite, or 0, in any case."""
_DECIMALS = 17


def parse_double(text: bytes) -> float | None:
    """Return the 64-bit float that `text` is, as C reads it; None if it is none, NaN, or beyond what there is."""
    if _DECIMAL.fullmatch(text):
        number = float(text)
        if math.isinf(number) or (number == 0 and _has_digits(text)):
            return None
        return number
    if found := _INFINITY.fullmatch(text):
        return -math.inf if found[1] == b"-" else math.inf
    if _HEXADECIMAL.fullmatch(text):
        number = _from_hexadecimal(text)
        return None if math.isinf(number) else number
    return None


def parse_bound(text: bytes) -> float | None:
    """Return the end of a range of scores: what C reads where blanks may come first and nothing at all is 0."""
    text = text.partition(b"\0")[0]
    number = text.lstrip(b" \t\n\v\f\r")
    if not text:
        return 0.0
    if _DECIMAL.fullmatch(number):
        return float(number)
    if _HEXADECIMAL.fullmatch(number):
        return _from_hexadecimal(number)
    return parse_double(number)


def require_double(text: bytes) -> float:
    """Return the float; raises `Refused`."""
    number = parse_double(text)
    if number is None:
        raise Refused(NOT_A_FLOAT)
    return number


def _from_hexadecimal(text: bytes) -> float:
    try:
        return float.fromhex(text.decode())
    except OverflowError:
        return -math.inf if text.startswith(b"-") else math.inf


def _has_digits(text: bytes) -> bool:
    """Say whether the mantissa is not 0."""
    return bool(re.split(rb"[eE]", text)[0].strip(b"+-0."))


class LongDouble:
    """A number of 64 bits of mantissa, or one that is infinite."""

    __slots__ = ("_value",)

    def __init__(self, value: Fraction | float) -> None:
        self._value = value

    @classmethod
    def zero(cls) -> "LongDouble":
        """Return 0."""
        return cls(Fraction(0))

    @classmethod
    def parse(cls, text: bytes) -> "LongDouble | None":
        """Return the number that `text` is, None if it is none, NaN, or beyond what there is."""
        if len(text) > _TEXT_BYTES_MAX:
            return None
        if found := _INFINITY.fullmatch(text):
            return cls(-math.inf if found[1] == b"-" else math.inf)
        exact: Fraction | None = None
        if _DECIMAL.fullmatch(text):
            exact = _decimal(text)
        elif _HEXADECIMAL.fullmatch(text):
            exact = _hexadecimal(text)
        if exact is None:
            return None
        rounded = _rounded(exact)
        if isinstance(rounded, float) or (exact and not rounded):
            return None
        return cls(rounded)

    @property
    def is_finite(self) -> bool:
        """Say whether it is a number that can be written down."""
        return isinstance(self._value, Fraction)

    def __add__(self, other: "LongDouble") -> "LongDouble":
        if isinstance(self._value, Fraction) and isinstance(other._value, Fraction):
            return LongDouble(_rounded(self._value + other._value))
        return LongDouble(math.nan if self._value == -other._value else math.inf)

    def human(self) -> bytes:
        """Return up to 17 digits behind the point, without zeros at the end; the number is finite."""
        assert isinstance(self._value, Fraction), "only finite numbers are stored"
        units = round(self._value * 10**_DECIMALS)
        text = format(Decimal(abs(units)), "f").rjust(_DECIMALS + 1, "0")
        text = f"{text[:-_DECIMALS]}.{text[-_DECIMALS:]}".rstrip("0").rstrip(".")
        return ("-" + text if units < 0 else text).encode()


def require_long_double(text: bytes) -> LongDouble:
    """Return the number; raises `Refused`."""
    number = LongDouble.parse(text)
    if number is None:
        raise Refused(NOT_A_FLOAT)
    return number


def _decimal(text: bytes) -> Fraction | None:
    mantissa, _, exponent = text.lower().partition(b"e")
    if len(exponent.lstrip(b"+-").lstrip(b"0")) > 9:
        return Fraction(0) if not _has_digits(text) else None
    number = Decimal(text.decode())
    if number and abs(number.adjusted()) > _ADJUSTED_MAX + len(mantissa):
        return None
    return Fraction(number) if number else Fraction(0)


def _hexadecimal(text: bytes) -> Fraction | None:
    digits, _, exponent_text = text.lower().partition(b"p")
    whole, _, behind = digits.lstrip(b"+-")[2:].partition(b".")
    exponent = int(exponent_text or b"0")
    if abs(exponent) > 4 * _SHIFT_MAX:
        return None
    number = Fraction(int(whole + behind, 16), 16 ** len(behind)) * Fraction(2) ** exponent
    return -number if text.startswith(b"-") else number


def _rounded(exact: Fraction) -> Fraction | float:
    """Return the nearest number of 64 bits of mantissa, the even one of two; infinity beyond the largest."""
    if not exact:
        return exact
    numerator, denominator = abs(exact.numerator), exact.denominator
    shift = _MANTISSA_BITS - (numerator.bit_length() - denominator.bit_length())
    if _scaled(numerator, denominator, shift) >> _MANTISSA_BITS:
        shift -= 1
    shift = min(shift, _SHIFT_MAX)
    unit = Fraction(1, 1 << shift) if shift >= 0 else Fraction(1 << -shift)
    mantissa = round(Fraction(numerator, denominator) / unit)
    if mantissa.bit_length() - shift > _EXPONENT_MAX:
        return math.inf
    return mantissa * unit if exact > 0 else -mantissa * unit


def _scaled(numerator: int, denominator: int, shift: int) -> int:
    return (numerator << shift) // denominator if shift >= 0 else numerator // (denominator << -shift)
