"""Backups of running nodes: of one moment, on any node, whole, and never in the way."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import open_files

from raftline import Node
from raftline.errors import Stopped, Timeout
from raftline.runtime.disk import run_on_disk
from raftline.wal.backup_file import BackupReader
from raftline.wal.files import ReadOnlyOsFiles

MakeCluster = Callable[..., Any]


async def until_taking(node: Node) -> None:
    """Return in the middle of a snapshot; nothing else happens before the caller goes on."""
    while not node.status().snapshot_in_progress:  # noqa: ASYNC110  a state of one turn has no event of its own
        await asyncio.sleep(0)


def files_of(directory: Path) -> list[str]:
    """Return the files of snapshots that are open."""
    return [path for path in open_files(directory) if path.endswith(".snap")]


def chunks_of(path: Path) -> list[bytes]:
    """Return the checked chunks of a backup, the replica's own part first."""
    reader = BackupReader(ReadOnlyOsFiles(), str(path))
    chunks = list(reader.chunks())
    reader.close()
    return chunks


def test_a_backup_holds_everything_acknowledged_before(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """On a follower that lags as on the leader; what comes later is not in it, though the file is read later."""

    async def scenario() -> None:
        async with make_cluster() as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            for number in range(250):
                await leader.propose(b"k%d=old" % number)
            for node in (follower, leader):
                backup = await node.open_backup()
                await leader.propose(b"k0=new")
                path = tmp_path / f"backup-{node.config.node_id}"
                with path.open("wb") as file:
                    async for piece in backup.pieces():
                        file.write(piece)
                assert path.stat().st_size == backup.size_bytes
                backup.close()
                state = chunks_of(path)[1:]
                assert [chunk.count(b"=") for chunk in state] == [100, 100, 50]
                assert (b"k0=old" in state[0]) == (node is follower)
                assert backup.meta.membership.voters == ("n1", "n2", "n3")
                reader = BackupReader(ReadOnlyOsFiles(), str(path))
                assert (reader.header.cluster_id, reader.header.node_id) == ("raftline", node.config.node_id)
                reader.close()

    asyncio.run(scenario())


def test_nothing_new_needs_no_new_snapshot(make_cluster: MakeCluster) -> None:
    """Two backups without a command between them read the same file."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = await cluster.leader()
            await node.propose(b"a=1")
            first, second = await node.open_backup(), await node.open_backup()
            third, fourth = await asyncio.gather(node.open_backup(), node.open_backup())
            assert node.status().snapshots_taken == 1
            assert {backup.meta.index for backup in (first, second, third, fourth)} == {node.status().snapshot_index}
            for backup in (first, second, third, fourth):
                backup.close()
                backup.close()

    asyncio.run(scenario())


def test_a_backup_asked_for_while_a_snapshot_is_written_waits_for_the_next(make_cluster: MakeCluster) -> None:
    """The one under way may miss what was acknowledged meanwhile."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = await cluster.leader()
            await node.propose(b"a=1")
            first = asyncio.ensure_future(node.open_backup())
            await until_taking(node)
            await node.propose(b"a=2")
            second = await node.open_backup()
            assert second.meta.index > (await first).meta.index
            assert b"".join([piece async for piece in second.pieces()]).count(b"a=2") == 1
            (await first).close()
            second.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("is_opened", [False, True])
def test_a_backup_that_nobody_waits_for_any_more_is_closed(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_opened: bool
) -> None:
    """Cancelled while its file is being opened, or in the moment in which it is there: its space is given back."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = await cluster.leader()
            await node.propose(b"a=1")
            (await node.open_backup()).close()
            _, disk = node._disks
            await run_on_disk(disk, lambda: None)
            assert files_of(tmp_path) == []
            put_off: list[Any] = []
            with monkeypatch.context() as patch:
                patch.setattr(disk, "submit", lambda *work: put_off.append(work))
                opening = asyncio.ensure_future(node.open_backup())
                await cluster.until(lambda: len(put_off) == 1)
            ((work, done),) = put_off
            if is_opened:
                done(work())
                opening.cancel()
            else:
                opening.cancel()
                await asyncio.sleep(0)
                disk.submit(work, done)
            with pytest.raises(asyncio.CancelledError):
                await opening
            await run_on_disk(disk, lambda: None)
            await run_on_disk(disk, lambda: None)
            assert files_of(tmp_path) == []

    asyncio.run(scenario())


def test_without_a_leader_there_is_no_backup(make_cluster: MakeCluster) -> None:
    """A node that cannot tell what was acknowledged does not pretend to."""

    async def scenario() -> None:
        async with make_cluster(started=False, request_timeout_s=0.1) as cluster:
            await cluster.start("n1")
            with pytest.raises(Timeout):
                await cluster.nodes["n1"].open_backup()

    asyncio.run(scenario())


def test_a_node_that_stops_says_so(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both to whoever waits for a backup and to whoever reads one."""

    async def scenario() -> None:
        async with make_cluster(1) as cluster:
            node = await cluster.leader()
            await node.propose(b"a=1")
            backup = await node.open_backup()
            await node.propose(b"a=2")
            _, disk = node._disks
            with monkeypatch.context() as patch:
                put_off: list[Any] = []  # or the snapshot is there before the node has stopped
                patch.setattr(disk, "submit", lambda *work: put_off.append(work))
                waiting = asyncio.ensure_future(node.open_backup())
                await until_taking(node)
                stopping = asyncio.ensure_future(cluster.nodes.pop("n1").stop())
                with pytest.raises(Stopped):
                    await waiting
            for work in put_off:
                disk.submit(*work)
            await stopping
            with pytest.raises(Stopped):
                await backup.read(1000)
            backup.close()

    asyncio.run(scenario())
