"""How far the log goes behind a snapshot: real nodes, a follower that is slow with its snapshot, one that is away."""

import asyncio
import shutil
from types import SimpleNamespace
from typing import Any

from msgspec import structs
from tests.runtime.conftest import CALM

from raftline import NodeConfig
from raftline.core.configuration import Configuration, encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry, SnapshotMeta
from raftline.core.log import Log
from raftline.core.membership import Membership
from raftline.core.progress import Mode, PeerProgress
from raftline.core.state import Role
from raftline.runtime.compaction import Compaction
from raftline.runtime.sharing import Shared

ENTRIES = 50
"""Between two snapshots."""


async def _write(leader: Any, count: int) -> None:
    for start in range(0, count, 50):
        await asyncio.gather(*(leader.propose(b"k%d=%d" % (n % 40, n)) for n in range(start, start + 50)))


def test_the_log_is_bounded_while_a_follower_is_away(make_cluster: Any) -> None:
    """Nobody waits for a machine that does not answer (D18)."""

    async def scenario() -> None:
        async with make_cluster(snapshot_log_entries=ENTRIES, keep_log_entries=10) as cluster:
            leader = await cluster.leader()
            name = (await cluster.follower()).config.node_id
            await cluster.stop(name)
            await _write(leader, 20 * ENTRIES)
            await cluster.until(lambda: leader.status().last_index - leader.status().compacted_index <= 3 * ENTRIES)

    asyncio.run(scenario())


def test_of_large_entries_fewer_are_kept(make_cluster: Any) -> None:
    """What is kept for followers that are a little behind is no more than is written between two snapshots (D18)."""

    async def scenario() -> None:
        bytes_apart = 100_000
        async with make_cluster(1, snapshot_log_bytes=bytes_apart) as cluster:
            leader = await cluster.leader()
            for number in range(200):
                await leader.propose(b"k%d=%s" % (number % 3, b"x" * 10_000))
            await cluster.until(lambda: leader.status().log_bytes <= 3 * bytes_apart)
            assert leader.status().compacted_index < leader.status().snapshot_index, "some are"
            small = leader.status().compacted_index
            await _write(leader, 500)
            assert leader.status().compacted_index <= small + 20, "of small ones as many as are wanted"

    asyncio.run(scenario())


def test_snapshots_go_on_while_entries_become_larger(make_cluster: Any) -> None:
    """Large entries behind many small ones are in a snapshot as soon as they are many bytes (D18)."""

    async def scenario() -> None:
        bytes_apart = 100_000
        async with make_cluster(1, snapshot_log_bytes=bytes_apart, keep_log_entries=1_000) as cluster:
            leader = await cluster.leader()
            for _ in range(40):
                await asyncio.gather(*(leader.propose(b"k%d=%s" % (number % 3, b"x" * 50)) for number in range(100)))
            for number in range(100):
                await leader.propose(b"k%d=%s" % (number % 3, b"x" * 10_000))
                await cluster.until(lambda: leader.status().log_bytes <= 4 * bytes_apart)

    asyncio.run(scenario())


def test_the_log_waits_for_a_snapshot_under_way_but_not_for_ever(make_cluster: Any) -> None:
    """A follower that never finishes its snapshot costs a few snapshots' worth of log, no more (D18, §7)."""

    async def scenario() -> None:
        core = structs.replace(CALM, snapshot_chunk_bytes=64)
        async with make_cluster(core=core, snapshot_log_entries=ENTRIES, keep_log_entries=10) as cluster:
            leader = await cluster.leader()
            state = leader._group.replica.core.state
            log = state.log
            name = (await cluster.follower()).config.node_id
            await cluster.stop(name)
            await _write(leader, 4 * ENTRIES)
            await cluster.until(lambda: log.base_index > 2 * ENTRIES)
            shutil.rmtree(cluster.directory / name)
            leader._group.snapshotting.read_chunk = lambda _wanted: None
            await cluster.start(name)
            progress = state.progress[name]
            since = leader._group._loop.time()
            await cluster.until(lambda: progress.mode is Mode.SNAPSHOT and progress.heard_at > since)
            base = log.base_index
            await _write(leader, 2 * ENTRIES)
            await cluster.until(lambda: leader.status().snapshot_index > base + ENTRIES)
            assert log.base_index <= leader.status().snapshot_index - ENTRIES, "held for the follower"
            await _write(leader, 10 * ENTRIES)
            await cluster.until(lambda: len(log) <= 5 * ENTRIES)
            assert log.base_index > base + 4 * ENTRIES

    asyncio.run(scenario())


def test_who_was_just_added_takes_no_snapshot_before_it_knows_the_members() -> None:
    """What it is sent first may end before the entry that names them, and a snapshot carries them (§7, D2)."""
    configuration = Configuration(0, Membership.of({}))
    state = SimpleNamespace(configuration=configuration, log=Log(), snapshot=SnapshotMeta(), role=Role.FOLLOWER)
    taken: list[int] = []
    replica: Any = SimpleNamespace(core=SimpleNamespace(state=state), applied=20, restoring=None)
    snapshotting: Any = SimpleNamespace(
        taking=False, is_wanted=True, last_size_bytes=0, take=lambda: taken.append(replica.applied)
    )
    config = NodeConfig(node_id="n2", members={}, address="127.0.0.1:1", data_dir="", snapshot_log_entries=10)
    nobody: Any = None
    host: Any = SimpleNamespace(config=config, wal=nobody, log_disk=nobody, log_growth=Shared(1 << 20))
    compaction = Compaction(0, host, replica, snapshotting, wake=lambda: None, post=nobody, fail=nobody)
    compaction.step()
    members = encode_membership(Membership.of({"n1": "127.0.0.1:2"}))
    configuration.on_appended([Entry(25, 1, members, KIND_MEMBERSHIP)])
    compaction.step()
    assert taken == []
    replica.applied = 25
    compaction.step()
    assert taken == [25]


class _Grown:
    """A replica with a log of its own, whose snapshots are as large as they are said to be."""

    def __init__(self, log_growth: Shared, *, snapshot_bytes: int) -> None:
        configuration = Configuration(0, Membership.of({"n1": "127.0.0.1:2"}))
        log = Log(0, 0, [Entry(index, 1, b"x" * 1000) for index in range(1, 21)])
        self.state = state = SimpleNamespace(
            configuration=configuration, log=log, snapshot=SnapshotMeta(), role=Role.FOLLOWER
        )
        self.taken = self.turns = 0
        snapshotting: Any = SimpleNamespace(
            taking=False, is_wanted=False, last_size_bytes=snapshot_bytes, take=self._take
        )
        self.snapshotting = snapshotting
        replica: Any = SimpleNamespace(core=SimpleNamespace(state=state), applied=20, restoring=None)
        config = NodeConfig(node_id="n1", members={}, address="127.0.0.1:1", data_dir="", snapshot_log_bytes=64_000)
        nobody: Any = None
        disk = SimpleNamespace(submit=lambda _work, _done: None)
        wal = SimpleNamespace(release=lambda _group, _index: 0)
        host: Any = SimpleNamespace(config=config, wal=wal, log_disk=disk, log_growth=log_growth)
        self.compaction = Compaction(
            0, host, replica, snapshotting, wake=self._turn_again, post=self._compact, fail=nobody
        )

    def write(self, count: int) -> None:
        """Append and apply as many entries of 1,000 bytes."""
        log = self.state.log
        first = log.last_index + 1
        log.append([Entry(index, 1, b"x" * 1000) for index in range(first, first + count)])
        self.compaction._replica.applied = log.last_index

    def let_go_to(self, index: int) -> None:
        """Let a snapshot up to `index` stand for the log, as one does that was taken before."""
        self.state.snapshot = SnapshotMeta(index, 1)
        self.state.log.compact_to(index)

    def _take(self) -> None:
        self.taken += 1

    def _compact(self, event: Any) -> None:
        self.state.log.compact_to(event.index)

    def _turn_again(self) -> None:
        self.turns += 1


def test_no_snapshot_is_taken_early_that_is_larger_than_what_it_lets_go_of() -> None:
    """It would cost the disk more than the writes do: others take theirs, though their logs have grown less (D18)."""
    growth = Shared(50_000)
    large, busy = _Grown(growth, snapshot_bytes=21_000), _Grown(growth, snapshot_bytes=19_000)
    restored = _Grown(growth, snapshot_bytes=0)
    restored.snapshotting.taking = True
    for replica in (large, busy, restored):
        replica.compaction.step()
    assert [replica.turns for replica in (large, busy, restored)] == [0, 1, 0]
    busy.compaction.step()
    assert [replica.taken for replica in (large, busy, restored)] == [0, 1, 0]
    assert growth.size == 40_000


def test_no_snapshot_is_taken_early_of_a_log_that_was_let_go_of_meanwhile() -> None:
    """Between asking and the next turn the log may go behind the last one, and then next to nothing has grown (D18).

    As much as that would be kept for followers, who were sent snapshots instead of a few entries.
    """
    growth = Shared(25_000)
    asked, other = _Grown(growth, snapshot_bytes=100), _Grown(growth, snapshot_bytes=100)
    asked.compaction.step()
    other.compaction.step()
    assert asked.turns == 1
    asked.let_go_to(19)
    asked.compaction.step()
    assert asked.taken == 0


def test_what_is_written_while_a_snapshot_is_taken_has_grown() -> None:
    """It is behind the snapshot, and in the log when that was let go before it (D18)."""
    growth = Shared(100_000)
    one = _Grown(growth, snapshot_bytes=100)
    one.write(60)
    one.compaction.step()
    assert one.taken == 1
    one.snapshotting.taking = True
    one.write(15)
    one.compaction.step()
    assert growth.size == 15_000
    one.state.snapshot, one.snapshotting.taking = SnapshotMeta(80, 1), False
    for _ in range(3):
        one.compaction.step()
    assert one.state.log.base_index > 0, "let go"
    assert growth.size == 15_000
    one.write(50)
    one.compaction.step()
    assert one.taken == 2, "64,000 bytes after the first"


def test_what_is_let_go_of_behind_a_slow_follower_is_not_counted_anew_each_time(monkeypatch: Any) -> None:
    """With each acknowledgement a little goes; to sum up the rest each time held the loop for seconds (D18)."""
    count = 200_000
    one = _Grown(Shared(1 << 40), snapshot_bytes=100)
    compaction, state = one.compaction, one.state
    compaction._config = structs.replace(compaction._config, snapshot_log_bytes=64 << 20, snapshot_log_entries=100_000)
    state.log.append([Entry(index, 1, b"x" * 100) for index in range(21, count + 1)])
    compaction._replica.applied = count
    compaction.step()
    assert one.taken == 1
    state.snapshot = SnapshotMeta(count, 1)
    follower = PeerProgress(1, 0.0)
    follower.on_heard(0.0, 1)
    state.role, state.now, state.progress = Role.LEADER, 0.0, {"n2": follower}
    state.config = SimpleNamespace(election_timeout_s=(1.0, 2.0))
    summed = []
    bytes_up_to = Log.bytes_up_to

    def counted(log: Log, index: int) -> int:
        summed.append(min(len(log), index - log.base_index))
        return bytes_up_to(log, index)

    monkeypatch.setattr(Log, "bytes_up_to", counted)
    for match in range(1000, count + 1, 1000):
        follower.on_stored(match)
        compaction.step()
    assert state.log.base_index == count - compaction._config.keep_log_entries
    assert sum(summed) <= 2 * count
