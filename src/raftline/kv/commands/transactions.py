"""MULTI, EXEC, DISCARD, WATCH and UNWATCH; and what a transaction does when its one log entry is applied.

A watched key is marked with the index up to which its node had applied the log, and with whether it was alive. The
marks travel with the commands, and each replica compares them with its own notes of the last changes: all of them
carry out everything, or nothing. See docs/decisions/0010-transactions.md.
"""

from binascii import crc_hqx
from collections.abc import Mapping

import msgspec

from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, Command, ReadFunction, Refused, WriteFunction
from raftline.kv.commands.costs import Budget, looks_at_whole_values
from raftline.kv.resp.replies import NULL_ARRAY, OK, array, bulk, error, integer
from raftline.kv.store import WATCH_VERSION, Store
from raftline.kv.transaction import Transaction

__all__ = [
    "Transactions",
    "decode_watched",
    "discard",
    "encode_watched",
    "has_changed",
    "is_inside",
    "mark_of",
    "marks",
    "marks_last",
    "multi",
    "unwatch",
    "watch",
]

REPLIES_BYTES_MAX = 64 << 20
"""Part of the replicated behaviour, so no setting."""

_NESTED = error("ERR MULTI calls can not be nested")
_DISCARD_WITHOUT = error("ERR DISCARD without MULTI")
_MALFORMED = error("ERR malformed transaction in the log")
_TOO_LARGE = error(f"ERR the replies of the transaction are larger than {REPLIES_BYTES_MAX} bytes: nothing was read")

_decode_command = msgspec.msgpack.Decoder(list[bytes]).decode
decode_watched = msgspec.msgpack.Decoder(list[tuple[bytes, int]]).decode
"""Keys and their marks, as they stand in the log."""
encode_watched = msgspec.msgpack.Encoder().encode


def multi(client: Client, _args: Arguments) -> bytes:
    """MULTI."""
    transaction = client.transaction or Transaction()
    if transaction.is_open:
        return _NESTED
    transaction.is_open = True
    client.transaction = transaction
    return OK


def discard(client: Client, _args: Arguments) -> bytes:
    """DISCARD."""
    if client.transaction is None or not client.transaction.is_open:
        return _DISCARD_WITHOUT
    client.transaction = None
    return OK


def unwatch(client: Client, _args: Arguments) -> bytes:
    """UNWATCH; inside a transaction it comes too late to change anything, as in Redis."""
    client.transaction = None
    return OK


def watch(client: Client, args: Arguments) -> ReadFunction:
    """WATCH key [key ...]: return the read that marks the keys."""
    client.transaction = transaction = client.transaction or Transaction()
    watched = transaction.watched
    for key in args[1:]:
        transaction.watch(key)

    def mark(store: Store, args: Arguments, now_ms: int) -> bytes:
        for key in args[1:]:
            if watched.get(key) is None:
                watched[key] = mark_of(store, key, now_ms)
        return OK

    return mark


def marks(client: Client, _args: Arguments) -> ReadFunction:
    """RAFTLINE.WATCH key [key ...]: return the read that tells which history the marks are of, and the marks."""

    def tell(store: Store, args: Arguments, now_ms: int) -> bytes:
        history = client.server.status().cluster_id.encode()
        return array([bulk(history), *[integer(mark_of(store, key, now_ms)) for key in args[1:]]])

    return tell


def mark_of(store: Store, key: bytes, now_ms: int) -> int:
    """Return a mark of a key as it is, for `has_changed` later, on any replica; raises `ExpiryPending` like `read`.

    It is twice the index up to which everything is applied here, and one more if the key is alive.
    """
    return store.index << 1 | (store.read(key, now_ms) is not None)


def marks_last(store: Store) -> bool:
    """Say whether all members note changes; what was noted before is forgotten then, and a mark would outlive it."""
    return store.version >= WATCH_VERSION


def has_changed(store: Store, key: bytes, mark: int) -> bool:
    """Say whether a key may be another than when it was marked; a key in the same cell may have been changed.

    What removes a key need not be noted: who was alive and is not has changed, and who is again is noted as new.
    """
    return store.changes[crc_hqx(key, 0)] > mark >> 1 or (mark & 1 == 1 and store.get(key) is None)


def is_inside(command: Command) -> bool:
    """Say whether a command that goes through the log, or reads, may be part of a transaction."""
    return (command.write is not None or command.read is not None) and not command.name.startswith("acl|")


class Transactions:
    """Carries out what EXEC brings; `table` maps upper-case names to rows."""

    def __init__(self, table: Mapping[bytes, Command]) -> None:
        self._table = table
        self._found: dict[bytes, tuple[WriteFunction, bool, Command | None]] = {}
        """Upper-case name → function, whether it only reads, and its row if it looks at whole values."""

    def carry_out(self, store: Store, args: Arguments, time_ms: int) -> bytes:
        """`RAFTLINE.EXEC watched command ...` as it stands in the log: all of it, or nothing if a key has changed."""
        found = self._found or self._find()
        try:
            watched = decode_watched(args[1])
            commands = [_decode_command(command) for command in args[2:]]
            steps = [(*found[command[0]], command) for command in commands]
        except (msgspec.MsgspecError, IndexError, KeyError):
            return _MALFORMED
        if any(has_changed(store, key, mark) for key, mark in watched):
            return NULL_ARRAY
        replies: list[bytes] = []
        size = 0
        budget = Budget(store)
        try:
            for function, is_read, row, command in steps:
                store.step += 1
                if is_read and size > REPLIES_BYTES_MAX:
                    reply = _TOO_LARGE
                elif row is not None and (refusal := budget.refusal(row, command)):
                    reply = refusal
                else:
                    try:
                        if store.listener is None:
                            reply = function(store, command, time_ms)
                        else:
                            reply = store.listener.carry_out(function, command)
                    except Refused as refused:
                        reply = refused.reply
                    if row is not None:
                        budget.on_done(row, reply)
                size += len(reply)
                replies.append(reply)
        finally:
            store.step = 0
        if store.has_garbage:
            store.release_garbage(sum(map(len, commands)))  # as much as it may have added
        return array(replies)

    def _find(self) -> dict[bytes, tuple[WriteFunction, bool, Command | None]]:
        """Look the functions up, once the table is complete."""
        for command in self._table.values():
            for row in (command, *command.subcommands):
                function = row.write or row.read
                if function is not None and is_inside(row):
                    counted = row if looks_at_whole_values(row) else None
                    self._found[row.wire_name] = (function, row.write is None, counted)
        return self._found
