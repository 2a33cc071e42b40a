"""Which commands go where in a sharded store: to the slot of their keys, to all groups, or to this node's first group.

Keys that one command names have to be in one slot, as in Redis Cluster; so have all keys of a transaction.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from raftline.kv.commands.arguments import parse_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.table import COMMANDS
from raftline.kv.commands.transactions import encode_watched
from raftline.kv.plans import Plan
from raftline.kv.resp.replies import error
from raftline.kv.sharded.all_keys import cursor_of
from raftline.kv.sharded.machine import keys_of
from raftline.kv.slots import SLOT_COUNT, slot_of

__all__ = [
    "ALL_GROUPS",
    "ALL_GROUPS_NAMES",
    "CROSS_SLOT",
    "NOT_HERE",
    "NOT_IN_SESSION",
    "ONE_KEY",
    "WALKS",
    "Bundle",
    "bundle_of",
    "slot_of_command",
]

CROSS_SLOT: Final = error("CROSSSLOT Keys in request don't hash to the same slot")

ALL_GROUPS: Final = frozenset({"keys", "dbsize", "randomkey", "flushall", "flushdb"})
"""Commands about all keys, carried out at every group."""

ALL_GROUPS_NAMES: Final = frozenset(name.upper().encode() for name in ALL_GROUPS)

WALKS: Final = frozenset({"scan", "raftline.lock|list"})
"""Walks over all keys, slot by slot."""

_EVERYWHERE: Final = frozenset({"spublish", "ssubscribe", "sunsubscribe"})
"""Channels are those of all nodes, whatever slot their names would be in."""

ONE_KEY: Final = frozenset(
    row.name
    for command in COMMANDS.values()
    for row in (command, *command.subcommands)
    if row.keys == (1, 1, 1) and not (row.numkeys or row.destination_option or row.name in _EVERYWHERE)
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

_CHANNELS: Final = frozenset({b"PUBLISH", b"SPUBLISH"})
_NOT_TOGETHER: Final = _CHANNELS | {name.upper().encode() for name in ALL_GROUPS | WALKS}
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
    return _one_slot([args[position] for position in plan.command.keys_in(args)])


class Bundle(NamedTuple):
    """Where a transaction goes."""

    slot: int | None
    """That of all its keys; None if there are none."""
    is_marked: bool
    """It watches keys."""


def bundle_of(command: bytes) -> Bundle:
    """Look into a transaction as it stands in the log; raises `Refused` for several slots, and for what has no slot."""
    args = _decode_command(command)
    slot = _one_slot(keys_of(args))
    names = {_decode_command(inner)[0] for inner in args[2:]}
    if outside := names & _NOT_TOGETHER:
        name = min(outside).decode().replace("|", " ")
        if slot is not None or not names <= _CHANNELS:
            raise Refused(error(f"ERR {name} cannot be in a transaction of a sharded store: it concerns all nodes"))
    return Bundle(None if names <= _CHANNELS else slot, args[1] != _UNMARKED)


def _one_slot(keys: Sequence[bytes]) -> int | None:
    slots = {slot_of(key) for key in keys}
    if len(slots) > 1:
        raise Refused(CROSS_SLOT)
    return slots.pop() if slots else None
