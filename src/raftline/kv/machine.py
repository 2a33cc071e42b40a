"""The state machine: committed commands are looked up in the command table and carried out on the store.

A command is a MessagePack array of byte strings, name first and in upper case. Whatever it comes to, refusals
included, is returned as a RESP3 reply, the same on every replica; nothing a client can send makes `apply` raise.
"""

from collections.abc import Iterator

import msgspec
import structlog

from raftline.errors import NotServed
from raftline.kv.bundles import BUNDLE, NOT_SERVED, decode_bundle, encode_replies
from raftline.kv.commands.command import Command, ReadFunction, Refused, WriteFunction
from raftline.kv.commands.lookup import TICK_NAME, WRITES, find_command
from raftline.kv.commands.strings import SET_PLAIN
from raftline.kv.proposals import encode_command
from raftline.kv.resp.replies import OK, error
from raftline.kv.restore import Restorer
from raftline.kv.store import Store
from raftline.replica.state_machine import StateMachine

__all__ = ["NOT_READABLE", "TICK_COMMAND", "KvMachine", "encode_command", "readable", "refuse"]

_decode = msgspec.msgpack.Decoder(list[bytes]).decode

_log = structlog.get_logger("raftline.kv")

NOT_READABLE = error("ERR this is no command that reads, or it has the wrong number of arguments")
_MANY_ARGS = 1000
"""A command with more gives back what was removed as fast as it may add."""
_SET = b"SET"
_MALFORMED = error("ERR malformed command in the log")
_FAULTY = error("ERR internal error: the nodes' logs say more")


TICK_COMMAND = encode_command([TICK_NAME])
"""Lets the log's time advance; see docs/decisions/0003-expiry-through-the-log.md."""


class KvMachine(StateMachine):
    """The key/value store as a replicated state machine."""

    version = 7
    """2: RAFTLINE.EXEC; conditions on values in SET, DELEX, DELIFEQ. 3: several commands in one entry.

    4: groups that are leaving are placed, by group 0 of a sharded server (`MetaMachine`), which all commands are held
    against there. 5: a transaction has a budget for commands that look at whole values; new groups go where few
    replicas are, those of groups that are leaving counted. 6: a group remembers when a slot left it, so that a watched
    key which was not there has changed if its slot was elsewhere; group 0 carries out SPUBLISH, and transactions of
    messages. 7: group 0 makes and places groups on members only.
    """

    takes_bundles = True
    """Several commands may stand in one entry (`raftline.kv.bundles`)."""

    is_sharded = False
    """Each command is looked at before it is carried out: is its slot served?"""

    def __init__(self) -> None:
        self.store = Store()
        self.faults = 0
        """Commands in bundles that raised what no command should."""
        self._restorer: Restorer | None = None

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Carry out one command and return its RESP3 reply."""
        store = self.store
        store.begin(index, time_ms)
        if command[:1] == BUNDLE:
            return self._apply_bundle(command) if self.takes_bundles else _MALFORMED
        try:
            args = _decode(command)
            write = WRITES[args[0]]
        except (msgspec.MsgspecError, IndexError, KeyError):
            return refuse(command)
        return self.carry_out(write, args)

    def carry_out(self, write: WriteFunction, args: list[bytes]) -> bytes:
        """Carry out the one command of an entry, whose time has begun; return its RESP3 reply."""
        store = self.store
        if len(args) > _MANY_ARGS and store.has_garbage:
            store.release_garbage(len(args))  # as much as it may add
        try:
            if store.listener is not None:
                return store.listener.carry_out(write, args)
            return write(store, args, store.time_ms)
        except Refused as refused:
            return refused.reply

    def _apply_bundle(self, command: bytes) -> bytes:
        """Carry out the commands of an entry one after the other; return all replies."""
        store = self.store
        try:
            requests = decode_bundle(command)
        except msgspec.MsgspecError:
            return _MALFORMED
        if store.listener is None and not self.is_sharded and _are_plain_sets(requests):
            store.put_all(requests)
            replies = [OK] * len(requests)
        else:
            replies = self._carry_out_each(requests)
        self._release_garbage(len(requests))
        return encode_replies(replies)

    def _carry_out_each(self, requests: list[list[bytes]]) -> list[bytes]:
        store, is_sharded = self.store, self.is_sharded
        listener, now_ms = store.listener, store.time_ms
        replies: list[bytes] = []
        for args in requests:
            try:
                if is_sharded:
                    self.check_served(args)
                if listener is not None:
                    reply = listener.carry_out(WRITES[args[0]], args)
                elif len(args) == SET_PLAIN and args[0] == _SET:
                    store.put(args[1], args[2])  # what the table's function does, without two calls
                    reply = OK
                else:
                    reply = WRITES[args[0]](store, args, now_ms)
                if type(reply) is not bytes:
                    raise TypeError(f"a reply of type {type(reply).__name__}")  # noqa: TRY301  as any other fault
            except Refused as refused:
                reply = refused.reply
            except NotServed:
                reply = NOT_SERVED
            except Exception:  # noqa: BLE001  a faulty command is refused everywhere; those after it are carried out
                _log.exception("a command in a bundle failed", command=args[0] if args else b"")
                self.faults += 1
                reply = _FAULTY
            replies.append(reply)
        return replies

    def _release_garbage(self, commands: int) -> None:
        """Give back as much as each command would by itself."""
        store = self.store
        for _ in range(commands if store.has_garbage else 0):
            store.release_garbage()

    def check_served(self, args: list[bytes]) -> None:
        """Raise `NotServed` if a key of a command is in a slot that is not served here: never, in a single group."""

    def read(self, query: bytes, time_ms: int) -> bytes:  # noqa: ARG002  only the log's time is certain here
        """Answer a command that changes nothing, in the form of `apply`, by the log's own time."""
        try:
            args = _decode(query)
        except msgspec.MsgspecError:
            return _MALFORMED
        read = readable(args)
        if read is None:
            return NOT_READABLE
        try:
            return read(self.store, args, self.store.time_ms)
        except Refused as refused:
            return refused.reply

    def on_history_lost(self) -> None:
        """Leave out the fencing tokens that lost entries may have given."""
        self.store.skip_tokens()

    def use_version(self, version: int) -> None:
        """From the version that has transactions on, changes are noted, and are part of snapshots."""
        self.store.use_version(version)

    def snapshot(self) -> Iterator[bytes]:
        """Return the state as of this call; see `raftline.kv.snapshot` for the chunks."""
        return self.store.snapshot()

    @property
    def reads_while_restoring(self) -> bool:
        """The old keys stay until the new ones take their place."""
        return True

    def restore_begin(self) -> None:
        """Begin to load keys beside those that are there."""
        self._restorer = Restorer(self.store)

    def restore_chunk(self, chunk: bytes) -> None:
        """Take the next chunk in; raises `StorageError` if it cannot be read."""
        assert self._restorer is not None, "a restore was begun"
        self._restorer.take(chunk)

    def restore_end(self) -> None:
        """Replace all keys in one step; raises `StorageError` if something is missing."""
        assert self._restorer is not None, "a restore was begun"
        self._restorer.end()
        self._restorer = None


def readable(args: list[bytes]) -> ReadFunction | None:
    """Return what answers a command that changes nothing, None for any other, and for too few or too many arguments."""
    command = find_command(args) if args else None
    return command.read if command is not None and _fits(command, len(args)) else None


def _fits(command: Command, count: int) -> bool:
    return count == command.arity if command.arity >= 0 else count >= -command.arity


def refuse(command: bytes) -> bytes:
    """Answer what no server of this version would have proposed: each replica says the same."""
    try:
        name = _decode(command)[0].decode("ascii", "backslashreplace")
    except (msgspec.MsgspecError, IndexError):
        return _MALFORMED
    return error(f"ERR unknown command '{name[:128]}' in the log: upgrade every node before new commands are used")


def _are_plain_sets(requests: list[list[bytes]]) -> bool:
    for args in requests:  # noqa: SIM110  all() takes twice as long
        if len(args) != SET_PLAIN or args[0] != _SET:
            return False
    return True
