"""Commands that say how many keys they name: `numkeys key [key ...]`."""

from collections.abc import Mapping

from raftline.kv.commands.arguments import SYNTAX_ERROR, require_at_least
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.resp.replies import error

__all__ = ["keys_after", "keys_of_card", "keys_to_pop"]

_TOO_MANY = error("ERR Number of keys can't be greater than number of args")


def keys_after(args: Arguments, position: int) -> tuple[Arguments, Arguments]:
    """Return the keys whose number stands at `position`, and what follows them; raises `Refused`."""
    count = require_at_least(args[position], 1, "numkeys should be greater than 0")
    end = position + 1 + count
    if end > len(args):
        raise Refused(SYNTAX_ERROR)
    return args[position + 1 : end], args[end:]


def keys_to_pop(args: Arguments, ends: Mapping[bytes, bool]) -> tuple[Arguments, bool, int]:
    """Return the keys of LMPOP or ZMPOP, what `ends` says of the named end, and the COUNT, 1 if there is none.

    Raises `Refused`.
    """
    keys, rest = keys_after(args, 1)
    if not rest or rest[0].upper() not in ends:
        raise Refused(SYNTAX_ERROR)
    count = 1
    if len(rest) > 1:
        if len(rest) == 2 or rest[1].upper() != b"COUNT":
            raise Refused(SYNTAX_ERROR)
        count = require_at_least(rest[2], 1, "count should be greater than 0")
        if len(rest) > 3:
            raise Refused(SYNTAX_ERROR)
    return keys, ends[rest[0].upper()], count


def keys_of_card(args: Arguments) -> tuple[Arguments, int]:
    """Return the keys of SINTERCARD or ZINTERCARD and the LIMIT, 0 if there is none; raises `Refused`."""
    count = require_at_least(args[1], 1, "numkeys should be greater than 0")
    if count > len(args) - 2:
        raise Refused(_TOO_MANY)
    limit = 0
    for position in range(2 + count, len(args), 2):
        if args[position].upper() != b"LIMIT" or position + 1 == len(args):
            raise Refused(SYNTAX_ERROR)
        limit = require_at_least(args[position + 1], 0, "LIMIT can't be negative")
    return args[2 : 2 + count], limit
