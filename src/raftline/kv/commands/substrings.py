"""Parts of strings: GETRANGE and SETRANGE, and what two strings have in common (LCS)."""

from collections.abc import Iterator

import msgspec

from raftline.kv.commands.arguments import SYNTAX_ERROR, require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.strings import STRING_BYTES_MAX, TOO_LARGE
from raftline.kv.commands.typed import existing, viewed
from raftline.kv.resp.replies import EMPTY_BULK, ZERO, array, bulk, error, integer, mapping
from raftline.kv.store import Store

__all__ = ["LCS_CELLS_MAX", "getrange", "lcs", "setrange"]

LCS_CELLS_MAX = 1 << 20
"""Product of the lengths of two strings that LCS compares, at most: it takes about 0.1 µs for each."""

_NEGATIVE_OFFSET = error("ERR offset is out of range")
_NO_STRINGS = error("ERR The specified keys must contain string values")
_LENGTH_AND_PLACES = error("ERR If you want both the length and indexes, please just use IDX.")
_TOO_LONG = error(f"ERR the product of the strings' lengths is above {LCS_CELLS_MAX}")


def getrange(store: Store, args: Arguments, now_ms: int) -> bytes:
    """GETRANGE key first last, and SUBSTR."""
    first, last = require_integer(args[2]), require_integer(args[3])
    text = viewed(store, args[1], now_ms, bytes)
    if not text or (first < 0 and last < 0 and first > last):
        return EMPTY_BULK
    start = max(0, first + len(text)) if first < 0 else first
    end = max(0, last + len(text)) if last < 0 else last
    return bulk(text[start : end + 1])


def setrange(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """SETRANGE key offset value."""
    key, offset, value = args[1], require_integer(args[2]), args[3]
    if offset < 0:
        return _NEGATIVE_OFFSET
    old = existing(store, key, bytes)
    if not value:
        return ZERO if old is None else integer(len(old))
    if offset + len(value) > STRING_BYTES_MAX:
        return TOO_LARGE
    if old is None:
        new = bytes(offset) + value if offset else value
        store.put(key, new)
    else:
        new = old[:offset].ljust(offset, b"\0") + value + old[offset + len(value) :]
        store.replace(key, new)
    return integer(len(new))


class _Wish(msgspec.Struct, frozen=True):
    """What LCS was told."""

    length: bool = False
    places: bool = False
    match_lengths: bool = False
    match_length_min: int = 0


def lcs(store: Store, args: Arguments, now_ms: int) -> bytes:
    """LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]."""
    first, second = store.read(args[1], now_ms), store.read(args[2], now_ms)
    if not isinstance(first, bytes | None) or not isinstance(second, bytes | None):
        return _NO_STRINGS
    wish = _parse(args)
    first, second = first or b"", second or b""
    if len(first) * len(second) > LCS_CELLS_MAX:
        return _TOO_LONG
    lengths = _lengths(first, second)
    if wish.length:
        return integer(lengths[-1][-1])
    matches = list(_matches(first, second, lengths))
    if not wish.places:
        return bulk(b"".join(first[start : start + length] for start, _, length in reversed(matches)))
    shown = []
    for start, other, length in matches:
        if length >= wish.match_length_min:
            place = array([integer(start), integer(start + length - 1)])
            other_place = array([integer(other), integer(other + length - 1)])
            shown.append(array([place, other_place, *([integer(length)] if wish.match_lengths else [])]))
    return mapping([(bulk(b"matches"), array(shown)), (bulk(b"len"), integer(lengths[-1][-1]))])


def _parse(args: Arguments) -> _Wish:
    length = places = match_lengths = False
    match_length_min = 0
    position = 3
    while position < len(args):
        option = args[position].upper()
        if option == b"LEN":
            length = True
        elif option == b"IDX":
            places = True
        elif option == b"WITHMATCHLEN":
            match_lengths = True
        elif option == b"MINMATCHLEN" and position + 1 < len(args):
            position += 1
            match_length_min = require_integer(args[position])
        else:
            raise Refused(SYNTAX_ERROR)
        position += 1
    if length and places:
        raise Refused(_LENGTH_AND_PLACES)
    return _Wish(length, places, match_lengths, match_length_min)


def _lengths(first: bytes, second: bytes) -> list[list[int]]:
    """Return, for all i and j, the length of what the first i and the first j bytes have in common."""
    row = [0] * (len(second) + 1)
    rows = [row]
    for byte in first:
        above, row = row, [0]
        left = 0
        for other, diagonal, upper in zip(second, above, above[1:], strict=False):
            left = diagonal + 1 if byte == other else max(upper, left)
            row.append(left)
        rows.append(row)
    return rows


def _matches(first: bytes, second: bytes, lengths: list[list[int]]) -> Iterator[tuple[int, int, int]]:
    """Yield what is common from the end on: its place in both strings and its length."""
    i, j, length = len(first), len(second), 0
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j, length = i - 1, j - 1, length + 1
            continue
        if length:
            yield i, j, length
            length = 0
        if lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    if length:
        yield i, j, length
