"""Snapshots in the background: taking one in slices, sending and storing chunks, restoring after an install.

File work happens on the snapshot thread, beside the log's; state is touched only in turns of the event loop, one
chunk at a time, so that a large state never holds the loop for long.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import structlog

from raftline.core.entries import SnapshotMeta
from raftline.core.events import ChunkRead, ChunkStored, Event, SnapshotTaken
from raftline.core.ids import GroupId, Index, NodeId
from raftline.core.progress import Mode
from raftline.core.ready import ChunkReceived, ChunkWanted
from raftline.core.state import RaftState
from raftline.errors import Stopped, described
from raftline.replica.replica import Replica, SnapshotChunks
from raftline.runtime.pace import Pace
from raftline.runtime.ports import DiskThread
from raftline.wal.snapshot_store import SnapshotReader, SnapshotReceiver, SnapshotStore, SnapshotWriter

__all__ = ["Snapshotting"]

_log = structlog.get_logger("raftline.group")
_RESTORED_FASTER = 2
"""Whoever follows a leader restores so many times as fast as snapshots may be sent: CPU is scarce, too."""


class Snapshotting:
    """Everything a group does with snapshot files.

    Invariants: at most one snapshot is being taken, one received and one restored; at most one chunk for each follower
    waits for its turn; `post` hands events to the loop; open files are opened, and closed, on the thread alone.
    """

    __slots__ = (
        "__dict__",  # room for what a test puts in the place of a method
        "_chunk_bytes",
        "_chunks",
        "_disk",
        "_durable_index",
        "_fail",
        "_group",
        "_next_chunks",
        "_now",
        "_pace",
        "_post",
        "_receiver",
        "_replica",
        "_restored",
        "_restores",
        "_sized_index",
        "_stopped",
        "_store",
        "_wanted",
        "_writer",
        "installed",
        "last_size_bytes",
        "readers",
        "taken",
        "taking",
    )

    def __init__(
        self,
        group: GroupId,
        replica: Replica,
        store: SnapshotStore,
        disk: DiskThread,
        *,
        post: Callable[[Event], None],
        fail: Callable[[BaseException], None],
        now: Callable[[], float],
        pace: Pace,
        chunk_bytes: int,
    ) -> None:
        """`pace` is how fast chunks are written and sent, those of other groups together with these."""
        self._group = group
        self._replica = replica
        self._store = store
        self._disk = disk
        self._post = post
        self._fail = fail
        self._now = now
        self._pace = pace
        self._chunk_bytes = chunk_bytes
        self._next_chunks: dict[NodeId, ChunkWanted] = {}
        self._writer: SnapshotWriter | None = None
        self._chunks: SnapshotChunks | None = None
        self._receiver: tuple[SnapshotMeta, SnapshotReceiver] | None = None
        self.readers: dict[NodeId, SnapshotReader] = {}
        """Files that are open for followers."""
        self._restored: list[SnapshotReader] = []  # no set: each empty one takes 200 bytes
        self._stopped = False
        self._restores = 0
        self._wanted: list[tuple[Index, Callable[[Exception | None], None]]] = []
        self._durable_index: Index = replica.core.state.snapshot.index
        self.taking = False
        self.taken = 0
        self.installed = 0
        self._sized_index: Index = 0
        self.last_size_bytes = 0
        """How large the newest snapshot is that was taken or restored, which goes up to `_sized_index`."""

    # Taking one.

    @property
    def is_stopped(self) -> bool:
        """Say whether no file work is taken any more."""
        return self._stopped

    @property
    def is_wanted(self) -> bool:
        """Say whether somebody waits for a snapshot."""
        return bool(self._wanted)

    def want(self, done: Callable[[Exception | None], None]) -> None:
        """Call `done(None)` once a snapshot of the present state, or a later one, is durable; or `done(error)`."""
        if self._stopped:
            done(Stopped("this node stopped"))
        else:
            self._wanted.append((self._replica.applied, done))
            self._settle_wanted(self._durable_index)

    def _settle_wanted(self, index: Index) -> None:
        """A snapshot up to `index` is durable: answer those who waited for it."""
        self._durable_index = max(index, self._durable_index)
        served = [done for wanted, done in self._wanted if wanted <= self._durable_index]
        self._wanted = [(wanted, done) for wanted, done in self._wanted if wanted > self._durable_index]
        for done in served:
            done(None)

    def take(self) -> None:
        """Start to write a snapshot of what is applied now."""
        assert not self.taking, "one snapshot at a time"
        self.taking = True
        meta, self._chunks = self._replica.snapshot()
        self._on_disk(partial(self._create, meta), partial(self._write_next, meta))

    def _create(self, meta: SnapshotMeta) -> SnapshotWriter:
        self._writer = self._store.create(self._group, meta)
        return self._writer

    def _write_next(self, meta: SnapshotMeta, writer: SnapshotWriter) -> None:
        """Fetch one chunk in this turn and write it on the thread; commit behind the last."""
        if self._replica.restoring is not None:
            # The state it was taken of is being replaced by a newer one.
            self._close_chunks()
            self._on_disk(writer.abort, lambda _: self._on_given_up())
            return
        assert self._chunks is not None, "a snapshot is being taken"
        chunk = next(self._chunks, None)
        if chunk is None:
            self._close_chunks()
            self._on_disk(partial(self._commit, writer, meta), partial(self._on_taken, meta))
        else:
            write = partial(writer.write, chunk)
            self._pace.move(len(chunk), partial(self._on_disk, write, lambda _: self._write_next(meta, writer)))

    def _close_chunks(self) -> None:
        """Have the state machine let go of what it keeps for a snapshot of which no more is fetched."""
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            try:
                chunks.close()
            except Exception as error:  # noqa: BLE001  somebody else's code, and nothing depends on it
                _log.error("what snapshot() gave could not be closed", group=self._group, error=described(error))

    def _commit(self, writer: SnapshotWriter, meta: SnapshotMeta) -> int:
        writer.commit()
        self._store.prune(self._group, meta.index)
        reader = self._store.latest(self._group)
        assert reader is not None, "a committed snapshot can be opened"
        size = reader.size
        reader.close()
        return size

    def _note_size(self, index: Index, size_bytes: int) -> None:
        if index >= self._sized_index:
            self._sized_index, self.last_size_bytes = index, size_bytes

    def _on_given_up(self) -> None:
        self.taking = False
        self._writer = None

    def _on_taken(self, meta: SnapshotMeta, size: int) -> None:
        self.taking = False
        self._writer = None
        self.taken += 1
        self._note_size(meta.index, size)
        # The log behind it goes piece by piece, see GroupLoop.
        self._post(SnapshotTaken(meta, self._replica.core.state.log.base_index))
        self._settle_wanted(meta.index)

    def move_chunks(self, wanted: Iterable[ChunkWanted], received: Iterable[ChunkReceived]) -> None:
        """Read the chunks that followers need, and write those that the leader sent."""
        for chunk in wanted:
            self.read_chunk(chunk)
        for piece in received:
            self.store_chunk(piece)

    # Sending one.

    def read_chunk(self, wanted: ChunkWanted) -> None:
        """Read the chunk that a follower needs; another snapshot than the wanted one starts at its beginning."""
        is_waiting = wanted.to in self._next_chunks
        self._next_chunks[wanted.to] = wanted
        if not is_waiting:
            self._pace.move(self._size_of(wanted), partial(self._read_next, wanted.to))

    def _size_of(self, wanted: ChunkWanted) -> int:
        """Return how much a chunk holds: a whole one, unless it is known to be the last."""
        if wanted.index != self._sized_index:
            return self._chunk_bytes
        return max(min(self._chunk_bytes, self.last_size_bytes - wanted.offset), 0)

    def _read_next(self, to: NodeId) -> None:
        wanted = self._next_chunks.pop(to, None)
        if wanted is not None:
            self._on_disk(partial(self._read, wanted), self._on_read)

    def _on_read(self, event: ChunkRead | None) -> None:
        if event is not None:
            self._post(event)

    def _read(self, wanted: ChunkWanted) -> ChunkRead | None:
        reader = self.readers.get(wanted.to)
        offset = wanted.offset
        if reader is None or reader.meta.index != wanted.index or offset == 0:
            if reader is not None:
                reader.close()
                del self.readers[wanted.to]
            reader = self._store.latest(self._group)
            if reader is None:
                return None
            self.readers[wanted.to] = reader
            if reader.meta.index != wanted.index:
                offset = 0
        data = reader.read(offset, self._chunk_bytes)
        done = offset + len(data) >= reader.size
        return ChunkRead(wanted.to, reader.meta, offset, data, done)

    def follow(self, state: RaftState) -> None:
        """Close the files of followers that need no more of them, so that the disk gets their space back in time."""
        for node in list(self.readers):
            progress = state.progress.get(node)
            if progress is None or progress.mode is not Mode.SNAPSHOT:
                self._on_disk(partial(self._close_reader, node), lambda _: None)

    def close_readers(self) -> None:
        """Close every file kept open for a follower, and read no more for any: this node no longer leads."""
        self._next_chunks.clear()
        if self.readers:
            self._on_disk(self._close_all_readers, lambda _: None)

    def _close_all_readers(self) -> None:
        for node in list(self.readers):
            self._close_reader(node)

    def _close_reader(self, to: NodeId) -> None:
        reader = self.readers.pop(to, None)
        if reader is not None:
            reader.close()

    # Receiving one.

    def store_chunk(self, received: ChunkReceived) -> None:
        """Write a chunk that the leader sent; the last one makes the snapshot durable."""
        self._on_disk(partial(self._store_chunk, received), self._post)

    def _store_chunk(self, received: ChunkReceived) -> ChunkStored:
        meta, request = received.meta, received.request
        if self._receiver is None or self._receiver[0] != meta or request.offset == 0:
            if self._receiver is not None:
                self._receiver[1].abort()
            self._receiver = (meta, self._store.receive(self._group, meta))
        receiver = self._receiver[1]
        receiver.write_at(request.offset, request.data)
        if not request.done:
            return ChunkStored(meta, receiver.next_offset, complete=False)
        self._receiver = None
        if not receiver.commit():
            return ChunkStored(meta, 0, complete=False)
        self._store.prune(self._group, meta.index)
        return ChunkStored(meta, receiver.next_offset, complete=True)

    # Restoring one.

    def restore(self, meta: SnapshotMeta, done: Callable[[], None]) -> None:
        """Replace the state machine by the stored snapshot `meta`, chunk by chunk, at a pace, then call `done`.

        A restore that is under way is given up for the newer one; its `done` is never called.
        """
        self._restore(meta, done, at_once=False)

    def restore_at_once(self, meta: SnapshotMeta, done: Callable[[], None]) -> None:
        """Do the same as fast as it goes: for a start, when nothing else can be done before."""
        self._restore(meta, done, at_once=True)

    def _restore(self, meta: SnapshotMeta, done: Callable[[], None], *, at_once: bool) -> None:
        self._restores += 1
        self._on_disk(partial(self._open, meta), partial(self._restore_begin, self._restores, done, at_once=at_once))

    def _open(self, meta: SnapshotMeta) -> tuple[SnapshotReader, Iterator[bytes]]:
        reader = self._store.find(self._group, meta)
        assert reader is not None, "a snapshot is installed only after it was stored"
        assert reader.meta.index >= meta.index, "snapshots only move forward (D9)"
        self._restored.append(reader)
        return reader, reader.chunks()

    def _close_restored(self, reader: SnapshotReader) -> None:
        self._restored.remove(reader)
        reader.close()

    def _restore_begin(
        self,
        number: int,
        done: Callable[[], None],
        opened: tuple[SnapshotReader, Iterator[bytes]],
        *,
        at_once: bool,
    ) -> None:
        reader, chunks = opened
        self._note_size(reader.meta.index, reader.size)
        core = self._replica.core
        is_header = True
        fetch = partial(self._on_disk, partial(next, chunks, None))

        def on_chunk(chunk: bytes | None) -> None:
            nonlocal is_header
            if chunk is None or number != self._restores:
                self._on_disk(partial(self._close_restored, reader), lambda _: None)
                if number == self._restores:
                    self._replica.restore_end(self._now())
                    self.installed += 1
                    done()
                    self._settle_wanted(self._replica.applied)
                return
            if is_header:
                is_header = False
                self._replica.restore_header(chunk)
            else:
                self._replica.machine.restore_chunk(chunk)
            if at_once or core.leader is None or core.is_leader:
                fetch(on_chunk)
            else:
                self._pace.move(len(chunk) // _RESTORED_FASTER, partial(fetch, on_chunk))

        if number == self._restores:
            self._replica.restore_begin(reader.meta)
        fetch(on_chunk)

    def stop(self) -> None:
        """Drop whatever comes back from the thread from now on."""
        self._stopped = True
        self._close_chunks()
        wanted, self._wanted = self._wanted, []
        for _, done in wanted:
            done(Stopped("this node stopped"))

    def close_files(self) -> None:
        """Let go of every file and of what is not finished, once stopped: the process goes on."""
        assert self._stopped, "nothing is begun any more"
        self._disk.submit(self._close_all, lambda _: None)

    def _close_all(self) -> None:
        """Close and remove what is open or not finished; on the thread, behind whatever was just being opened there."""
        if self._writer is not None:
            self._writer.abort()
        if self._receiver is not None:
            self._receiver[1].abort()
        for reader in list(self._restored):
            self._close_restored(reader)
        self._close_all_readers()

    def _on_disk(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run file work on the snapshot thread; an error stops the node."""

        def finished(result: Any) -> None:
            if self._stopped:
                return
            if isinstance(result, BaseException):
                self._fail(result)
                return
            try:
                done(result)
            except Exception as error:  # noqa: BLE001  a failed restore leaves no state to go on with
                self._fail(error)

        if not self._stopped:
            self._disk.submit(work, finished)
