r"""Patterns as KEYS, SCAN and CONFIG GET take them: `*`, `?`, `[a-c]`, `[^a]`, and `\` before what is meant literally.

A pattern is cut at its stars into pieces of fixed length, and each piece is looked for where the last one ended: time
grows with pattern × text at most, whatever the pattern (`a*a*a*a*b` is no trap). Pieces that stand for themselves are
compared as bytes; of any other a regular expression is made once a text is long enough for the whole pattern.
"""

import re
from collections.abc import Callable
from functools import cached_property
from typing import Final, TypeAlias

__all__ = ["PATTERN_BYTES_MAX", "TOO_LONG", "compile_glob"]

PATTERN_BYTES_MAX: Final = 1 << 10
"""Longest pattern that a client may give; the log may have longer ones, of servers that took any."""
TOO_LONG: Final = f"a pattern of {{}} bytes is above the limit of {PATTERN_BYTES_MAX}"

_ANY = b"."
_NONE = b"(?!)"

Character: TypeAlias = int | bytes
"""A byte, or the regular expression of those that may stand in its place."""


class _Literal:
    """A piece that stands for itself."""

    def __init__(self, characters: bytes) -> None:
        self.characters = characters

    def is_at(self, text: bytes, position: int) -> bool:
        """Say whether a text goes on with this piece."""
        return text.startswith(self.characters, position)

    def find(self, text: bytes, position: int) -> int:
        """Return where it next does, -1 if nowhere."""
        return text.find(self.characters, position)


class _Shape:
    """A piece with `?` or classes in it."""

    def __init__(self, characters: list[Character]) -> None:
        self.characters = characters

    @cached_property
    def _expression(self) -> re.Pattern[bytes]:
        parts = [each if isinstance(each, bytes) else rb"\x%02x" % each for each in self.characters]
        return re.compile(b"".join(parts), re.DOTALL)

    def is_at(self, text: bytes, position: int) -> bool:
        """Say whether a text goes on with this piece."""
        return self._expression.match(text, position) is not None

    def find(self, text: bytes, position: int) -> int:
        """Return where it next does, -1 if nowhere."""
        found = self._expression.search(text, position)
        return -1 if found is None else found.start()


def compile_glob(pattern: bytes) -> Callable[[bytes], bool]:
    """Return a function that says whether a text matches `pattern` as a whole."""
    first, *others = [_piece(characters) for characters in _between_stars(pattern)]
    first_length = len(first.characters)
    if not others:
        return lambda text: len(text) == first_length and first.is_at(text, 0)
    last = others.pop()
    last_length = len(last.characters)
    middle = [(piece, len(piece.characters)) for piece in others if piece.characters]
    length_min = first_length + sum(length for _, length in middle) + last_length
    if not middle and isinstance(first, _Literal) and isinstance(last, _Literal):
        begin, end = first.characters, last.characters
        return lambda text: text.startswith(begin) and text.endswith(end) and len(text) >= length_min
    if len(middle) == 1 and not first_length and not last_length and isinstance(middle[0][0], _Literal):
        within = middle[0][0].characters
        return lambda text: within in text

    def matches(text: bytes) -> bool:
        tail = len(text) - last_length
        if len(text) < length_min or not first.is_at(text, 0) or not last.is_at(text, tail):
            return False
        position = first_length
        for piece, length in middle:
            position = piece.find(text, position)
            if position < 0:
                return False
            position += length
        return position <= tail

    return matches


def _piece(characters: list[Character]) -> _Literal | _Shape:
    literal = [each for each in characters if isinstance(each, int)]
    return _Literal(bytes(literal)) if len(literal) == len(characters) else _Shape(characters)


def _between_stars(pattern: bytes) -> list[list[Character]]:
    """Return the characters of each piece."""
    pieces: list[list[Character]] = [[]]
    position, end = 0, len(pattern)
    while position < end:
        character = pattern[position]
        position += 1
        if character == 0x2A:  # *
            pieces.append([])
        elif character == 0x3F:  # ?
            pieces[-1].append(_ANY)
        elif character == 0x5B:  # [
            position, members = _character_class(pattern, position)
            pieces[-1].append(members)
        else:
            if character == 0x5C and position < end:  # \
                character = pattern[position]
                position += 1
            pieces[-1].append(character)
    return pieces


def _character_class(pattern: bytes, position: int) -> tuple[int, Character]:
    """Read from behind `[` to behind `]`, or to the end if it is missing; `[]` matches nothing, `[^]` anything."""
    end = len(pattern)
    negated = pattern.startswith(b"^", position)
    position += negated
    ranges: set[tuple[int, int]] = set()
    while position < end:
        low = high = pattern[position]
        if low == 0x5C and position + 1 < end:  # \
            position += 1
            low = high = pattern[position]
        elif low == 0x5D:  # ]
            position += 1
            break
        elif position + 2 < end and pattern[position + 1] == 0x2D:  # -
            low, high = sorted((low, pattern[position + 2]))
            position += 2
        ranges.add((low, high))
        position += 1
    if not ranges:
        return position, _ANY if negated else _NONE
    ordered = sorted(ranges)
    first, last = ordered[0][0], ordered[-1][1]
    if first == last and not negated:
        return position, first
    members = b"".join([rb"\x%02x-\x%02x" % each for each in ordered])
    return position, (b"[^" if negated else b"[") + members + b"]"
