"""Cores in a cluster without a runtime: every message, write and tick of the clock happens only when it is told to.

For dialogues (`dialogue.py`) and random walks over the core alone: faster and finer than the whole node under
simulation, because a walk chooses each single delivery, write and crash. The invariants of `core.invariants` hold after
every step, or `SafetyViolation` says which did not.
"""

import random
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, HardState, SnapshotMeta
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
from raftline.core.ids import Index, NodeId
from raftline.core.invariants import Record, Watch
from raftline.core.membership import Membership
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    Message,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftline.core.raft import Raft
from raftline.core.ready import Answer, ChunkReceived, ChunkWanted, Outgoing, Ready
from raftline.errors import SafetyViolation
from raftline.sim.majorities import can_decide
from raftline.sim.put_off import decided, may_be_put_off

__all__ = ["CoreCluster", "CoreDisk", "CoreNode", "InFlight"]

_CHUNK_BYTES = 64
_TURNS_MAX = 10_000

_Applied: TypeAlias = list[tuple[Index, bytes]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[NodeId, _Applied]).decode


def _to_file(name: NodeId, applied: _Applied) -> bytes:
    """Encode a snapshot: a checksum, then who took it (so no two nodes write the same bytes) and the state."""
    content = _encode((name, applied))
    return zlib.crc32(content).to_bytes(4, "little") + content


def _from_file(content: bytes) -> _Applied | None:
    """Decode a snapshot; None if it is damaged."""
    if zlib.crc32(content[4:]).to_bytes(4, "little") != content[:4]:
        return None
    return _decode(content[4:])[1]


class InFlight(msgspec.Struct, eq=False):
    """A message on its way."""

    source: NodeId
    target: NodeId
    message: Message


class CoreDisk:
    """What survives a crash of one node: hard state, entries, the newest complete snapshot."""

    def __init__(self) -> None:
        self.hard_state: HardState | None = None
        self.entries: list[Entry] = []
        self.snapshot = SnapshotMeta()
        self.snapshot_bytes = b""
        self.partial: tuple[SnapshotMeta, bytearray] | None = None

    @property
    def last_index(self) -> Index:
        """Return the last index that log or snapshot hold."""
        return max(self.entries[-1].index if self.entries else 0, self.snapshot.index)

    def write(self, ready: Ready) -> None:
        """Carry out one batch as the log on disk would; a gap in it could never be read back."""
        if ready.reset is not None:
            self.entries = []
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        if ready.entries:
            first = ready.entries[0].index
            if self.entries and first > self.entries[-1].index + 1:
                raise SafetyViolation(f"entry {first} is written behind entry {self.entries[-1].index}: a gap on disk")
            self.entries = [entry for entry in self.entries if entry.index < first]
            self.entries += ready.entries

    def store(self, meta: SnapshotMeta, content: bytes) -> None:
        """Keep a complete snapshot if it is newer."""
        if meta.index > self.snapshot.index:
            self.snapshot, self.snapshot_bytes = meta, content

    def recover(self) -> list[Entry]:
        """Return the entries behind the snapshot, as start-up sorts them out (D10)."""
        covered = self.snapshot.index
        behind = [entry for entry in self.entries if entry.index > covered]
        agrees = any((entry.index, entry.term) == (covered, self.snapshot.term) for entry in self.entries)
        if self.entries and self.entries[0].index <= covered and not agrees:
            behind = []
        if behind and behind[0].index != covered + 1:
            raise SafetyViolation(f"the disk's log starts at {behind[0].index}, its snapshot ends at {covered}")
        self.entries = behind
        return behind


class CoreNode:
    """One life after another of one replica, its disk, and what that disk has yet to do.

    The state machine is the list of what was applied; a snapshot is that list, encoded.
    """

    def __init__(self, name: NodeId, cluster: "CoreCluster") -> None:
        self.name = name
        self.disk = CoreDisk()
        self.slow_disk = False
        self.has_lost = False
        """Its disk was lost at some time."""
        self.held = False
        self.slow_machine = False
        """Its state machine is told of snapshots and entries, and is not done with them."""
        self.raft: Raft | None = None
        self.lives = 0
        self.started_at = 0.0
        self.to_persist: deque[Ready] = deque()
        self.jobs: deque[ChunkWanted | ChunkReceived] = deque()
        self.applied: _Applied = []
        self.readers: dict[NodeId, tuple[SnapshotMeta, bytes]] = {}
        self._working = False
        self.outcomes: dict[int, Index | None] = {}
        self.answers: dict[int, Answer] = {}
        self.asked: dict[int, int] = {}
        self._cluster = cluster
        self._watch: Watch | None = None

    @property
    def core(self) -> Raft:
        """Return the running core."""
        assert self.raft is not None, f"{self.name} is up"
        return self.raft

    @property
    def state(self) -> Any:
        """Return the running core's state."""
        return self.core.state

    def start(self) -> None:
        """Begin a new life from what the disk holds."""
        cluster, disk = self._cluster, self.disk
        self.lives += 1
        self.started_at = cluster.now
        entries = disk.recover()
        self.applied = (_from_file(disk.snapshot_bytes) if disk.snapshot_bytes else None) or []
        self.raft = Raft(
            self.name,
            cluster.membership if self.name in cluster.membership.voters else Membership(),
            random=cluster.random_of(self),
            now=cluster.now,
            config=cluster.config,
            hard_state=disk.hard_state,
            snapshot=disk.snapshot,
            entries=entries,
        )
        self._watch = Watch(self.raft.state, cluster.record)
        cluster.on_started(self)

    def crash(self, *, written: int = 0) -> None:
        """Die: of what waits for the disk the first `written` batches made it, unknown to anybody."""
        for _ in range(min(written, len(self.to_persist))):
            self.disk.write(self.to_persist.popleft())
        self.to_persist.clear()
        self.jobs.clear()
        self.readers.clear()
        self.held = False
        self.disk.partial = None
        self.outcomes.clear()
        self.answers.clear()
        self.asked.clear()
        self.raft = self._watch = None
        self._working = False

    def step(self, event: Event) -> Index:
        """Give the core one event and carry out what is ready."""
        state = self.state
        membership, commit = state.membership, state.commit
        before = decided(self.core) if may_be_put_off(self.core, event) else None
        result = self.core.step(event, self._cluster.now)
        self._check(event)
        if before not in (None, decided(self.core)):
            raise SafetyViolation(f"{self.name} could have put off {event!r}, and something followed from it")
        if self.core.is_leader and state.commit > commit:
            self._cluster.check_stored(self.name, state.commit, membership)  # a change may follow in the same step
        self.work()
        return result

    def work(self) -> None:
        """Carry out what is ready, unless this node is `held`: then several events share one turn."""
        if not self._working and not self.held:
            self._working = True
            self._work()
            self._working = False

    def propose(self, *commands: bytes) -> Index:
        """Hand commands in; return the first one's index, 0 if this node does not lead."""
        return self.step(Proposed(commands))

    def ask(self, read_id: int, event: Event) -> None:
        """Step a read; it must be answered once, with nothing older than what is committed by now (G3)."""
        self.asked[read_id] = len(self._cluster.record.committed)
        self.step(event)

    def fire(self) -> None:
        """Let the timer run out where it has; afterwards the next deadline must lie ahead."""
        now = self._cluster.now
        if now >= self.core.next_deadline:
            self.step(TimerDue())
            if self.core.next_deadline <= now and not self.held:
                raise SafetyViolation(
                    f"{self.name} would spin: its deadline {self.core.next_deadline} is not ahead of {now}"
                )

    def persist(self, count: int = 1) -> None:
        """Finish `count` writes, oldest first: send what waited for them, and tell the core."""
        while self.to_persist and count > 0:
            count -= 1
            ready = self.to_persist.popleft()
            self.disk.write(ready)
            self._send(ready.messages_after_persist)
            if ready.must_persist:
                self.step(Persisted(ready.number))

    def work_on_snapshot(self) -> None:
        """Finish the oldest job of the snapshot's disk thread."""
        job = self.jobs.popleft()
        disk = self.disk
        if isinstance(job, ChunkWanted):
            offset = job.offset
            meta, content = self.readers.get(job.to, (disk.snapshot, disk.snapshot_bytes))
            if meta.index != job.index or offset == 0:
                meta, content = disk.snapshot, disk.snapshot_bytes
                offset = offset if meta.index == job.index else 0
            self.readers[job.to] = (meta, content)  # a file that is open stays, whatever is newer by now
            data = content[offset : offset + self._cluster.config.snapshot_chunk_bytes]
            self.step(ChunkRead(job.to, meta, offset, data, offset + len(data) >= len(content)))
            return
        request = job.request
        if disk.partial is None or disk.partial[0] != job.meta or request.offset == 0:
            disk.partial = (job.meta, bytearray())
        stored = disk.partial[1]
        assert request.offset == len(stored), "chunks are asked for in order"
        stored += request.data
        if not request.done:
            self.step(ChunkStored(job.meta, len(stored), complete=False))
            return
        disk.partial = None
        good = _from_file(bytes(stored)) is not None
        if good:
            disk.store(job.meta, bytes(stored))
        self.step(ChunkStored(job.meta, len(stored) if good else 0, complete=good))

    def take_snapshot(self, keep: int = 0) -> None:
        """Snapshot what is applied, and compact all but `keep` entries."""
        state = self.state
        index = state.applied
        if index <= state.snapshot.index:
            return
        term = state.log.term_at(index)
        assert term is not None, "what is applied and not in a snapshot is in the log"
        meta = SnapshotMeta(index, term, state.configuration.at(index))
        self.disk.store(meta, self.snapshot_file(self.applied))
        self.step(SnapshotTaken(meta, max(state.log.base_index, index - keep)))

    def snapshot_file(self, applied: _Applied) -> bytes:
        """Return the file that a snapshot of `applied`, taken here, would be."""
        return _to_file(self.name, applied)

    def _check(self, event: object) -> None:
        assert self._watch is not None, "it runs"
        try:
            self._watch.check()
        except SafetyViolation as error:
            error.add_note(f"after {event!r}")
            raise

    def _work(self) -> None:
        for _ in range(_TURNS_MAX):
            ready = self.core.take_ready()
            self._check(ready)
            if ready is None:
                return
            self._cluster.on_ready(self, ready)
            assert self.core.has_more or self.core.take_ready() is None, "has_more knows whether a Ready was everything"
            self._carry_out(ready)
        raise SafetyViolation(f"{self.name} has something to do for ever")

    def _carry_out(self, ready: Ready) -> None:
        self._send(ready.messages)
        for outcome in ready.reads:
            self._on_outcome(outcome.read_id, outcome.index)
        for answer in ready.answers:
            if answer.request_id in self.answers:
                raise SafetyViolation(f"{self.name} answers request {answer.request_id} twice")
            self.answers[answer.request_id] = answer
        self.jobs.extend(ready.chunks_wanted)
        self.jobs.extend(ready.chunks_received)
        self.to_persist.append(ready)
        if not self.slow_disk or not (ready.must_persist or len(self.to_persist) > 1):
            self.persist(len(self.to_persist))
        if ready.install is not None:
            assert self.disk.snapshot.index >= ready.install.index, "only what is stored is installed"
            content = _from_file(self.disk.snapshot_bytes)
            assert content is not None, "what is stored was checked"
            self.applied = [item for item in content if item[0] <= ready.install.index]
        if ready.committed:
            assert not self.applied or self.applied[-1][0] + 1 == ready.committed[0].index, "in order, each once (F8)"
            self.applied += [(entry.index, entry.data) for entry in ready.committed]
        if (ready.install is not None or ready.committed) and not self.slow_machine:
            self.step(Applied(self.applied[-1][0]))

    def finish_applying(self) -> None:
        """Let the state machine be as far as it was told."""
        self.slow_machine = False
        self.step(Applied(self.applied[-1][0]))

    def _on_outcome(self, read_id: int, index: Index | None) -> None:
        if read_id in self.outcomes:
            raise SafetyViolation(f"{self.name} answers read {read_id} twice")
        self.outcomes[read_id] = index
        if index is not None and index < self.asked[read_id]:
            raise SafetyViolation(
                f"{self.name} answers read {read_id} as of {index}; {self.asked[read_id]} was committed when it came"
            )

    def _send(self, messages: Iterable[Outgoing]) -> None:
        for out in messages:
            self._check_durable(out.message)
            if isinstance(out.message, TimeoutNow):
                self._cluster.check_successor(self, out.to)
            self._cluster.on_sent(InFlight(self.name, out.to, out.message))

    def _check_durable(self, message: Message) -> None:
        """Nothing is said that a crash could take back (C2)."""
        known = self.disk.hard_state or HardState()
        wrong = False
        if isinstance(message, VoteRequest):
            wrong = not message.pre_vote and (known.term, known.vote is not None) < (message.term, True)
        elif isinstance(message, VoteReply):
            votes = message.granted and not message.pre_vote
            wrong = votes and (known.term, known.vote is not None) < (message.request_term, True)
        elif isinstance(message, AppendReply):
            wrong = known.term < message.term or (message.success and message.match_index > self.disk.last_index)
        elif isinstance(message, AppendRequest | SnapshotReply):
            wrong = known.term < message.term
        if wrong:
            raise SafetyViolation(
                f"{self.name} says {message} while its disk holds {known} up to {self.disk.last_index}"
            )


class CoreCluster:
    """Nodes, the messages between them, and a clock that stands still until it is moved.

    The first `size` nodes vote from the beginning, the `spares` behind them wait to be added.
    """

    def __init__(
        self,
        size: int,
        *,
        spares: int = 0,
        config: CoreConfig | None = None,
        seed: int = 0,
        random_of: Callable[[CoreNode], Any] | None = None,
    ) -> None:
        names = [f"n{number}" for number in range(1, size + 1)]
        self.config = config or CoreConfig(snapshot_chunk_bytes=_CHUNK_BYTES)
        self.membership = Membership.of({name: f"{name}:1" for name in names})
        names += [f"n{number}" for number in range(size + 1, size + spares + 1)]
        self.record = Record()
        self.now = 0.0
        self.random_of = random_of or (lambda node: random.Random(f"{seed}/{node.name}/{node.lives}"))  # noqa: S311  timeouts are no secrets
        self.nodes = {name: CoreNode(name, self) for name in names}
        self.pool: list[InFlight] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.on_ready: Callable[[CoreNode, Ready], None] = lambda _node, _ready: None
        self.on_started: Callable[[CoreNode], object] = lambda _node: None

    def start(self) -> None:
        """Start every node that is down."""
        for node in self.nodes.values():
            if node.raft is None:
                node.start()

    def check_stored(self, leader: NodeId, index: Index, membership: Membership) -> None:
        """What a leader commits is on the disks of a quorum (B13, §6); a disk that was lost held it once.

        Of a node that never ran whoever speaks for it vouches.
        """
        missing = {
            name
            for name, node in self.nodes.items()
            if node.lives and not node.has_lost and node.disk.last_index < index
        }
        holders = {name for name in membership.everyone() if name not in missing}
        if not can_decide(membership, holders):
            raise SafetyViolation(f"{leader} commits {index}, on the disks of {sorted(holders)} only")

    def check_successor(self, leader: CoreNode, to: NodeId) -> None:
        """Whoever is to take over holds all that its leader does (thesis 3.10)."""
        node, last_index = self.nodes[to], leader.state.log.last_index
        if node.lives and not node.has_lost and node.disk.last_index < last_index:
            raise SafetyViolation(
                f"{leader.name} hands {last_index} entries over to {to}, which holds {node.disk.last_index}"
            )

    def up(self) -> list[CoreNode]:
        """Return the nodes that run, by name."""
        return [node for node in self.nodes.values() if node.raft is not None]

    def leaders(self) -> list[CoreNode]:
        """Return who takes itself for leader, the highest term last."""
        return sorted((node for node in self.up() if node.core.is_leader), key=lambda node: node.core.term)

    def on_sent(self, flight: InFlight) -> None:
        """Take a message; a cut link loses it."""
        if (flight.source, flight.target) not in self.cut:
            self.pool.append(flight)

    def deliver(self, flight: InFlight, *, keep: bool = False) -> bool:
        """Hand over a message of the pool (a copy, with `keep`); return False if its target is down."""
        if not keep:
            self.pool.remove(flight)
        node = self.nodes.get(flight.target)
        if node is None or node.raft is None:
            return False
        node.step(Received(flight.source, flight.message))
        return True

    def next_deadline(self) -> float:
        """Return when the next timer of anybody runs out; a held node's is late."""
        return min((node.core.next_deadline for node in self.up() if not node.held), default=float("inf"))

    def advance(self, until: float) -> None:
        """Move the clock, letting timers fire on the way, in order; nothing is delivered."""
        while (due := self.next_deadline()) <= until:
            self.now = max(self.now, due)
            for node in self.up():
                if not node.held:
                    node.fire()
        self.now = max(self.now, until)

    def settle(self, steps_max: int = 100_000) -> None:
        """Deliver, write and read until nothing is under way; the clock stands still."""
        for _ in range(steps_max):
            if self.pool:
                self.deliver(self.pool[0])
                continue
            busy = [node for node in self.up() if node.jobs or node.to_persist]
            if not busy:
                return
            for node in busy:
                node.persist(len(node.to_persist))
                if node.jobs:
                    node.work_on_snapshot()
        raise SafetyViolation(f"the cluster does not come to rest within {steps_max} steps")

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let everything work without faults for so long, or until `until` holds; return whether it does."""
        end = self.now + seconds
        self.settle()
        while not until():
            due = self.next_deadline()
            if due > end:
                self.now = end
                return until()
            self.advance(due)
            self.settle()
        return True
