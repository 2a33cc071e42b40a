r"""Patterns as KEYS, SCAN and CONFIG GET take them: `*`, `?`, `[a-c]`, `[^a]`, and `\` before what is meant literally.

A pattern is cut at its stars into pieces of fixed length, and each piece is looked for where the last one ended: time
grows with pattern × text at most, whatever the pattern (`a*a*a*a*b` is no trap).
"""

import re
from collections.abc import Callable

__all__ = ["compile_glob"]

_ANY = rb"[\x00-\xff]"
_NONE = rb"(?!)"


def compile_glob(pattern: bytes) -> Callable[[bytes], bool]:
    """Return a function that says whether a text matches `pattern` as a whole."""
    if pattern == b"*":
        return lambda _text: True
    pieces = [re.compile(b"".join(piece)) for piece in _pieces(pattern)]
    if len(pieces) == 1:
        only = pieces[0]
        return lambda text: only.fullmatch(text) is not None
    first, *middle, last = pieces
    last_length = len(_pieces(pattern)[-1])

    def matches(text: bytes) -> bool:
        found = first.match(text)
        if found is None:
            return False
        position = found.end()
        for piece in middle:
            found = piece.search(text, position)
            if found is None:
                return False
            position = found.end()
        tail = len(text) - last_length
        return tail >= position and last.fullmatch(text, tail) is not None

    return matches


def _pieces(pattern: bytes) -> list[list[bytes]]:
    """Return the regular expressions of single characters between the stars."""
    pieces: list[list[bytes]] = [[]]
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
            pieces[-1].append(rb"\x%02x" % character)
    return pieces


def _character_class(pattern: bytes, position: int) -> tuple[int, bytes]:
    """Read from behind `[` to behind `]`, or to the end if it is missing; `[]` matches nothing, `[^]` anything."""
    end = len(pattern)
    negated = pattern.startswith(b"^", position)
    position += negated
    members: set[int] = set()
    while position < end:
        character = pattern[position]
        if character == 0x5C and position + 1 < end:  # \
            position += 1
            members.add(pattern[position])
        elif character == 0x5D:  # ]
            position += 1
            break
        elif position + 2 < end and pattern[position + 1] == 0x2D:  # -
            low, high = sorted((character, pattern[position + 2]))
            members.update(range(low, high + 1))
            position += 2
        else:
            members.add(character)
        position += 1
    if negated:
        members = set(range(256)) - members
    if not members:
        return position, _NONE
    return position, b"[" + b"".join([rb"\x%02x" % member for member in sorted(members)]) + b"]"
