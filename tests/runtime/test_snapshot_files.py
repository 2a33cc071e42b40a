"""Files of snapshots are closed when nobody needs them any more, whatever was going on just then."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.conftest import open_files
from tests.runtime.conftest import CALM
from tests.runtime.test_group import Count, add
from tests.runtime.test_snapshotting import Bench, put

from raftline import GroupConfig
from raftline.core.events import ChunkRead
from raftline.core.ready import ChunkWanted
from raftline.errors import Stopped


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Bench]:
    """Return a leader with a state of several pieces."""
    bench = Bench("n1", tmp_path / "n1")
    bench.write(*[put(number, "a") for number in range(100)])
    yield bench
    assert bench.failures == []


def _leave(bench: Bench) -> None:
    """Let the group go from a node that goes on."""
    bench.snapshots.stop()
    bench.snapshots.close_files()
    bench.disk.run()


@pytest.mark.parametrize("steps", range(4))
def test_a_snapshot_that_is_being_taken_goes_with_its_group(leader: Bench, tmp_path: Path, steps: int) -> None:
    """From the moment at which its file is made on the thread."""
    leader.snapshots.take()
    for _ in range(steps):
        leader.disk.step()
    _leave(leader)
    assert open_files(tmp_path) == []
    assert list((tmp_path / "n1").iterdir()) == []


@pytest.mark.parametrize("steps", range(4))
def test_a_snapshot_that_is_being_restored_is_closed_with_its_group(leader: Bench, tmp_path: Path, steps: int) -> None:
    """From the moment at which it is opened on the thread."""
    leader.snapshots.take()
    leader.disk.run()
    leader.snapshots.restore(leader.replica.core.state.snapshot, lambda: None)
    for _ in range(steps):
        leader.disk.step()
    _leave(leader)
    assert open_files(tmp_path) == []


def test_a_snapshot_that_is_being_sent_is_closed_with_its_group(leader: Bench, tmp_path: Path) -> None:
    """Its next piece is just being read."""
    leader.snapshots.take()
    leader.disk.run()
    leader.snapshots.move_chunks([ChunkWanted("n2", leader.replica.applied, 0)], [])
    leader.disk.run()
    assert isinstance(leader.posted[-1], ChunkRead)
    assert len(open_files(tmp_path)) == 1
    leader.snapshots.move_chunks([ChunkWanted("n3", leader.replica.applied, 0)], [])
    _leave(leader)
    assert open_files(tmp_path) == []


def test_whoever_waits_for_a_snapshot_of_a_group_that_leaves_is_told(leader: Bench) -> None:
    """There will be none."""
    outcomes: list[Exception | None] = []
    leader.snapshots.want(outcomes.append)
    _leave(leader)
    assert [type(outcome) for outcome in outcomes] == [Stopped]


def test_a_snapshot_that_was_sent_is_closed(make_cluster: Any) -> None:
    """Kept open it would take disk space long after newer ones took its place (D16)."""

    async def scenario() -> None:
        core = structs.replace(CALM, snapshot_chunk_bytes=1000)
        async with make_cluster(core=core, snapshot_log_entries=100, keep_log_entries=10) as cluster:
            leader = await cluster.leader()
            node = await cluster.wiped()
            await cluster.until(lambda: node.status().snapshots_installed == 1)
            await cluster.until(lambda: not leader.status().snapshot_in_progress)
            assert leader.is_leader
            files = Path(leader.config.data_dir) / "snapshot"
            await cluster.until(lambda: not open_files(files))

    asyncio.run(scenario())


def test_a_snapshot_of_a_group_that_could_not_be_added_is_closed(make_cluster: Any) -> None:
    """Whoever adds it again, and gives up again, opens it again."""

    async def scenario() -> None:
        async with make_cluster(1, snapshot_log_entries=10) as cluster:
            (group,) = await add(cluster, 1)
            for number in range(20):
                await group.propose(b"%d" % number)
            await cluster.until(lambda: group.status().snapshots_taken)
            await cluster.stop()
            await cluster.start()
            node = cluster.nodes["n1"]
            files = Path(node.config.data_dir) / "snapshot"
            before = len(open_files(files))
            config = GroupConfig(group=1, members=cluster.members)
            for _ in range(2):
                adding = asyncio.ensure_future(node.add_group(config, Count()))
                while True:
                    await asyncio.sleep(0)
                    if adding.done() or len(open_files(files)) > before:
                        break
                adding.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await adding
                await cluster.until(lambda: len(open_files(files)) == before)
            assert node.recovered_groups == (1,)

    asyncio.run(scenario())


def test_a_node_that_stops_closes_what_it_was_just_writing(make_cluster: Any) -> None:
    """The process may go on, and begin the node again."""

    async def scenario() -> None:
        async with make_cluster(1, snapshot_log_entries=100, snapshot_bytes_per_second=1) as cluster:
            leader = await cluster.leader()
            await asyncio.gather(*(leader.propose(b"k%d=%d" % (number, number)) for number in range(200)))
            files = Path(leader.config.data_dir) / "snapshot"
            await cluster.until(lambda: open_files(files))
            await cluster.stop()
            assert open_files(files) == []

    asyncio.run(scenario())
