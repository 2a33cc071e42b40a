"""Small writes that come in one turn of the event loop share one entry of the log, whichever clients sent them.

What an entry costs, from the proposal to its place in every replica's log and the waiter that is told, is paid once for
all of them. Each command keeps a reply of its own, and they take effect in the order in which they came; see
docs/decisions/0016-bundles.md.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias

import msgspec

from raftline.errors import ApplyError, NotServed

__all__ = [
    "BUNDLE",
    "BUNDLED",
    "BUNDLED_ARGS_MAX",
    "BUNDLED_BYTES_MAX",
    "BUNDLE_VERSION",
    "NOT_SERVED",
    "BundledNode",
    "Bundles",
    "Run",
    "decode_bundle",
    "encode_replies",
]

BUNDLE: Final = b"\xc1"
"""The first byte of a bundle: MessagePack leaves it unused, so no command begins with it."""
BUNDLE_VERSION: Final = 3
"""The `KvMachine.version` that every member must know before bundles are used."""
BUNDLED_BYTES_MAX: Final = 8 << 10
BUNDLED_ARGS_MAX: Final = 8
"""A command that is longer, or has more arguments, has an entry of its own: it would gain little."""
# fmt: off
BUNDLED: Final = frozenset((
    "set", "setnx", "setex", "psetex", "mset", "msetnx", "incr", "decr", "incrby", "decrby", "del", "unlink", "expire",
    "pexpire", "expireat", "pexpireat", "persist", "hset", "hsetnx", "hmset", "hdel", "hincrby", "lpush", "rpush",
    "lpushx", "rpushx", "sadd", "srem", "smove", "zadd", "zincrby", "zrem",
))
# fmt: on
"""Commands that take microseconds whatever they find, and whose replies are short: 32 of them hold nobody up."""
_COMMANDS_MAX: Final = 32
_BYTES_MAX: Final = 64 << 10
_HEADS: Final = [BUNDLE + bytes((0xDC, 0, count)) for count in range(_COMMANDS_MAX + 1)]
"""A bundle is this and the commands, one after the other, as they would stand in the log: an array of arrays."""

NOT_SERVED: Final = b""
"""What stands for the reply of a command whose slot its group does not serve; no command has an empty reply."""

_decode_commands = msgspec.msgpack.Decoder(list[list[bytes]]).decode
_decode_replies = msgspec.msgpack.Decoder(list[bytes]).decode
encode_replies = msgspec.msgpack.Encoder().encode
"""Return what a bundle comes to: the replies of its commands, in order. One that cannot be read comes to an error."""

Done: TypeAlias = Callable[[bytes | Exception], None]


class BundledNode(Protocol):
    """What is needed of a node or a group; calls are as in `KvNode`."""

    def submit(self, command: bytes, done: Done) -> None:
        """Propose."""

    def before_turn(self, call: Callable[[], None]) -> None:
        """Call this once, soon, right before proposals are taken next; what it submits is taken with them."""

    @property
    def command_version(self) -> int:
        """Return the newest version of commands that every member knows."""


def decode_bundle(command: bytes) -> list[list[bytes]]:
    """Return the commands of a bundle; raises `msgspec.MsgspecError` if that is not what it is."""
    return _decode_commands(memoryview(command)[1:])


class Run:
    """Commands of one client that stand one behind the other in a bundle, and are told of their outcomes together."""

    __slots__ = ()

    count: int
    """How many they are."""

    def join(self) -> None:
        """Count one more."""
        raise NotImplementedError

    def take(self, outcomes: Sequence[bytes | Exception]) -> None:
        """Take the replies or reasons of all, in order."""
        raise NotImplementedError


class Bundles:
    """The writes of one node that wait for the next turn of one group.

    Invariants: `_commands` and `_dones` belong together, in the order in which they came: each of these is of one
    command, or of as many in a row as the count beside it says. Unless both are empty the node calls `flush` before
    its next turn. What a connection submits by itself goes behind what it has here.
    """

    __slots__ = ("_commands", "_dones", "_is_known", "_node", "_size_bytes", "last_run")

    def __init__(self, node: BundledNode) -> None:
        self._node = node
        self._commands: list[bytes] = []
        self._dones: list[Done | Run] = []
        self._size_bytes = 0
        self._is_known = False
        """Every member knows what a bundle is; that never ends."""
        self.last_run: Run | None = None
        """The run that the latest command belongs to, which the next one may join; None if it belongs to none."""

    def add(self, command: bytes, done: Done) -> None:
        """Propose a small command; `done` gets its reply or the reason, as from `KvNode.submit`."""
        self._dones.append(done)
        self.last_run = None
        self._add(command)

    def begin_run(self, command: bytes, run: "Run") -> None:
        """Propose the first command of a run, which others may join."""
        self._dones.append(run)
        self.last_run = run
        self._add(command)

    def join_run(self, command: bytes, run: "Run") -> None:
        """Propose a command behind those of `run`, which is `last_run`."""
        run.join()
        self._add(command)

    def _add(self, command: bytes) -> None:
        commands = self._commands
        commands.append(command)
        self._size_bytes += len(command)
        if len(commands) == 1:
            self._node.before_turn(self.flush)
        elif len(commands) == _COMMANDS_MAX or self._size_bytes >= _BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Submit what waits."""
        commands, dones = self._commands, self._dones
        if not commands:
            return
        self._commands, self._dones, self._size_bytes = [], [], 0
        self.last_run = None
        node = self._node
        self._is_known = self._is_known or node.command_version >= BUNDLE_VERSION
        if len(commands) > 1 and self._is_known:
            node.submit(_HEADS[len(commands)] + b"".join(commands), partial(_tell, dones, len(commands)))
        else:
            for command, done in zip(commands, _one_by_one(dones), strict=True):
                node.submit(command, done)


def _one_by_one(dones: list[Done | Run]) -> Iterator[Done]:
    """Return who is told of each command that has an entry of its own: these may be told in any order."""
    for done in dones:
        if isinstance(done, Run):
            outcomes: dict[int, bytes | Exception] = {}
            yield from [partial(_collect, done, outcomes, position) for position in range(done.count)]
        else:
            yield done


def _collect(run: Run, outcomes: dict[int, bytes | Exception], position: int, outcome: bytes | Exception) -> None:
    """Note the outcome of one command of a run; all are told together."""
    outcomes[position] = outcome
    if len(outcomes) == run.count:
        run.take([outcomes[each] for each in range(run.count)])


def _tell(dones: list[Done | Run], count: int, outcome: bytes | Exception) -> None:
    """Let each of `count` commands have its own reply, or all the same reason or refusal."""
    if isinstance(outcome, Exception) or outcome.startswith(b"-"):
        outcomes: Sequence[bytes | Exception] = [outcome] * count
    else:
        outcomes = _replies_of(outcome, count)
    first = 0
    for done in dones:
        try:
            if isinstance(done, Run):
                begin, first = first, first + done.count
                done.take(outcomes[begin:first])
            else:
                first += 1
                done(outcomes[first - 1])
        except Exception as error:  # noqa: BLE001  the others are to hear of theirs
            context = {"message": "the callback of a command in a bundle raised", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


def _replies_of(outcome: bytes, count: int) -> Sequence[bytes | Exception]:
    """Return the outcome of each command; nobody may be left waiting, whatever that of the entry looks like."""
    try:
        replies = _decode_replies(outcome)
    except msgspec.MsgspecError:
        replies = []
    if len(replies) != count:
        return [ApplyError("the replies of an entry cannot be read")] * count
    if NOT_SERVED not in replies:
        return replies
    refused = NotServed("its slot is not served by the group, which carried out others of the same entry or none")
    return [refused if reply == NOT_SERVED else reply for reply in replies]
