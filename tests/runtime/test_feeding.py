"""The log in memory stays within its bound whatever a follower does, and a slow one is fed from the disk."""

import asyncio
from typing import Any

from raftline.core.entries import Entry
from raftline.core.events import EntriesRead, Event
from raftline.core.ready import EntriesWanted
from raftline.errors import StorageError
from raftline.runtime.feeding import Feeding
from raftline.runtime.sharing import Shared

BOUND = 20_000
VALUE = b"v" * 1000
ENTRIES = 300


async def _write(node: Any, count: int) -> None:
    for start in range(0, count, 20):
        await asyncio.gather(*(node.propose(b"k%d=" % (start + n) + VALUE) for n in range(20)))


def test_a_dead_follower_does_not_make_the_log_grow_in_memory(make_cluster: Any) -> None:
    """Writes without end and a follower that is gone: memory keeps its bound, on the leader and on who follows (D16).

    No snapshot is due, so all of the log is kept, on disk; the follower that comes back is fed from there.
    """

    async def scenario() -> None:
        async with make_cluster(log_memory_bytes=BOUND, snapshot_log_bytes=1 << 30) as cluster:
            follower = await cluster.follower()
            name = follower.config.node_id
            await cluster.stop(name)
            leader = await cluster.leader()
            await _write(leader, ENTRIES)
            logs = [node._group.replica.core.state.log for node in cluster.nodes.values()]
            await cluster.until(lambda: all(log.memory_bytes <= BOUND for log in logs))
            assert all(log.size_bytes > ENTRIES * len(VALUE) and log.base_index == 0 for log in logs)
            await cluster.start(name)
            log = cluster.nodes[name]._group.replica.core.state.log
            await cluster.until(lambda: cluster.machines[name].values.get(b"k%d" % (ENTRIES - 1)) == VALUE)
            assert cluster.machines[name].values == cluster.machines[leader.config.node_id].values
            assert cluster.nodes[name].status().snapshots_installed == 0
            fed = sum(node._group.feeding.entries_read for node in cluster.nodes.values())
            assert fed >= ENTRIES - BOUND // len(VALUE) - 20
            await cluster.until(lambda: log.memory_bytes <= BOUND)

    asyncio.run(scenario())


def test_what_is_compacted_before_it_is_read_is_sent_as_a_snapshot(make_cluster: Any) -> None:
    """Memory, disk, snapshot: a follower behind all of the log gets the state (D6)."""

    async def scenario() -> None:
        settings = {"log_memory_bytes": BOUND, "snapshot_log_entries": 50, "keep_log_entries": 20}
        async with make_cluster(**settings, segment_bytes=1 << 16) as cluster:
            follower = await cluster.follower()
            name = follower.config.node_id
            await cluster.stop(name)
            await _write(await cluster.leader(), ENTRIES)
            await cluster.start(name)
            await cluster.until(lambda: cluster.machines[name].values.get(b"k%d" % (ENTRIES - 1)) == VALUE)
            assert cluster.nodes[name].status().snapshots_installed == 1

    asyncio.run(scenario())


def test_a_restart_keeps_to_the_bound_once_the_log_is_applied(make_cluster: Any) -> None:
    """What start-up read leaves memory as soon as it is applied; nobody else holds it (D18)."""

    async def scenario() -> None:
        async with make_cluster(1, log_memory_bytes=BOUND) as cluster:
            await _write(await cluster.leader(), ENTRIES)
            await cluster.stop()
            await cluster.start()
            node = await cluster.leader()
            log = node._group.replica.core.state.log
            assert node._host.wal.recovered == {}
            await cluster.until(lambda: log.memory_bytes <= BOUND)
            assert log.size_bytes > ENTRIES * len(VALUE)

    asyncio.run(scenario())


class _Disk:
    """A disk thread that runs work when told to."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Any, Any]] = []

    def submit(self, work: Any, done: Any) -> None:
        self.submitted.append((work, done))

    def run(self, result: Any = None) -> None:
        work, done = self.submitted.pop(0)
        done(result if result is not None else work())

    def close(self) -> None:
        pass


class _Wal:
    def locate(self, group: int, low: int, bytes_max: int) -> list[Any]:
        return [(group, low, bytes_max)]

    def fetch(self, group: int, spans: list[Any], bytes_max: int) -> tuple[Entry, ...]:
        assert spans == [(group, 5, bytes_max)]
        return tuple(Entry(index, 1, b"") for index in range(5, 9))


class _Bench:
    def __init__(self) -> None:
        self.log, self.other = _Disk(), _Disk()
        self.posted: list[Event] = []
        self.failures: list[BaseException] = []
        wal: Any = _Wal()
        state: Any = None
        self.feeding = Feeding(
            0, state, Shared(1), wal, self.log, self.other, post=self.posted.append, fail=self.failures.append
        )


def test_the_logs_thread_looks_up_and_another_reads() -> None:
    """Reads never stand in front of a write's fsync; no more is handed on than was asked for."""
    bench = _Bench()
    bench.feeding.read([EntriesWanted("n2", 5, 8, 100)])
    assert not bench.other.submitted
    bench.log.run()
    bench.other.run()
    assert bench.posted == [EntriesRead("n2", 5, tuple(Entry(index, 1, b"") for index in (5, 6, 7)))]
    assert not bench.log.submitted


def test_an_error_stops_the_node_and_a_stopped_one_hears_nothing() -> None:
    """A log that cannot be read cannot be relied on (C1)."""
    bench = _Bench()
    error = StorageError("no")
    bench.feeding.read([EntriesWanted("n2", 5, 8, 100), EntriesWanted("n3", 5, 8, 100)])
    bench.log.run(error)
    bench.log.run()
    bench.other.run(error)
    assert bench.failures == [error, error]
    bench.feeding.read([EntriesWanted("n2", 5, 8, 100)])
    bench.log.run()
    bench.feeding.stop()
    bench.other.run()
    assert not bench.posted
