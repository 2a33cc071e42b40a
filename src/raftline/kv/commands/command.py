"""What a row of the command table says, and the four kinds of functions behind it.

A write goes through the log and is carried out on every replica: it sees the store and the log's time, nothing else.
A read is carried out on one node, at a moment when its store is linearizable; in a transaction it is part of a write.
A local command concerns the connection or the node and is answered at once; a task concerns the cluster and takes its
time.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from raftline.kv.client import Client
from raftline.kv.ports import KvNode
from raftline.kv.store import Store

__all__ = [
    "Arguments",
    "Check",
    "Command",
    "Deferred",
    "LocalFunction",
    "ReadFunction",
    "Refused",
    "Settled",
    "TaskFunction",
    "Unsettled",
    "WriteFunction",
]

Arguments: TypeAlias = list[bytes]
"""The command's name and its arguments, as many as the row's arity allows."""
WriteFunction: TypeAlias = Callable[[Store, Arguments, int], bytes]
"""`(store, arguments, time_ms)` → RESP3 reply. Pure: the same on every replica."""
ReadFunction: TypeAlias = Callable[[Store, Arguments, int], bytes]
"""`(store, arguments, now_ms)` → RESP3 reply; raises `ExpiryPending` if the log's time has to advance first."""
LocalFunction: TypeAlias = Callable[[Client, Arguments], bytes]
"""`(client, arguments)` → RESP3 reply."""
TaskFunction: TypeAlias = Callable[[KvNode, Client, Arguments], Awaitable[bytes]]
"""`(node, client, arguments)` → RESP3 reply, later; raises `Refused` or what the node raises."""
Check: TypeAlias = Callable[[Arguments], object]
"""Raises `Refused` for arguments that the write would refuse whatever the store holds."""


_NUMBER_DIGITS_MAX = 10


class Refused(Exception):
    """The command is answered with this RESP3 error."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply


class Unsettled(Exception):
    """What this node knows is not enough to refuse a local command: it is asked again, as a read, with `Settled`."""


class Deferred(Exception):
    """A local command goes on as a task."""

    def __init__(self, function: TaskFunction) -> None:
        super().__init__(function)
        self.function = function


class Settled(list[bytes]):
    """Arguments of a command that is asked again, at a moment when the local store is linearizable."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command or, with a name like `client|setname`, one subcommand.

    Invariant: exactly one of `write`, `read`, `bound`, `local`, `task`, `execute` and `wraps` is given, or none and
    there are `subcommands`.
    """

    name: str
    """Lower case."""
    arity: int
    """Arguments, the name included; negative: at least so many."""
    group: str
    summary: str
    since: str
    """The version of Redis that introduced it."""
    complexity: str
    flags: tuple[str, ...] = ()
    keys: tuple[int, int, int] = (0, 0, 0)
    """First key, last key (negative: from the end) and step; zeros if there are none."""
    numkeys: int = 0
    """Where the number of further keys stands, which follow it; 0 if there are none."""
    patterns: int = 0
    """From which argument on patterns may stand; 0 if there are none."""
    may_walk_all: bool = False
    """It may look at every key of the store, or thousands, however few it names or returns."""
    destination_option: bytes = b""
    """An option, in upper case, behind which a further key stands."""
    write: WriteFunction | None = None
    read: ReadFunction | None = None
    bound: Callable[[Client, Arguments], ReadFunction] | None = None
    """Makes a read that tells the connection something, too."""
    local: LocalFunction | None = None
    task: TaskFunction | None = None
    execute: WriteFunction | None = None
    """What carries a transaction out; the connection says of which commands it consists."""
    wraps: int = 0
    """So many arguments, the name included, stand before another command, which is what is carried out."""
    check: Check | None = None
    version: int = 1
    """The `KvMachine.version` that every member must know before it is used."""
    newer_options: frozenset[bytes] = frozenset()
    """Options, in upper case, that need version 2."""
    subcommands: tuple["Command", ...] = ()
    syntax: str = ""
    """Arguments as people write them."""
    note: str = ""
    """Where it differs from Redis."""

    @property
    def wire_name(self) -> bytes:
        """The name as it stands in the log."""
        return self.name.upper().encode()

    def key_positions(self, count: int) -> range:
        """Return where the keys stand among `count` arguments, the name included."""
        first, last, step = self.keys
        if not first:
            return range(0)
        return range(first, (last if last >= 0 else count + last) + 1, step)

    def keys_in(self, args: Arguments) -> list[int]:
        """Return where the keys of a command stand, those behind a number of keys included."""
        places = list(self.key_positions(len(args)))
        if self.numkeys and args[self.numkeys].isdigit() and len(args[self.numkeys]) < _NUMBER_DIGITS_MAX:
            first = self.numkeys + 1
            places += range(first, min(first + int(args[self.numkeys]), len(args)))
        if self.destination_option:
            options = range(self.keys[1] + 1, len(args) - 1)
            places += [place + 1 for place in options if args[place].upper() == self.destination_option]
        return places
