"""A small or idle group never holds the log of a busy one."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from raftline import Group, GroupConfig, StateMachine
from raftline.core.ids import GroupId
from raftline.runtime import log_writer
from raftline.runtime.room import Room
from raftline.wal.wal import Holders

SEGMENT_BYTES = 1 << 16


class Blob(StateMachine):
    """Remembers how many commands came, and how long all of them were."""

    def __init__(self) -> None:
        self.count = self.size = 0

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
        self.count += 1
        self.size += len(command)
        return b"%d" % self.count

    def read(self, query: bytes, time_ms: int) -> bytes:  # noqa: ARG002
        return b"%d %d" % (self.count, self.size)

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d %d" % (self.count, self.size)]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.count, self.size = (int(part) for part in b"".join(chunks).split())


async def _add(cluster: Any, number: int) -> Group:
    config = GroupConfig(group=number, members=cluster.members)
    (node,) = cluster.nodes.values()
    group: Group = await node.add_group(config, Blob())
    return group


def _segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("wal-*.log"))


def test_idle_groups_hold_no_segments(make_cluster: Any) -> None:
    """What they keep is written anew at the head of the log, and is there after a restart (C11, D12)."""

    async def scenario() -> None:
        settings = {"snapshot_log_bytes": SEGMENT_BYTES, "keep_log_entries": 1, "segment_bytes": SEGMENT_BYTES}
        async with make_cluster(1, **settings) as cluster:
            directory = cluster.directory / "n1"
            idle = [await _add(cluster, number) for number in (2, 3, 4)]
            for group in idle:
                assert await group.propose(b"x" * 100) == b"1"
            first = _segments(directory)[0]
            busy = await _add(cluster, 1)
            for _ in range(60):
                await asyncio.gather(*(busy.propose(b"x" * 1000) for _ in range(20)))
            assert not first.exists()
            await cluster.until(lambda: len(_segments(directory)) <= 6)
            for group in idle:
                assert group.status().snapshot_index == 0, "what it keeps is little: no snapshot was needed"
            await cluster.stop()
            await cluster.start()
            for number in (2, 3, 4):
                assert await (await _add(cluster, number)).read(b"") == b"1 100"
            assert await (await _add(cluster, 1)).read(b"") == b"1200 1200000"

    asyncio.run(scenario())


def test_a_group_that_keeps_much_takes_a_snapshot_when_others_wait_for_it(make_cluster: Any) -> None:
    """Although it is not due for one yet: the log would grow without a bound (D18)."""

    async def scenario() -> None:
        settings = {"snapshot_log_entries": 40, "keep_log_entries": 1, "segment_bytes": SEGMENT_BYTES}
        async with make_cluster(1, **settings) as cluster:
            directory = cluster.directory / "n1"
            large = await _add(cluster, 2)
            await asyncio.gather(*(large.propose(b"x" * 2000) for _ in range(30)))
            busy = await _add(cluster, 1)
            for _ in range(60):
                await asyncio.gather(*(busy.propose(b"x" * 1000) for _ in range(20)))
            await cluster.until(lambda: large.status().snapshot_index > 0 and len(_segments(directory)) <= 8)
            assert await large.read(b"") == b"30 60000"

    asyncio.run(scenario())


def test_many_tiny_entries_are_much(make_cluster: Any, monkeypatch: Any) -> None:
    """What is little in the file and more than a write takes would neither be written anew nor let go of (D18, F24)."""
    monkeypatch.setattr(log_writer, "_WRITE_BYTES_MAX", 10_000)

    async def scenario() -> None:
        settings = {"snapshot_log_entries": 150, "keep_log_entries": 1, "segment_bytes": SEGMENT_BYTES}
        async with make_cluster(1, **settings) as cluster:
            directory = cluster.directory / "n1"
            tiny = await _add(cluster, 2)
            for _ in range(90):
                await tiny.propose(b"x")
            busy = await _add(cluster, 1)
            for _ in range(60):
                await asyncio.gather(*(busy.propose(b"x" * 1000) for _ in range(20)))
            await cluster.until(lambda: tiny.status().snapshot_index > 0 and len(_segments(directory)) <= 10)

    asyncio.run(scenario())


class _Bench:
    """A log that says who holds it, and groups that note what they are told."""

    def __init__(self, kept: dict[GroupId, int | None]) -> None:
        self.kept = kept
        self.holders = Holders((), 1)
        self.told: list[str] = []
        self.waiting: list[Any] = []
        self.failures: list[BaseException] = []
        wal: Any = self
        self.room = Room(wal, wal, self._tenant_of, 16 * 1000, self.failures.append)

    def _tenant_of(self, group: GroupId) -> Any:
        return _Tenant(group, self) if group in self.kept else None

    def remove_unneeded(self) -> Holders:
        self.told.append("look")
        return self.holders

    def submit(self, work: Any, done: Any) -> None:
        done(work())

    def look(self, holders: tuple[GroupId, ...], segments: int = 3) -> list[str]:
        """Let a group let go of something; return what was done."""
        self.told.clear()
        self.holders = Holders(holders, segments)
        self.room.look(0)
        return list(self.told)


class _Tenant:
    def __init__(self, group: GroupId, bench: _Bench) -> None:
        self._group = group
        self._bench = bench

    @property
    def kept_bytes(self) -> int | None:
        return self._bench.kept[self._group]

    def write_anew(self, done: Any) -> None:
        self._bench.told.append(f"{self._group} anew")
        self._bench.waiting.append(done)

    def make_room(self) -> None:
        self._bench.told.append(f"{self._group} makes room")


def test_who_keeps_little_writes_it_anew_and_then_it_is_looked_again() -> None:
    """One look or write at a time; whoever is not hosted yet stays as it is."""
    bench = _Bench({0: 100, 1: 100, 2: 1000})
    assert bench.look(()) == ["look"]
    assert bench.look((0,)) == ["look"], "it lets go of more by itself"
    assert bench.look((1, 2, 9)) == ["look", "1 anew", "2 anew"]
    assert bench.look((1, 2, 9)) == []
    bench.holders = Holders((), 1)
    for done in bench.waiting:
        done(100)
    assert bench.told == ["look"]


def test_it_is_not_looked_again_if_nothing_was_written_anew() -> None:
    """What had become too much meanwhile would be asked for again at once, and for ever (F24)."""
    bench = _Bench({1: 100, 2: 100})
    assert bench.look((1, 2)) == ["look", "1 anew", "2 anew"]
    for size_bytes in (100, 0):
        bench.waiting.pop(0)(size_bytes)
    assert bench.told == ["look", "1 anew", "2 anew", "look", "1 anew", "2 anew"]
    for _ in range(2):
        bench.waiting.pop(0)(0)
    assert bench.waiting == []
    assert bench.look((1,)) == ["look", "1 anew"], "whoever lets go of something next asks again"


def test_who_keeps_much_is_left_alone_until_the_log_is_long() -> None:
    """It takes a snapshot by itself sooner or later; what is not in memory counts as much."""
    bench = _Bench({1: 1001, 2: None})
    assert bench.look((1, 2), 8) == ["look"]
    assert bench.look((1, 2), 9) == ["look", "1 makes room", "2 makes room"]


def test_a_node_that_stops_looks_no_more() -> None:
    """Its disk threads are about to end."""
    bench = _Bench({1: 100})
    assert bench.look((1,)) == ["look", "1 anew"]
    bench.room.stop()
    bench.waiting[0](100)
    assert bench.told == ["look", "1 anew"]
    assert bench.look((1,)) == []
