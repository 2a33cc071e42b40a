"""The arguments and replies of the SCAN family: a cursor in, some members and the next cursor out."""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from raftline.kv.commands.arguments import SYNTAX_ERROR, require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.glob import compile_glob
from raftline.kv.resp.replies import EMPTY_ARRAY, array, bulk, bulk_array, error
from raftline.kv.values.table import Table

__all__ = ["COUNT_MAX", "ScanOptions", "parse_cursor", "parse_scan_options", "scan_reply"]

V = TypeVar("V")

_INVALID_CURSOR = error("ERR invalid cursor")
_CURSOR = re.compile(rb"|[+-]?[0-9]{1,20}")
_CURSOR_MAX = 2**64
_COUNT = 10
COUNT_MAX = 10_000
_AT_THE_END = bulk(b"0")


class ScanOptions(msgspec.Struct, frozen=True):
    """What a walk was told: about how many at a time, and which of them."""

    count: int = _COUNT
    pattern: bytes | None = None
    type_name: bytes | None = None


def parse_cursor(text: bytes) -> int:
    """Read what a walk gave out; any other number is a place somewhere, or behind the end, which is no error."""
    digits = text.partition(b"\0")[0]
    if not _CURSOR.fullmatch(digits) or abs(int(digits or b"0")) >= _CURSOR_MAX:
        raise Refused(_INVALID_CURSOR)
    return int(digits or b"0") % _CURSOR_MAX


def parse_scan_options(args: Arguments, start: int, *, has_type: bool) -> ScanOptions:
    """Read MATCH, COUNT and, of SCAN only, TYPE; raises `Refused`."""
    count, pattern, type_name = _COUNT, None, None
    for position in range(start, len(args), 2):
        option = args[position].upper()
        if position + 1 == len(args):
            raise Refused(SYNTAX_ERROR)
        value = args[position + 1]
        if option == b"MATCH":
            pattern = value
        elif option == b"TYPE" and has_type:
            type_name = value.lower()
        elif option == b"COUNT":
            count = require_integer(value)
            if count < 1:
                raise Refused(SYNTAX_ERROR)
        else:
            raise Refused(SYNTAX_ERROR)
    return ScanOptions(min(count, COUNT_MAX), pattern, type_name)


def scan_reply(
    args: Arguments, find: Callable[[], Table[V] | None], shown: Callable[[bytes, V], tuple[bytes, ...]]
) -> bytes:
    """Answer HSCAN, SSCAN or ZSCAN; `find` returns the table or refuses, `shown` what stands for a member."""
    cursor = parse_cursor(args[2])
    table = find()
    if table is None:
        return array([_AT_THE_END, EMPTY_ARRAY])
    options = parse_scan_options(args, 3, has_type=False)
    following, found = table.scan(cursor, options.count)
    if options.pattern is not None:
        matches = compile_glob(options.pattern)
        found = [pair for pair in found if matches(pair[0])]
    texts = [text for member, value in found for text in shown(member, value)]
    return array([bulk(b"%d" % following), bulk_array(texts)])
