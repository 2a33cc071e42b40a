"""Commands under way to a shard: writes on their way through its log, and reads that wait for their moment there.

A write that a group did not serve was not carried out, so it can go on to the next one, as often as there is time.
"""

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import ClassVar, Protocol

from raftline.core.ids import GroupId
from raftline.errors import NotMember, NotServed, ProposalError, SessionClosed
from raftline.kv.commands.command import Arguments, ReadFunction, Refused
from raftline.kv.commands.transactions import mark_of, marks_last
from raftline.kv.plans import TOO_NEW
from raftline.kv.proposals import encode_command
from raftline.kv.reply_slots import Read, Write
from raftline.kv.resp.items import items_of
from raftline.kv.resp.replies import NULL_ARRAY, OK, array, bulk, integer
from raftline.kv.sharded.all_keys import scan_served
from raftline.kv.sharded.machine import watch_query
from raftline.kv.sharded.router import Here, Place
from raftline.kv.sharded.routes import out_of_date
from raftline.kv.store import Store
from raftline.kv.transaction import Transaction
from raftline.shards.ranges import NOBODY

__all__ = ["Errand", "ErrandOwner", "MarksRead", "ScanRead", "ShardRead", "Stage", "WatchRead", "is_elsewhere"]


class ErrandOwner(Protocol):
    """The connection, as a write to a shard knows it."""

    def on_failed_write(self, reason: Exception) -> bytes:
        """Return what the client is told."""

    def on_write_done(self) -> None:
        """Note that a write is answered."""

    def on_not_served(self, errand: "Errand") -> None:
        """Note that a write was not carried out, because its group does not serve the slot."""

    def on_served_elsewhere(self, errand: "Errand") -> None:
        """Note that a write was carried out by another group than the one that was asked first."""

    def on_session_closed(self, errand: "Errand", reason: SessionClosed) -> None:
        """Note that a write was not carried out, because its group does not know the session."""


class Stage(Enum):
    """How far a write has come."""

    UNDER_WAY = 0
    HELD = 1
    """It was carried out nowhere, and waits for its slot to be served."""
    OPENING = 2
    """It is held while its session is opened."""
    IN_VAIN = 3
    """It is over, and was carried out nowhere."""
    DONE = 4
    """It is over, and was carried out, or may be yet."""


def is_elsewhere(reason: Exception) -> bool:
    """Say whether something was not done because the group does not serve the slot, or this node has left the group."""
    return isinstance(reason, NotServed) or (isinstance(reason, NotMember) and not reason.may_take_effect)


class Errand(Write):
    """One write."""

    __slots__ = (
        "command",
        "deadline_s",
        "finish",
        "hash_slot",
        "is_marked",
        "is_silent",
        "opened_in",
        "owner",
        "place",
        "sequence",
        "session",
        "stage",
        "tries",
    )

    def __init__(
        self, owner: ErrandOwner, command: bytes, hash_slot: int, place: Place, session: int | None, sequence: int
    ) -> None:
        # Made for every write: no call to `Write`.
        self.reply = None
        self.owner = owner
        self.command = command
        self.hash_slot = hash_slot
        self.place = place
        self.session = session
        self.sequence = sequence
        self.tries = 0
        self.deadline_s: float
        """Until when it is held; set when it is held first."""
        self.opened_in: GroupId = NOBODY
        """Where its session was opened for it."""
        self.stage = Stage.UNDER_WAY
        self.is_marked = self.is_silent = False
        """It watches keys by marks that only its first group understands; its client wants no reply."""
        self.finish: Callable[[bytes], bytes] | None = None
        """Makes the client's reply of the group's."""

    def done(self, outcome: bytes | Exception) -> None:
        """Take the outcome of a try."""
        if isinstance(outcome, Exception):
            self._on_failure(outcome)
            return
        owner = self.owner
        if self.tries:
            owner.on_served_elsewhere(self)
        self.stage = Stage.DONE
        if self.finish is not None:
            outcome = self.finish(outcome)
        self.reply = b"" if self.is_silent else outcome
        owner.on_write_done()

    def _on_failure(self, reason: Exception) -> None:
        if is_elsewhere(reason):
            if not (isinstance(reason, NotServed) and self._ends_without_marks()):
                self.owner.on_not_served(self)
        elif isinstance(reason, SessionClosed) and self.opened_in != self.place.id:
            self.owner.on_session_closed(self, reason)
        else:
            was_lost = isinstance(reason, ProposalError) and not reason.may_take_effect
            self.end(self.owner.on_failed_write(reason), Stage.IN_VAIN if was_lost else Stage.DONE, is_reply=True)

    def _ends_without_marks(self) -> bool:
        """Lose the marks, if it has any, as if a watched key had changed; return whether it ends with that."""
        if not self.is_marked:
            return False
        if self.session is None:
            self.end(NULL_ARRAY, Stage.IN_VAIN)
            return True
        self.is_marked = False
        # If it was carried out before, its session, which moved with the slot, remembers what it came to.
        self.command = out_of_date(self.command)
        return False

    def try_at(self, place: Place) -> None:
        """Try at a place; marks of another group's log say nothing there."""
        if place.id != self.place.id and self._ends_without_marks():
            return
        self.stage = Stage.UNDER_WAY
        self.place = place
        place.group.submit(self.command, self.done, self.session, self.sequence)

    def end(self, reply: bytes, stage: Stage, *, is_reply: bool = False) -> None:
        """Let this be what became of it; `is_reply`: nothing has to be made of it any more."""
        self.stage = stage
        if self.finish is not None and not is_reply:
            reply = self.finish(reply)
        self.reply = b"" if self.is_silent else reply
        self.owner.on_write_done()


class ShardRead(Read):
    """One read of keys in one slot."""

    __slots__ = ("deadline_s", "hash_slot", "place", "tries")

    names_slot: ClassVar[bool] = True
    """Its client knows the slot, so that it can be sent on with it."""

    def __init__(
        self, function: ReadFunction, args: Arguments, hash_slot: int, place: Place, *, is_silent: bool
    ) -> None:
        # Made for every read: no call to `Read`.
        self.reply = None
        self.function = function
        self.args = args
        self.is_silent = is_silent
        self.hash_slot = hash_slot
        self.place = place
        self.tries = 0
        self.deadline_s: float
        """Until when it is held; set when it is held first."""

    def prepare(self) -> None:
        """Get ready to be carried out on this node's copy."""

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
        place: Place,
        transaction: Transaction | None,
        watched_in: set[GroupId],
        *,
        is_silent: bool,
    ) -> None:
        super().__init__(self._look, args, hash_slot, place, is_silent=is_silent)
        self._mark = mark
        self._transaction = transaction
        self._watched_in = watched_in

    def _look(self, store: Store, args: Arguments, now_ms: int) -> bytes:
        _check_marks_last(store)
        reply = self._mark(store, args, now_ms)
        self._watched_in.add(self.place.id)
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
        self._watched_in.add(self.place.id)
        super().take(OK)


class MarksRead(ShardRead):
    """RAFTLINE.WATCH: the marks, with the name of the log that they are of."""

    __slots__ = ("_history",)

    def __init__(self, history: bytes, args: Arguments, hash_slot: int, place: Place, *, is_silent: bool) -> None:
        super().__init__(self._tell, args, hash_slot, place, is_silent=is_silent)
        self._history = history

    def _tell(self, store: Store, args: Arguments, now_ms: int) -> bytes:
        _check_marks_last(store)
        return self._reply([integer(mark_of(store, key, now_ms)) for key in args[1:]])

    def query(self) -> bytes:
        """Return what another node is asked."""
        return watch_query(self.args[1:])

    def take(self, reply: bytes) -> None:
        """Take the marks."""
        super().take(self._reply(items_of(reply)))

    def _reply(self, marks: list[bytes]) -> bytes:
        return array([bulk(b"%b/%d" % (self._history, self.place.id)), *marks])


class ScanRead(ShardRead):
    """SCAN: goes on in the slots that the group serves, up to the first that it does not."""

    __slots__ = ()

    names_slot = False

    def __init__(self, args: Arguments, hash_slot: int, place: Place, *, is_silent: bool) -> None:
        super().__init__(_nothing, args, hash_slot, place, is_silent=is_silent)

    def prepare(self) -> None:
        """Walk this node's copy."""
        assert isinstance(self.place, Here), "it is carried out here"
        self.function = partial(scan_served, self.place.machine.holdings)


def _check_marks_last(store: Store) -> None:
    """Refuse marks that a new group gives before they last: what was held may have come to one."""
    if not marks_last(store):
        raise Refused(TOO_NEW)


def _nothing(_store: Store, _args: Arguments, _now_ms: int) -> bytes:
    return NULL_ARRAY
