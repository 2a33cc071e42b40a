"""A backup of a running node: a snapshot of one moment, with everything acknowledged before it, read piece by piece.

The snapshot is one like any other, taken now; its file stays readable while it is open, whatever replaces it. Files
are read on the snapshot thread, one piece at a time, so the state is never in memory as a whole.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version

from raftline.core.entries import SnapshotMeta
from raftline.core.ids import GroupId, NodeId
from raftline.errors import Stopped
from raftline.runtime.disk import run_on_disk
from raftline.runtime.ports import DiskThread
from raftline.runtime.snapshotting import Snapshotting
from raftline.wal.backup_file import BACKUP_VERSION, BackupHeader, encode_backup_header
from raftline.wal.snapshot_store import SnapshotReader, SnapshotStore

__all__ = ["PIECE_BYTES_MAX", "Backup", "open_backup"]

PIECE_BYTES_MAX = 1 << 20


class Backup:
    """An open backup; close it, or the disk space of its snapshot is not given back while the node runs."""

    def __init__(self, header: bytes, reader: SnapshotReader, disk: DiskThread, snapshotting: Snapshotting) -> None:
        self._header = header
        self._reader = reader
        self._disk = disk
        self._snapshotting = snapshotting
        self._closed = False

    @property
    def meta(self) -> SnapshotMeta:
        """Return the log position and the membership of the moment."""
        return self._reader.meta

    @property
    def size_bytes(self) -> int:
        """Return the size of the whole file."""
        return len(self._header) + self._reader.size

    async def read(self, offset: int, limit: int = PIECE_BYTES_MAX) -> bytes:
        """Return `limit` bytes from `offset`, fewer only at the end of the file; raises `StorageError`, `Stopped`."""
        if self._snapshotting.is_stopped:
            raise Stopped("this node stopped before the backup was read to its end")
        front = self._header[offset : offset + limit]
        behind = max(0, offset - len(self._header))
        return front + await run_on_disk(self._disk, lambda: self._reader.read(behind, limit - len(front)))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the file from beginning to end; raises `StorageError`, `Stopped`."""
        offset = 0
        while piece := await self.read(offset):
            yield piece
            offset += len(piece)

    def close(self) -> None:
        """Let go of the file; once is enough."""
        if not self._closed:
            self._closed = True
            _close(self._reader, self._disk, self._snapshotting)


async def open_backup(
    submit_read: Callable[[Callable[[Exception | None], None]], None],
    snapshotting: Snapshotting,
    store: SnapshotStore,
    disk: DiskThread,
    *,
    group: GroupId,
    cluster_id: str,
    node_id: NodeId,
    time_ms: int,
) -> Backup:
    """Take a snapshot with everything acknowledged by now and open it; raises what `Node.read` raises."""
    taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: Exception | None) -> None:
        if taken.done():
            return
        if error is None:
            taken.set_result(None)
        else:
            taken.set_exception(error)

    submit_read(lambda error: done(error) if error is not None else snapshotting.want(done))
    await taken
    software = f"raftline {version('raftline')}"
    header = encode_backup_header(BackupHeader(BACKUP_VERSION, cluster_id, node_id, time_ms, software))
    reader = await run_on_disk(disk, lambda: _newest(store, group), lambda late: _close(late, disk, snapshotting))
    return Backup(header, reader, disk, snapshotting)


def _newest(store: SnapshotStore, group: GroupId) -> SnapshotReader:
    reader = store.latest(group)
    assert reader is not None, "a snapshot was taken"
    return reader


def _close(reader: SnapshotReader, disk: DiskThread, snapshotting: Snapshotting) -> None:
    """Close a file on its thread; once the node has stopped there is none."""
    if snapshotting.is_stopped:
        reader.close()
    else:
        disk.submit(reader.close, lambda _: None)
