"""How arguments are read, in all commands alike: integers, times, options; refusals in the words of Redis."""

from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.resp.replies import error

__all__ = [
    "DRAWS_MAX",
    "INTEGER_MAX",
    "INTEGER_MIN",
    "NOT_AN_INTEGER",
    "SYNTAX_ERROR",
    "deadline_of",
    "invalid_expire_time",
    "parse_integer",
    "require_at_least",
    "require_draws",
    "require_in_range",
    "require_integer",
    "require_positive",
]

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
NOT_AN_INTEGER = error("ERR value is not an integer or out of range")
SYNTAX_ERROR = error("ERR syntax error")

_DIGITS_MAX = 20
_DIGITS_SMALL = 19
_ZERO = ord("0")
_SMALL = {b"%d" % number: number for number in range(1024)}
"""Offsets, counts and seconds mostly are: reading a number takes as long as looking up a key."""
DRAWS_MAX = 1 << 16
"""Members that one command draws with repetition, at most."""
_OUT_OF_RANGE = error("ERR value is out of range")
_TOO_MANY_DRAWS = error(f"ERR at most {DRAWS_MAX} members can be drawn at a time")


def parse_integer(text: bytes) -> int | None:
    """Return the signed 64-bit integer that `text` is, written as Redis would write it, else None."""
    small = _SMALL.get(text)
    if small is not None:
        return small
    if len(text) < _DIGITS_SMALL and text.isdigit() and (text[0] != _ZERO or len(text) == 1):
        return int(text)
    if not 0 < len(text) <= _DIGITS_MAX:
        return None
    try:
        number = int(text)
    except ValueError:
        return None
    if INTEGER_MIN <= number <= INTEGER_MAX and b"%d" % number == text:
        return number
    return None


def require_integer(text: bytes) -> int:
    """Return the integer; raises `Refused`."""
    number = parse_integer(text)
    if number is None:
        raise Refused(NOT_AN_INTEGER)
    return number


def require_in_range(text: bytes, low: int, high: int) -> int:
    """Return the integer, which has to be in [low, high]; raises `Refused`."""
    number = require_integer(text)
    if not low <= number <= high:
        raise Refused(error(f"ERR value is out of range, value must between {low} and {high}"))
    return number


def require_at_least(text: bytes, low: int, words: str) -> int:
    """Return the integer, which has to be at least `low`; raises `Refused` with these words."""
    number = parse_integer(text)
    if number is None or number < low:
        raise Refused(error(f"ERR {words}"))
    return number


def require_positive(text: bytes) -> int:
    """Return the integer, which must not be negative; raises `Refused`."""
    return require_at_least(text, 0, "value is out of range, must be positive")


def require_draws(args: Arguments, option: bytes) -> tuple[int, bool]:
    """Return how many members are to be drawn, negative if they may repeat, and whether `option` follows.

    Raises `Refused`.
    """
    count = require_in_range(args[2], -INTEGER_MAX, INTEGER_MAX)
    if len(args) > 4 or (len(args) == 4 and args[3].upper() != option):
        raise Refused(SYNTAX_ERROR)
    if len(args) == 4 and abs(count) > INTEGER_MAX // 2:
        raise Refused(_OUT_OF_RANGE)
    if count < -DRAWS_MAX:
        raise Refused(_TOO_MANY_DRAWS)
    return count, len(args) == 4


def invalid_expire_time(command: str) -> Refused:
    """Return the refusal of a time that cannot be."""
    return Refused(error(f"ERR invalid expire time in '{command}' command"))


def deadline_of(amount: int, unit_ms: int, base_ms: int, command: str) -> int:
    """Return `base_ms + amount * unit_ms`; raises `Refused` if that is no 64-bit number of milliseconds.

    `unit_ms` is 1000 for seconds, else 1; `base_ms` is 0 for a time since 1970.
    """
    deadline_ms = amount * unit_ms
    if not INTEGER_MIN <= deadline_ms <= INTEGER_MAX - base_ms:
        raise invalid_expire_time(command)
    return base_ms + deadline_ms
