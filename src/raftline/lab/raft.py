"""Make and Start of the MIT labs, as a thin face of `core`: bytes in, bytes out, one event loop, no second Raft.

Everything runs in callbacks of the loop that `make` was called in. A turn is: events into the core, then `_drive`,
which saves, then sends, then hands over to the one applier. No RPC is ever waited for: each call is a task of its own,
and what it brings back is one more event. It refuses to know where time, peers and storage come from.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec

from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, SnapshotMeta
from raftline.core.events import (
    Applied,
    ChunkRead,
    ChunkStored,
    Event,
    Persisted,
    Proposed,
    Received,
    SnapshotTaken,
    TimerDue,
)
from raftline.core.ids import Index, Term
from raftline.core.membership import Membership
from raftline.core.raft import Raft as Core
from raftline.core.ready import ChunkReceived, Outgoing, Ready
from raftline.errors import ConfigError, CorruptLog
from raftline.lab.image import LogImage
from raftline.lab.persister import Storage
from raftline.lab.wire import METHODS, Answer, Question, Wire

__all__ = ["LAB_CONFIG", "Apply", "ApplyMsg", "ClientEnd", "Raft", "make"]

_logger = logging.getLogger(__name__)

LAB_CONFIG = CoreConfig(
    heartbeat_interval_s=0.2,
    commit_notice_s=0.02,
    election_timeout_s=(0.6, 1.2),
    pre_vote=False,
    check_quorum=False,
    noop=False,
    guard_lost_disk=False,
)
"""Figure 2 and nothing else: the lab counts on exact indices (L47), and heartbeats at most 10 times a second (J1)."""

_BATCH_S = 0.015
"""Commands that follow each other faster than this travel together; the first one goes at once (B29)."""


class ApplyMsg(msgspec.Struct, frozen=True):
    """What a server delivers: a committed command or a snapshot, whichever `*_valid` says (H4)."""

    command_valid: bool = False
    command: bytes = b""
    command_index: int = 0
    command_term: int = 0
    snapshot_valid: bool = False
    snapshot: bytes = b""
    snapshot_term: int = 0
    snapshot_index: int = 0


class ClientEnd(Protocol):
    """The way to one peer."""

    async def call(self, method: str, args: bytes) -> bytes | None:
        """Ask the peer and return its reply; None when the request or the reply was lost, maybe after 7 s."""


class Apply(Protocol):
    """Where committed commands go; an `asyncio.Queue` will do."""

    async def put(self, message: ApplyMsg, /) -> None:
        """Take one message; may be slow."""


def make(peers: Sequence[ClientEnd], me: int, persister: Storage, apply: Apply) -> "Raft":
    """Start server `me` of `peers` from what `persister` holds, inside a running event loop, and return at once (H1).

    Raises `ConfigError` if `me` is no position in `peers`, `CorruptLog` if the persister's content is not a server's.
    """
    return Raft(peers, me, persister, apply)


class Raft:
    """One server; every method is to be called in the event loop that it was made in.

    Invariants: nothing leaves before what it depends on is saved (C2); after `kill` nothing leaves at all (E8).
    """

    def __init__(self, peers: Sequence[ClientEnd], me: int, persister: Storage, apply: Apply) -> None:
        if not 0 <= me < len(peers):
            raise ConfigError(f"me is {me}, but peers has positions 0 to {len(peers) - 1}")
        self._loop = asyncio.get_running_loop()
        self._peers = list(peers)
        self._me = me
        self._persister = persister
        self._apply = apply
        self._wire = Wire(me)
        self._snapshot = persister.read_snapshot()
        self._image = LogImage(persister.read_raft_state())
        if self._snapshot and not self._image.base_index:
            raise CorruptLog("the persister holds a snapshot, but a raft_state that knows of none")
        self._incoming: ChunkReceived | None = None
        self._killed = False
        self._calls: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._flushed_at = float("-inf")
        self._undelivered: deque[Entry | ApplyMsg] = deque()
        self._delivered: Index = self._image.base_index
        self._applier: asyncio.Task[None] | None = None
        self._asker: str | None = None
        self._answer: Answer | None = None
        membership = Membership(voters=tuple(sorted(str(position) for position in range(len(peers)))))
        self._core = Core(
            str(me),
            membership,
            random=random.Random(f"{random.getrandbits(64)} of server {me}"),  # noqa: S311  timeouts are no secrets
            now=self._loop.time(),
            config=LAB_CONFIG,
            hard_state=self._image.hard_state,
            snapshot=SnapshotMeta(self._image.base_index, self._image.base_term, membership),
            entries=self._image.entries(),
        )
        self._arm_timer()

    def start(self, command: bytes) -> tuple[Index, Term, bool]:
        """Append `command` if this server leads: (index it commits at, if ever; term; True), else (-1, term, False).

        Commands of one turn of the loop are saved and sent together (B29). Raises `TypeError` for anything but bytes.
        """
        if not isinstance(command, (bytes, bytearray, memoryview)):
            raise TypeError(f"a command is bytes, not {type(command).__name__}")
        if self._killed or not self._core.is_leader:
            return -1, self._core.term, False
        index = self._step(Proposed((bytes(command),)))
        if self._flush is None:
            self._flush = self._loop.call_at(max(self._flushed_at + _BATCH_S, self._loop.time()), self._on_flush)
        return index, self._core.term, True

    def get_state(self) -> tuple[Term, bool]:
        """Return the current term and whether this server takes itself for its leader (H3)."""
        return self._core.term, self._core.is_leader and not self._killed

    def snapshot(self, index: Index, data: bytes) -> None:
        """Take over the service's snapshot of everything up to `index` and drop the log before it (D1).

        An index that a snapshot covers already is ignored. Raises `ConfigError` for one that was not delivered (D3).
        """
        if self._killed or index <= self._image.base_index:
            return
        if index > self._delivered:
            raise ConfigError(f"a snapshot at {index}, but only commands up to {self._delivered} were delivered")
        self._drive()
        log = self._core.state.log
        term = log.term_at(index)
        if self._killed or term is None:
            return  # saving what was pending ended this server, or installed a newer snapshot
        meta = SnapshotMeta(index, term, self._core.state.membership)
        self._image.compact_to(index, term)
        self._snapshot = bytes(data)
        self._save()  # may raise; nothing depends on this snapshot yet, so the server goes on
        self._step(SnapshotTaken(meta, index))
        self._drive()

    async def handle(self, method: str, args: bytes) -> bytes:
        """Answer a peer's call; empty if there is no answer: not understood, or killed (E8)."""
        if self._killed:
            return b""
        request = self._wire.decode_request(method, args)
        if request is None or not 0 <= request.sender < len(self._peers) or request.sender == self._me:
            _logger.warning("server %d: a call of %r with %d bytes that no peer sends", self._me, method, len(args))
            return b""
        self._asker = str(request.sender)
        try:
            self._step(Received(self._asker, request.message))
            self._drive()
            answer = self._answer
        finally:
            self._asker = None
            self._answer = None
        return b"" if answer is None or self._killed else self._wire.encode_answer(answer)

    def kill(self) -> None:
        """Stop for good: no work, no output (H5)."""
        self._killed = True
        current = asyncio.current_task(self._loop)
        for task in (*self._calls, self._applier):
            if task is not None and task is not current:
                task.cancel()
        for handle in (self._timer, self._flush):
            if handle is not None:
                handle.cancel()
        self._timer = self._flush = None
        self._undelivered.clear()
        self._wire.forget()

    def _step(self, event: Event) -> Index:
        """Give the core one event; a broken promise ends this server."""
        try:
            return self._core.step(event, self._loop.time())
        except BaseException:
            self.kill()
            raise

    def _drive(self) -> None:
        """Do what the core asks for until nothing is left; a failure ends this server: nothing unsaved may leave."""
        try:
            while not self._killed and (ready := self._core.take_ready()) is not None:
                self._carry_out(ready)
        except BaseException:
            self.kill()
            raise
        self._wire.forget()
        self._arm_timer()

    def _carry_out(self, ready: Ready) -> None:
        """One `Ready`, in the order it demands: save, then send, then hand over, then move snapshots."""
        if ready.install is not None:
            self._take_snapshot(ready.install, whole_log=ready.reset is not None)
        if ready.hard_state is not None:
            self._image.hard_state = ready.hard_state
        self._image.put(ready.entries)
        if ready.must_persist or ready.install is not None:
            self._save()
        if self._killed:
            return
        if ready.must_persist:
            self._step(Persisted(ready.number))
        for outgoing in (*ready.messages, *ready.messages_after_persist):
            self._send(outgoing)
        self._hand_over(ready.committed)
        for wanted in ready.chunks_wanted:
            self._step(ChunkRead(wanted.to, self._core.state.snapshot, 0, self._snapshot, done=True))
        for chunk in ready.chunks_received:
            self._incoming = chunk
            complete = chunk.request.done and not chunk.request.offset
            self._step(ChunkStored(chunk.meta, len(chunk.request.data) if complete else 0, complete))

    def _take_snapshot(self, meta: SnapshotMeta, *, whole_log: bool) -> None:
        """Let the snapshot that came in stand for the log up to `meta`, and for what was yet to be delivered (D11)."""
        assert self._incoming is not None, "a snapshot is installed right after it came in"
        assert self._incoming.meta == meta, "and it is the one that came in"
        self._snapshot = self._incoming.request.data
        self._incoming = None
        if whole_log:
            self._image.restart_at(meta)
        else:
            self._image.compact_to(meta.index, meta.term)
        self._undelivered.clear()
        message = ApplyMsg(
            snapshot_valid=True, snapshot=self._snapshot, snapshot_term=meta.term, snapshot_index=meta.index
        )
        self._undelivered.append(message)
        self._wake_applier()

    def _save(self) -> None:
        """Save state and snapshot together (C10, C11)."""
        self._persister.save(self._image.encode(), self._snapshot)

    def _send(self, outgoing: Outgoing) -> None:
        """Call a peer, or keep the message as the answer to the call that is being handled."""
        message = outgoing.message
        if isinstance(message, Answer):
            if outgoing.to == self._asker:
                self._answer = message
            return
        assert isinstance(message, Question), "without pre-vote, reads and transfers only the paper's RPCs are left"
        call = self._call(int(outgoing.to), METHODS[type(message)], self._wire.encode_request(message))
        task = self._loop.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(self, to: int, method: str, args: bytes) -> None:
        """Ask a peer and give the core what comes back, however late; nothing is a reply that did not come (E5)."""
        try:
            reply = await self._peers[to].call(method, args)
        except Exception:  # whatever a broken network raises, the message is lost
            _logger.warning("server %d: calling %s of server %d failed", self._me, method, to, exc_info=True)
            return
        answer = self._wire.decode_answer(reply) if reply and not self._killed else None
        if answer is not None and not self._killed:
            self._step(Received(str(to), answer))
            self._drive()

    def _hand_over(self, committed: Sequence[Entry]) -> None:
        """Queue what was committed for the one applier (F8), which never holds this server up (F9)."""
        if committed:
            self._undelivered.extend(committed)
            self._wake_applier()

    def _wake_applier(self) -> None:
        if self._applier is None:
            self._applier = self._loop.create_task(self._deliver())

    async def _deliver(self) -> None:
        """Deliver in index order, each once, until nothing is left; the consumer may call `snapshot` (D20)."""
        try:
            while self._undelivered and not self._killed:
                item = self._undelivered.popleft()
                if isinstance(item, Entry):
                    item = ApplyMsg(
                        command_valid=True, command=item.data, command_index=item.index, command_term=item.term
                    )
                self._delivered = item.command_index or item.snapshot_index
                self._step(Applied(self._delivered))
                await self._apply.put(item)
        except Exception:
            self.kill()  # what was not taken cannot be passed over
            raise
        finally:
            self._applier = None

    def _on_flush(self) -> None:
        self._flush = None
        self._flushed_at = self._loop.time()
        self._drive()

    def _on_timer(self) -> None:
        self._timer = None
        if self._core.next_deadline > self._loop.time():  # put off since, by a message that was sent or heard
            self._arm_timer()
            return
        self._step(TimerDue())
        self._drive()

    def _arm_timer(self) -> None:
        """Wake at the core's next deadline, or earlier; the core looks at the clock itself (A24)."""
        deadline = self._core.next_deadline
        if self._killed or deadline == float("inf"):
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_timer)
