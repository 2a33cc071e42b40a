"""Snapshot files by hand: one piece of disk work at a time, so that what may happen in between can be looked at."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from raftline import AddLearner, NodeConfig
from raftline.core.config import CoreConfig
from raftline.core.entries import Entry, SnapshotMeta
from raftline.core.events import ChunkRead, ChunkStored, Event, Persisted, Received, SnapshotTaken, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendRequest, SnapshotRequest
from raftline.core.raft import Raft
from raftline.core.ready import ChunkReceived, ChunkWanted
from raftline.errors import Stopped, StorageError
from raftline.kv.machine import KvMachine, encode_command
from raftline.replica.commands import plain
from raftline.replica.replica import Replica
from raftline.replica.state_machine import StateMachine
from raftline.runtime.node import Node, Ports
from raftline.runtime.pace import Pace
from raftline.runtime.reading import Reading
from raftline.runtime.requests import Consistency, Read
from raftline.runtime.snapshotting import Snapshotting
from raftline.wal.files import OsFiles
from raftline.wal.snapshot_store import SnapshotStore

ALONE = Membership.of({"n1": "127.0.0.1:7001"})
CHUNK_BYTES = 2000


class Disk:
    """A disk thread that does a piece of work when told to."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.submitted.append((work, done))

    def step(self) -> None:
        """Do one piece of work and hand its outcome over."""
        work, done = self.submitted.pop(0)
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  handed over, as the real thread does
            result = error
        done(result)

    def run(self) -> None:
        """Do everything that is asked for."""
        while self.submitted:
            self.step()

    def close(self) -> None:
        pass


def put(number: int, value: str) -> bytes:
    """Return a command."""
    return plain(encode_command([b"SET", f"key:{number}".encode(), value.encode() * 100]))


class Bench:
    """A replica with its snapshot files, and what it told the loop."""

    def __init__(self, name: str, directory: Path, machine: StateMachine | None = None) -> None:
        directory.mkdir(exist_ok=True)
        config = CoreConfig(pre_vote=False, guard_lost_disk=False)
        core = Raft(name, ALONE, random=Random(1), now=0.0, config=config)
        self.machine = machine or KvMachine()
        self.replica = Replica(core, self.machine)
        self.store = SnapshotStore(OsFiles(), str(directory))
        self.disk = Disk()
        self.posted: list[Event] = []
        self.installs: list[SnapshotMeta] = []
        self.failures: list[BaseException] = []
        self.moments: list[float] = []
        self.is_waiting = False
        self.later: list[Callable[[], None]] = []
        self.snapshots = Snapshotting(
            0,
            self.replica,
            self.store,
            self.disk,
            post=self.posted.append,
            fail=self.failures.append,
            now=lambda: 0.0,
            pace=Pace(lambda: 0.0, self.call_at, 1000 * CHUNK_BYTES),
            chunk_bytes=CHUNK_BYTES,
        )
        self.reading = Reading(self.replica, lambda: 0)
        self.step(TimerDue())

    def call_at(self, when: float, go: Callable[[], None]) -> None:
        """Note when, and do it at once, unless it is to wait."""
        self.moments.append(when)
        if self.is_waiting:
            self.later.append(go)
        else:
            go()

    def step(self, event: Event) -> None:
        """Step, and carry everything out; of snapshots, what is asked for, and note what is to be installed."""
        self.replica.step(event, 0.0)
        while (ready := self.replica.take_ready()) is not None:
            self.snapshots.move_chunks(ready.chunks_wanted, ready.chunks_received)
            if ready.install is not None:
                self.installs.append(ready.install)
            if ready.must_persist:
                self.replica.step(Persisted(ready.number), 0.0)
            while self.replica.has_work:
                self.replica.apply_some(1000, 0.0)

    def write(self, *commands: bytes) -> None:
        """Propose and apply; only for whoever leads alone."""
        self.replica.propose(commands, [lambda _: None] * len(commands), 0.0, 0)
        self.step(TimerDue())

    def hear(self, *commands: bytes) -> None:
        """Follow n1, who sends these first entries, all committed."""
        entries = tuple(Entry(index, 1, command) for index, command in enumerate(commands, 1))
        self.step(Received("n1", AppendRequest(1, 0, 0, entries, len(entries))))

    def read(self, number: int, consistency: Consistency = "stale") -> bytes | None:
        """Return the first byte of a key's value, b"" if it is not there; None if the read has to wait."""
        outcomes: list[Exception | None] = []
        self.reading.add(Read(outcomes.append, 1.0, consistency, 0.0))
        self.reading.route(0.0)
        self.reading.answer(0.0)
        if not outcomes:
            return None
        assert outcomes == [None]
        reply = self.machine.read(encode_command([b"GET", f"key:{number}".encode()]), 0)
        return reply.split(b"\r\n", 1)[1][:1] if reply.startswith(b"$") else b""

    def take(self) -> SnapshotMeta:
        """Take a snapshot of what is applied; return what it stands for."""
        self.snapshots.take()
        self.disk.run()
        (event,) = self.posted
        assert isinstance(event, SnapshotTaken)
        self.posted.clear()
        return event.meta


def chunk_read(bench: Bench, index: int, offset: int) -> ChunkRead:
    """Let a leader read a piece for n2."""
    bench.snapshots.move_chunks([ChunkWanted("n2", index, offset)], [])
    bench.disk.run()
    event = bench.posted.pop()
    assert isinstance(event, ChunkRead)
    return event


def stream(source: Bench, target: Bench, meta: SnapshotMeta) -> None:
    """Send a snapshot piece by piece, until it is to be installed."""
    offset, done = 0, False
    while not done:
        piece = chunk_read(source, meta.index, offset)
        request = SnapshotRequest(1, meta.index, meta.term, meta.membership, offset, piece.data, done=piece.done)
        target.step(Received("n1", request))
        target.disk.step()
        offset, done = offset + len(piece.data), piece.done
        stored = target.posted.pop()
        assert stored == ChunkStored(meta, offset, complete=done)
        assert len(piece.data) <= CHUNK_BYTES
        target.step(stored)
    assert target.installs.pop() == meta


@pytest.fixture
def leader(tmp_path: Path) -> Bench:
    """A replica that leads alone and holds some keys in many chunks."""
    bench = Bench("n1", tmp_path / "n1")
    bench.write(*(put(number, "n") for number in range(3000)))
    return bench


def file_of(meta: SnapshotMeta) -> str:
    """Return the name of a snapshot's file."""
    return f"snapshot-0-{meta.index:016d}-{meta.term}.snap"


def follower_of(leader: Bench, directory: Path, machine: StateMachine | None = None) -> tuple[Bench, SnapshotMeta]:
    """Return a follower that holds old values of a few keys, and has received the leader's snapshot of newer ones."""
    follower = Bench("n2", directory, machine)
    follower.hear(put(1, "o"), put(2, "o"), put(5000, "o"))
    meta = leader.take()
    stream(leader, follower, meta)
    return follower, meta


def test_the_old_state_is_read_until_the_new_one_takes_its_place(leader: Bench, tmp_path: Path) -> None:
    """Stale reads during a restore show all of the old and nothing of the new; linearizable ones wait for the new."""
    follower, meta = follower_of(leader, tmp_path / "n2")
    assert follower.read(1) == b"o"
    restored: list[bool] = []
    follower.snapshots.restore(meta, lambda: restored.append(True))
    waiting: list[Exception | None] = []
    follower.reading._confirm(meta.index, [Read(waiting.append, 1.0, "linearizable", 0.0)])
    seen = 0
    while not restored:
        assert [follower.read(number) for number in (1, 2, 5000, 7)] == [b"o", b"o", b"o", b""]
        assert waiting == []
        seen += 1
        follower.disk.step()
    assert seen > 4
    assert [follower.read(number) for number in (1, 2, 5000, 7)] == [b"n", b"n", b"", b"n"]
    assert waiting == [None]
    assert follower.replica.applied == meta.index
    assert follower.replica.digest.value == leader.replica.digest.value


class Emptied(KvMachine):
    """Gives its state up when a restore begins, as a machine may that does not say otherwise."""

    @property
    def reads_while_restoring(self) -> bool:
        return bool(StateMachine.reads_while_restoring.__get__(self))  # what it is if nobody says anything

    def restore_begin(self) -> None:
        self.store.flush()
        super().restore_begin()


def test_a_machine_that_gives_its_state_up_is_not_read_meanwhile(leader: Bench, tmp_path: Path) -> None:
    """Reads of every kind wait until the new state is there."""
    follower, meta = follower_of(leader, tmp_path / "n2", Emptied())
    restored: list[bool] = []
    follower.snapshots.restore(meta, lambda: restored.append(True))
    follower.disk.step()
    while not restored:
        assert follower.read(1) is None
        follower.disk.step()
    assert follower.read(1) == b"n"


def test_a_newer_snapshot_takes_over_from_a_restore_under_way(leader: Bench, tmp_path: Path) -> None:
    """What was read of the older one is forgotten, its file closed, and only the newer one is reported (D11)."""
    follower, older = follower_of(leader, tmp_path / "n2")
    restored: list[str] = []
    follower.snapshots.restore(older, lambda: restored.append("older"))
    for _ in range(3):
        follower.disk.step()
    leader.write(put(1, "x"))
    newer = leader.take()
    data = (tmp_path / "n1" / file_of(newer)).read_bytes()
    request = SnapshotRequest(1, newer.index, newer.term, newer.membership, 0, data, done=True)
    follower.step(Received("n1", request))
    while not follower.posted:
        follower.disk.step()
    follower.step(follower.posted.pop())
    assert follower.installs.pop() == newer
    follower.snapshots.restore(newer, lambda: restored.append("newer"))
    follower.disk.run()
    assert restored == ["newer"]
    assert follower.read(1) == b"x"
    assert follower.failures == []


def test_the_state_is_written_as_of_one_moment(leader: Bench, tmp_path: Path) -> None:
    """Commands that are applied while it is written are not in it; older snapshots are removed behind it (D2)."""
    old = leader.take()
    leader.snapshots.take()
    index = leader.replica.applied
    leader.disk.step()
    leader.disk.step()
    leader.write(put(1, "x"), put(9000, "x"))
    leader.disk.run()
    assert [path.name for path in (tmp_path / "n1").iterdir()] == [file_of(SnapshotMeta(index, 1, ALONE))]
    assert old.index == index
    copy = Bench("n2", tmp_path / "n2")
    stream(leader, copy, old)
    copy.snapshots.restore(old, lambda: None)
    copy.disk.run()
    assert [copy.read(number) for number in (1, 9000)] == [b"n", b""]
    assert leader.snapshots.taken == 2


def test_a_follower_is_sent_another_snapshot_from_its_beginning(leader: Bench) -> None:
    """Whoever asks to go on with one that is gone gets the newest, from offset 0 (D13)."""
    first = leader.take()
    piece = chunk_read(leader, first.index, 0)
    leader.write(put(1, "x"))
    second = leader.take()
    again = chunk_read(leader, first.index, len(piece.data))
    assert again.meta == first  # its file is open still, and stays readable
    leader.snapshots.close_readers()
    newer = chunk_read(leader, first.index, len(piece.data))
    assert (newer.meta, newer.offset) == (second, 0)
    assert leader.failures == []


def test_pieces_go_no_faster_than_was_asked_for(leader: Bench) -> None:
    """All followers share one rate, and so does the writing of a snapshot: writes need disk and network, too (§7)."""
    meta = leader.take()
    *before, _last = [len(chunk) for chunk in leader.replica.snapshot()[1]]
    assert leader.moments[-1] == pytest.approx(sum(before) / (1000 * CHUNK_BYTES))
    leader.moments.clear()
    leader.snapshots.move_chunks([ChunkWanted(name, meta.index, 0) for name in ("n2", "n3", "n4")], [])
    leader.disk.run()
    first, *others = leader.moments
    assert others == [pytest.approx(first + 0.001), pytest.approx(first + 0.002)]


def test_what_is_less_than_a_chunk_takes_less_time(leader: Bench, tmp_path: Path) -> None:
    """A thousand tiny groups of a node that comes back do not wait for a thousand chunks (E7)."""
    meta = leader.take()
    size = (tmp_path / "n1" / file_of(meta)).stat().st_size
    piece_bytes = 500
    last = size - piece_bytes
    follower, installed = follower_of(leader, tmp_path / "n2")
    follower.snapshots.restore(installed, lambda: None)
    follower.disk.run()
    for bench in (leader, follower):
        bench.moments.clear()
        bench.snapshots.move_chunks([ChunkWanted("n2", meta.index, last), ChunkWanted("n3", meta.index, last)], [])
        bench.snapshots.move_chunks([ChunkWanted("n4", meta.index, 0), ChunkWanted("n5", meta.index, 0)], [])
        bench.disk.run()
        first, *others = bench.moments[-3:]
        piece_s = piece_bytes / (1000 * CHUNK_BYTES)
        assert others == [pytest.approx(first + piece_s), pytest.approx(first + piece_s + 0.001)]


def test_a_follower_restores_at_a_pace_and_whoever_is_needed_at_once(leader: Bench, tmp_path: Path) -> None:
    """Twice as fast as a snapshot is sent, so as to take no whole core; a start or an election does not wait (D11)."""
    follower, meta = follower_of(leader, tmp_path / "n2")
    restored: list[bool] = []
    follower.moments.clear()
    follower.snapshots.restore(meta, lambda: restored.append(True))
    follower.disk.run()
    chunks = [len(chunk) for chunk in leader.replica.snapshot()[1]]
    assert follower.moments[-1] == pytest.approx(sum(chunks[:-1]) / (2 * 1000 * CHUNK_BYTES), rel=0.01)
    follower.moments.clear()
    follower.snapshots.restore_at_once(meta, lambda: restored.append(True))
    follower.disk.run()
    follower.replica.core.state.leader = None  # it stands for election, or leaves that to others for a while
    follower.snapshots.restore(meta, lambda: restored.append(True))
    follower.disk.run()
    assert (restored, follower.moments) == ([True] * 3, [])


def test_a_piece_that_is_asked_for_again_while_it_waits_is_read_once(leader: Bench) -> None:
    """The leader asks again after a while; were that charged too, a low rate would be used up by repetitions (E7)."""
    meta = leader.take()
    first = chunk_read(leader, meta.index, 0)
    leader.moments.clear()
    leader.is_waiting = True
    for offset in (0, 0, len(first.data)):
        leader.snapshots.move_chunks([ChunkWanted("n2", meta.index, offset)], [])
    assert len(leader.moments) == 1
    (go,) = leader.later
    go()
    leader.disk.run()
    (event,) = leader.posted
    assert isinstance(event, ChunkRead)
    assert event.offset == len(first.data)
    leader.posted.clear()
    leader.snapshots.move_chunks([ChunkWanted("n2", meta.index, 0)], [])
    assert len(leader.later) == 2
    leader.snapshots.close_readers()
    leader.later[1]()
    leader.disk.run()
    assert leader.posted == [], "nobody reads for a leader that was deposed"


def test_a_damaged_piece_is_found_at_the_end_and_all_of_it_given_up(leader: Bench, tmp_path: Path) -> None:
    """One wrong byte: no file, nothing installed, begin again at offset 0 (D12)."""
    follower = Bench("n2", tmp_path / "n2")
    meta = leader.take()
    data = bytearray((tmp_path / "n1" / file_of(meta)).read_bytes())
    data[len(data) // 2] ^= 1
    request = SnapshotRequest(1, meta.index, meta.term, meta.membership, 0, bytes(data), done=True)
    follower.snapshots.move_chunks([], [ChunkReceived(meta, request)])
    follower.disk.run()
    assert follower.posted == [ChunkStored(meta, 0, complete=False)]
    assert list((tmp_path / "n2").iterdir()) == []


def test_whoever_wants_a_snapshot_is_told_when_it_is_durable(leader: Bench) -> None:
    """Not by an older one; a node that stops says so."""
    outcomes: list[Exception | None] = []
    leader.snapshots.want(outcomes.append)
    assert leader.snapshots.is_wanted
    leader.take()
    assert outcomes == [None]
    leader.snapshots.want(outcomes.append)
    assert outcomes == [None, None]
    leader.write(put(1, "x"))
    leader.snapshots.want(outcomes.append)
    leader.snapshots.stop()
    leader.snapshots.want(outcomes.append)
    assert [type(outcome) for outcome in outcomes[2:]] == [Stopped, Stopped]


def test_a_disk_that_fails_stops_the_node(leader: Bench, tmp_path: Path) -> None:
    """The error is handed on, once; afterwards nothing comes back any more."""
    leader.snapshots.take()
    (tmp_path / "n1").rmdir()
    leader.disk.run()
    (failure,) = leader.failures
    assert isinstance(failure, StorageError)
    leader.snapshots.stop()
    leader.snapshots.read_chunk(ChunkWanted("n2", 1, 0))
    assert leader.disk.submitted == []


class Learner:
    """A core without disk and state machine, which answers at once."""

    def __init__(self, name: str, wire: "Wire") -> None:
        self.name = name
        self.wire = wire
        self.received = 0
        self.core = Raft(name, Membership.of({}), random=Random(1), now=0.0, config=CoreConfig(guard_lost_disk=False))

    def step(self, event: Event) -> None:
        """Step and carry out; a piece of a snapshot counts as stored at once."""
        self.core.step(event, 0.0)
        while (ready := self.core.take_ready()) is not None:
            if ready.must_persist:
                self.core.step(Persisted(ready.number), 0.0)
            for outgoing in (*ready.messages, *ready.messages_after_persist):
                if outgoing.to == "n1":
                    self.wire.deliver(self.name, outgoing.message)
            for piece in ready.chunks_received:
                self.received = piece.request.offset + len(piece.request.data)
                self.core.step(ChunkStored(piece.meta, self.received, complete=piece.request.done), 0.0)


class Wire:
    """A transport to learners on links so slow that a piece of a snapshot takes until the test lets it arrive."""

    def __init__(self) -> None:
        self.learners: dict[str, Learner] = {}
        self.on_the_way: dict[str, list[SnapshotRequest]] = {}
        self.deliver: Callable[[str, Any], None] = lambda _name, _message: None

    async def start(self, on_message: Callable[..., None], *_others: object, on_lost: object = None) -> None:  # noqa: ARG002  no link breaks
        self.deliver = lambda name, message: on_message(name, 0, message)

    def send(self, to: str, _group: int, message: Any) -> None:
        if isinstance(message, SnapshotRequest):
            self.on_the_way.setdefault(to, []).append(message)
        elif to in self.learners:
            self.learners[to].step(Received("n1", message))

    def arrive(self, to: str) -> None:
        """Let the oldest piece on the way to a learner arrive."""
        self.learners[to].step(Received("n1", self.on_the_way[to].pop(0)))

    def flush(self) -> None:
        pass

    def trouble(self) -> None:
        """Say that all is well."""

    def reaches(self, to: str) -> bool:
        return bool(to)

    def has_room(self, to: str, size_bytes: int) -> bool:
        return bool(to) and size_bytes > 0

    def tell_stranger(self, to: str, word: object) -> None:
        pass

    def set_peers(self, addresses: dict[str, str]) -> None:
        pass

    async def stop(self) -> None:
        pass


def test_many_slow_followers_at_once_do_not_stop_the_leader(tmp_path: Path) -> None:
    """Six snapshots are sent at the same time, one piece to each; commands are committed all the while (D7)."""

    async def scenario() -> None:
        wire = Wire()
        core = CoreConfig(snapshot_chunk_bytes=CHUNK_BYTES, snapshot_retry_s=1000.0)
        config = NodeConfig(
            node_id="n1", members={"n1": "127.0.0.1:7001"}, data_dir=str(tmp_path / "n1"), core=core,
            snapshot_log_entries=500, keep_log_entries=10,
        )  # fmt: skip
        ports = Ports.real(config)
        ports.transport = wire
        async with Node(config, KvMachine(), ports=ports) as leader:
            for start in range(0, 2000, 100):
                commands = [
                    encode_command([b"SET", b"key:%d" % number, b"v" * 20]) for number in range(start, start + 100)
                ]
                await asyncio.gather(*(leader.propose(command) for command in commands))
            names = [f"n{number}" for number in range(4, 10)]
            for number, name in enumerate(names):
                wire.learners[name] = Learner(name, wire)
                await leader.change_membership(AddLearner(name, f"127.0.0.1:{7004 + number}", promote=False))
            turns = 0
            while len(wire.on_the_way) < len(names):
                await leader.propose(encode_command([b"INCR", b"turns"]))
                turns += 1
            for _ in range(5):  # pieces of many
                for _ in range(40):
                    await leader.propose(encode_command([b"INCR", b"turns"]))
                    turns += 1
                    assert [len(pieces) for pieces in wire.on_the_way.values()] == [1] * len(names)
                for name in names:
                    assert len(wire.on_the_way[name][0].data) <= CHUNK_BYTES
                    wire.arrive(name)
                    while not wire.on_the_way[name]:
                        await leader.propose(encode_command([b"INCR", b"turns"]))
                        turns += 1
            modes = {member.node_id: member.mode for member in leader.members() if member.node_id != "n1"}
            assert modes == dict.fromkeys(names, "snapshot")
            assert {learner.received for learner in wire.learners.values()} == {5 * CHUNK_BYTES}
            assert await leader.propose(encode_command([b"INCR", b"turns"])) == f":{turns + 1}\r\n".encode()

    asyncio.run(scenario())
