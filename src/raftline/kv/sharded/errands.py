"""Commands under way to a shard: writes on their way through its log, and reads that wait for their moment there.

A write that a group did not serve was not carried out, so it can go on to the next one, as often as there is time.
"""

from collections.abc import Callable
from typing import Protocol

from raftline.core.ids import GroupId
from raftline.errors import NotServed, ProposalError, SessionClosed
from raftline.kv.commands.command import Arguments, ReadFunction
from raftline.kv.commands.transactions import mark_of
from raftline.kv.proposals import encode_command
from raftline.kv.reply_slots import Read, Write
from raftline.kv.resp.items import items_of
from raftline.kv.resp.replies import NULL_ARRAY, OK, array, bulk, integer
from raftline.kv.sharded.all_keys import scan_served
from raftline.kv.sharded.machine import watch_query
from raftline.kv.sharded.router import Here
from raftline.kv.store import Store
from raftline.kv.transaction import Transaction
from raftline.shards.ranges import NOBODY

__all__ = ["Errand", "HeldOwner", "MarksRead", "ScanRead", "ShardRead", "WatchRead"]


class HeldOwner(Protocol):
    """The connection, as a write knows it."""

    def on_not_served(self, errand: "Errand") -> None:
        """Note that a write was not carried out, because its group does not serve the slot."""

    def on_served_elsewhere(self, errand: "Errand") -> None:
        """Note that a write was carried out by another group than the one that was asked first."""

    def on_session_closed(self, errand: "Errand", reason: SessionClosed) -> None:
        """Note that a write was not carried out, because its group does not know the session."""


class Errand:
    """One write.

    Invariants: it is held, or under way at `group`, or over; a held one was carried out nowhere.
    """

    __slots__ = (
        "command",
        "deadline_s",
        "group",
        "had_effect",
        "hash_slot",
        "is_held",
        "is_marked",
        "is_opening",
        "is_over",
        "opened_in",
        "owner",
        "sequence",
        "session",
        "tries",
        "write",
    )

    def __init__(
        self,
        owner: HeldOwner,
        write: Write,
        command: bytes,
        hash_slot: int,
        deadline_s: float,
        session: int | None,
        sequence: int,
    ) -> None:
        self.owner = owner
        self.write = write
        self.command = command
        self.hash_slot = hash_slot
        self.deadline_s = deadline_s
        self.session = session
        self.sequence = sequence
        self.group: GroupId = NOBODY
        self.tries = 0
        self.opened_in: GroupId = NOBODY
        """Where its session was opened for it."""
        self.is_marked = False
        """It watches keys by marks that only its first group understands."""
        self.is_opening = False
        """Its session is being opened."""
        self.is_held = self.is_over = self.had_effect = False

    def done(self, outcome: bytes | Exception) -> None:
        """Take the outcome of a try."""
        if isinstance(outcome, Exception):
            if isinstance(outcome, NotServed):
                if self.is_marked:
                    self.end(NULL_ARRAY)  # as if a watched key had changed: its slot did
                else:
                    self.owner.on_not_served(self)
                return
            if isinstance(outcome, SessionClosed) and self.opened_in != self.group:
                self.owner.on_session_closed(self, outcome)
                return
            self.had_effect = not isinstance(outcome, ProposalError) or outcome.may_take_effect
        else:
            self.had_effect = True
            if self.tries:
                self.owner.on_served_elsewhere(self)
        self.end(outcome)

    def end(self, outcome: bytes | Exception) -> None:
        """Let this be what became of it."""
        self.is_held, self.is_over = False, True
        self.write.done(outcome)


class ShardRead(Read):
    """One read of keys in one slot."""

    __slots__ = ("deadline_s", "group", "hash_slot", "tries")

    def __init__(self, function: ReadFunction, args: Arguments, hash_slot: int, *, is_silent: bool) -> None:
        super().__init__(function, args, is_silent=is_silent)
        self.hash_slot = hash_slot
        self.group: GroupId = NOBODY
        self.tries = 0
        self.deadline_s = 0.0

    def prepare(self, place: Here) -> None:
        """Get ready to be carried out on this copy."""

    def query(self) -> bytes:
        """Return what another node is asked."""
        return encode_command(self.args)

    def take(self, reply: bytes) -> None:
        """Take what another node answered."""
        self.reply = b"" if self.is_silent else reply


class WatchRead(ShardRead):
    """WATCH: marks keys, and notes which group's marks they are."""

    __slots__ = ("_mark", "_transaction", "_watched_in")

    def __init__(
        self,
        mark: ReadFunction,
        args: Arguments,
        hash_slot: int,
        transaction: Transaction | None,
        watched_in: set[GroupId],
        *,
        is_silent: bool,
    ) -> None:
        super().__init__(self._look, args, hash_slot, is_silent=is_silent)
        self._mark = mark
        self._transaction = transaction
        self._watched_in = watched_in

    def _look(self, store: Store, args: Arguments, now_ms: int) -> bytes:
        reply = self._mark(store, args, now_ms)
        self._watched_in.add(self.group)
        return reply

    def query(self) -> bytes:
        """Return what another node is asked."""
        return watch_query(self.args[1:])

    def take(self, reply: bytes) -> None:
        """Take the marks."""
        watched = {} if self._transaction is None else self._transaction.watched
        for key, mark in zip(self.args[1:], items_of(reply), strict=False):
            if watched.get(key) is None:
                watched[key] = int(mark[1:-2])
        self._watched_in.add(self.group)
        super().take(OK)


class MarksRead(ShardRead):
    """RAFTLINE.WATCH: the marks, with the name of the log that they are of."""

    __slots__ = ("_history",)

    def __init__(self, history: bytes, args: Arguments, hash_slot: int, *, is_silent: bool) -> None:
        super().__init__(self._tell, args, hash_slot, is_silent=is_silent)
        self._history = history

    def _tell(self, store: Store, args: Arguments, now_ms: int) -> bytes:
        return self._reply([integer(mark_of(store, key, now_ms)) for key in args[1:]])

    def query(self) -> bytes:
        """Return what another node is asked."""
        return watch_query(self.args[1:])

    def take(self, reply: bytes) -> None:
        """Take the marks."""
        super().take(self._reply(items_of(reply)))

    def _reply(self, marks: list[bytes]) -> bytes:
        return array([bulk(b"%b/%d" % (self._history, self.group)), *marks])


class ScanRead(ShardRead):
    """SCAN: goes on in the slots that the group serves, up to the first that it does not."""

    __slots__ = ("_finish",)

    def __init__(self, args: Arguments, hash_slot: int, finish: Callable[[bytes], bytes], *, is_silent: bool) -> None:
        """Prepare; `finish` makes the client's reply of the group's."""
        super().__init__(_nothing, args, hash_slot, is_silent=is_silent)
        self._finish = finish

    def prepare(self, place: Here) -> None:
        """Walk this copy."""
        holdings = place.machine.holdings

        def scan(store: Store, args: Arguments, now_ms: int) -> bytes:
            return self._finish(scan_served(holdings, store, args, now_ms))

        self.function = scan

    def take(self, reply: bytes) -> None:
        """Take what another node found."""
        super().take(self._finish(reply) if reply[:1] == b"*" else reply)


def _nothing(_store: Store, _args: Arguments, _now_ms: int) -> bytes:
    return NULL_ARRAY
