"""The line form of a request, as a person types it into telnet: words, some of them quoted as in a shell."""

import re

__all__ = ["split_inline"]

_SPACE = b" \t\n\v\f\r"
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
_HEX = re.compile(rb"x([0-9a-fA-F]{2})")


def split_inline(line: bytes) -> list[bytes] | None:
    r"""Return the words of `line`, or None if a quote is not closed, or not followed by a blank.

    Double quotes know `\n \r \t \b \a \xHH`, single quotes only `\'`.
    """
    words: list[bytes] = []
    position, end = 0, len(line)
    while True:
        while position < end and line[position] in _SPACE:
            position += 1
        if position == end:
            return words
        word = bytearray()
        while position < end and line[position] not in _SPACE:
            character = line[position : position + 1]
            position += 1
            if character not in {b'"', b"'"}:
                word += character
                continue
            closed = (_double_quoted if character == b'"' else _single_quoted)(line, position, word)
            if closed is None or (closed < end and line[closed] not in _SPACE):
                return None
            position = closed
            break
        words.append(bytes(word))


def _double_quoted(line: bytes, position: int, word: bytearray) -> int | None:
    """Append what stands between double quotes; return where the line goes on, None if they are not closed."""
    while position < len(line):
        character = line[position : position + 1]
        position += 1
        if character == b'"':
            return position
        if character != b"\\" or position == len(line):
            word += character
        elif hexadecimal := _HEX.match(line, position):
            word.append(int(hexadecimal[1], 16))
            position = hexadecimal.end()
        else:
            escaped = line[position : position + 1]
            word += _ESCAPES.get(escaped, escaped)
            position += 1
    return None


def _single_quoted(line: bytes, position: int, word: bytearray) -> int | None:
    while position < len(line):
        character = line[position : position + 1]
        if character == b"'":
            return position + 1
        if line.startswith(b"\\'", position):
            character = b"'"
            position += 1
        word += character
        position += 1
    return None
