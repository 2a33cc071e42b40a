"""Which commands go where in a sharded store: to the slot of their keys, to all groups, or to this node's first group.

Keys that one command names have to be in one slot, as in Redis Cluster; so have all keys of a transaction.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from raftline.kv.commands.arguments import parse_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.lookup import MESSAGE_NAMES
from raftline.kv.commands.table import COMMANDS
from raftline.kv.commands.transactions import decode_watched, encode_watched
from raftline.kv.plans import Plan
from raftline.kv.proposals import encode_command
from raftline.kv.resp.replies import error
from raftline.kv.sharded.all_keys import cursor_of
from raftline.kv.sharded.machine import keys_of
from raftline.kv.slots import SLOT_COUNT, slot_of

__all__ = [
    "ALL_GROUPS",
    "CROSS_SLOT",
    "NOT_HERE",
    "NOT_IN_SESSION",
    "ONE_KEY",
    "WALKS",
    "Bundle",
    "bundle_of",
    "out_of_date",
    "slot_of_command",
]

CROSS_SLOT: Final = error("CROSSSLOT Keys in request don't hash to the same slot")

ALL_GROUPS: Final = frozenset({"keys", "dbsize", "randomkey", "flushall", "flushdb"})
"""Commands about all keys, carried out at every group."""

WALKS: Final = frozenset({"scan", "raftline.lock|list"})
"""Walks over all keys, slot by slot."""

_EVERYWHERE: Final = frozenset({"spublish", "ssubscribe", "sunsubscribe"})
"""Channels are those of all nodes, whatever slot their names would be in."""

_SORTS: Final = frozenset({"sort", "sort_ro"})

ONE_KEY: Final = frozenset(
    row.name
    for command in COMMANDS.values()
    for row in (command, *command.subcommands)
    if row.keys == (1, 1, 1)
    and not (row.numkeys or row.destination_option or row.name in _EVERYWHERE or row.name in _SORTS)
)
"""Commands whose first argument is their only key."""

_BY_NUMBER: Final = frozenset({"cluster|countkeysinslot", "cluster|getkeysinslot"})
"""Commands that name a slot."""

NOT_HERE: Final = {
    name: error(f"ERR {name.upper().replace('|', ' ')} {why}")
    for name, why in {
        "raftline.backup|begin": "would hold one group only: a sharded store is not backed up in one piece",
    }.items()
}
"""What a sharded store refuses."""

NOT_IN_SESSION: Final = error("ERR a command about all keys cannot be in RAFTLINE.ONCE of a sharded store")

_LOGGED_SORTS: Final = frozenset({b"SORT", b"SORT_RO"})
_SORT_OPTIONS: Final = {b"BY": 2, b"GET": 2, b"STORE": 2, b"LIMIT": 3, b"ASC": 1, b"DESC": 1, b"ALPHA": 1}
"""How many words each takes."""
_BY_ELSEWHERE: Final = error("ERR BY option of SORT denied in Cluster mode.")
_GET_ELSEWHERE: Final = error("ERR GET option of SORT denied in Cluster mode.")
_NOT_TOGETHER: Final = MESSAGE_NAMES | {name.upper().encode() for name in ALL_GROUPS | WALKS}
"""Commands that cannot be part of what one group carries out."""
_UNMARKED: Final = encode_watched([])

_decode_command = msgspec.msgpack.Decoder(list[bytes]).decode


def slot_of_command(plan: Plan, args: Arguments) -> int | None:
    """Return the slot of a command's keys, None if it names none; raises `Refused` for keys of several slots."""
    name = plan.name
    if name in ONE_KEY:
        return slot_of(args[1])
    if name in WALKS:
        return min(cursor_of(args) >> 32, SLOT_COUNT)
    if name in _BY_NUMBER:
        slot, count = parse_integer(args[2]), parse_integer(args[-1])
        return slot if slot is not None and 0 <= slot < SLOT_COUNT and (count or 0) >= 0 and count is not None else None
    if name in _EVERYWHERE:
        return None
    if name in _SORTS:
        _check_sort(args)
    return _one_slot([args[position] for position in plan.command.keys_in(args)])


class Bundle(NamedTuple):
    """Where a transaction goes."""

    slot: int | None
    """That of all its keys; None if there are none, but messages or nothing."""
    is_marked: bool
    """It watches keys."""


def bundle_of(command: bytes) -> Bundle:
    """Look into a transaction as it stands in the log; raises `Refused` for several slots, and for what has no slot."""
    args = _decode_command(command)
    is_marked = args[1] != _UNMARKED
    inner = [_decode_command(command) for command in args[2:]]
    names = {words[0] for words in inner}
    if names and names <= MESSAGE_NAMES and not is_marked:
        return Bundle(None, is_marked)
    if outside := names & _NOT_TOGETHER:
        name = min(outside).decode().replace("|", " ")
        raise Refused(error(f"ERR {name} cannot be in a transaction of a sharded store: it concerns all nodes"))
    slot = _one_slot(keys_of(args))
    for words in inner if not names.isdisjoint(_LOGGED_SORTS) else ():
        if words[0] in _LOGGED_SORTS:
            _check_sort(words)
    return Bundle(slot, is_marked)


def out_of_date(command: bytes) -> bytes:
    """Return a transaction with marks that hold nowhere: it aborts, unless its session remembers that it was done."""
    args = _decode_command(command)
    args[1] = encode_watched([(key, -1) for key, _ in decode_watched(args[1])])
    return encode_command(args)


def _check_sort(args: Arguments) -> None:
    """Refuse SORT by keys that it does not name, which may be anywhere; raises `Refused`.

    What is wrong otherwise is left to the command: options are read in its order, up to the first mistake.
    """
    position = 2
    while position < len(args) - 1:
        option, value = args[position].upper(), args[position + 1]
        if option == b"BY" and b"*" in value:
            raise Refused(_BY_ELSEWHERE)
        if option == b"GET" and value != b"#":
            raise Refused(_GET_ELSEWHERE)
        if option == b"LIMIT" and None in [parse_integer(number) for number in args[position + 1 : position + 3]]:
            return
        steps = _SORT_OPTIONS.get(option)
        if steps is None:
            return
        position += steps


def _one_slot(keys: Sequence[bytes]) -> int | None:
    slots = {slot_of(key) for key in keys}
    if len(slots) > 1:
        raise Refused(CROSS_SLOT)
    return slots.pop() if slots else None
