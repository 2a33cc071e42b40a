"""The durable log of a node: all groups in one sequence of segments, one write and one fsync per batch.

Files in a data directory
    LOCK                                          held by the process that uses the directory
    wal-<sequence>.log                            segments, preallocated, the last one written to
    snapshot-<group>-<index>-<term>.snap          snapshots; older ones go once a newer is durable
    *.tmp                                         being made when the node stopped; removed at start-up

Crash windows: a batch is torn (cut at start-up); a segment is being made (its .tmp goes, the old one is still the
last); a snapshot is durable and the log does not know (entries it covers are dropped, the rest kept if they agree).
The byte layout, and why a torn tail is told from damage, is in docs/wal-format.md.
"""

from collections.abc import Sequence

import msgspec

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.ids import GroupId, Index
from raftline.errors import ConfigError, CorruptLog, StorageError
from raftline.wal.files import File, Files, Lock
from raftline.wal.record import HEADER, SegmentHeader, Write, encode_frame
from raftline.wal.recovery import Verdict, decide
from raftline.wal.segment import FORMAT_VERSION, SegmentReader, segment_name, segment_sequence
from raftline.wal.snapshot_store import SnapshotStore
from raftline.wal.storage_errors import storage_error

__all__ = ["Recovered", "Wal", "Write"]


class Recovered(msgspec.Struct, frozen=True):
    """What the directory held for one group.

    `hard_state` is None if none was ever written. Entries are contiguous and lie behind the snapshot.
    """

    hard_state: HardState | None
    snapshot: SnapshotMeta | None
    entries: list[Entry]


class _Group:
    """A group while segments are replayed: its last hard state, last reset, and the entries behind it."""

    def __init__(self) -> None:
        self.hard_state: HardState | None = None
        self.reset: SnapshotMeta | None = None
        self.entries: list[Entry] = []

    def replay(self, write: Write) -> str | None:
        """Take a record in; return what is wrong with it, if anything is."""
        if write.reset is not None:
            self.reset = write.reset
            self.entries = []
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if not write.entries:
            return None
        first = write.entries[0].index
        if self.entries:
            start = self.entries[0].index
            if first > self.entries[-1].index + 1:
                return f"entry {first} follows entry {self.entries[-1].index}"
            del self.entries[max(0, first - start) :]
        self.entries.extend(write.entries)
        return None


class Wal:
    """An open data directory.

    Invariants: frames are numbered without gaps; the last segment is the only one written to; after the first failed
    write or sync nothing is written any more.
    """

    def __init__(self, files: Files, directory: str, lock: Lock, cluster_id: str, node_id: str, segment_bytes: int):  # noqa: ANN204
        self._files = files
        self._directory = directory
        self._lock = lock
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._segment_bytes = segment_bytes
        self._broken: StorageError | None = None
        self._segments: dict[int, dict[GroupId, Index]] = {}
        self._released: dict[GroupId, Index] = {}
        self._hard_states: dict[GroupId, HardState] = {}
        self._resets: dict[GroupId, SnapshotMeta] = {}
        self._sequence = 0
        self._file: File | None = None
        self._end = 0
        self._size = 0
        self._next_number = 1
        self.is_new = True
        self.recovered: dict[GroupId, Recovered] = {}
        self.snapshots = SnapshotStore(files, directory)

    @classmethod
    def open(
        cls, files: Files, directory: str, *, cluster_id: str, node_id: str, segment_bytes: int = 64 << 20
    ) -> "Wal":
        """Lock `directory` (made if missing) and recover what it holds.

        Raises `DirectoryInUse`, `CorruptLog` for damage that no crash explains, `ConfigError` if the directory is
        another node's, and `StorageError` if it cannot be read or written.
        """
        try:
            files.make_directory(directory)
            lock = files.lock(f"{directory}/LOCK")
            try:
                wal = cls(files, directory, lock, cluster_id, node_id, segment_bytes)
                wal._recover()
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise storage_error("open", directory, error) from error
        return wal

    def append(self, writes: Sequence[Write]) -> None:
        """Write one batch and make it durable: one write, one fsync.

        Raises `StorageError` if that fails, and from then on always: what is on disk is not known any more.
        """
        if self._broken is not None:
            raise self._broken
        assert self._file is not None, "the directory is open"
        path = f"{self._directory}/{segment_name(self._sequence)}"
        try:
            frame = encode_frame(writes, self._next_number, self._sequence)
            if self._end + len(frame) > self._size:
                self._rotate(len(frame))
                path = f"{self._directory}/{segment_name(self._sequence)}"
                frame = encode_frame(writes, self._next_number, self._sequence)
            self._file.write_at(self._end, frame)
            self._file.sync()
        except OSError as error:
            self._broken = storage_error("write", path, error)
            raise self._broken from error
        self._end += len(frame)
        self._next_number += 1
        self._note(self._sequence, writes)

    def release(self, group: GroupId, index: Index) -> int:
        """Let go of the entries of `group` up to `index`: remove segments that nobody needs; return how many.

        A snapshot up to `index`, or further, must be durable.
        """
        if self._broken is not None:
            raise self._broken
        self._released[group] = max(index, self._released.get(group, 0))
        removed = 0
        try:
            for sequence in sorted(self._segments)[:-1]:
                highest = self._segments[sequence]
                if any(last > self._released.get(owner, 0) for owner, last in highest.items()):
                    break
                self._files.remove(f"{self._directory}/{segment_name(sequence)}")
                self._files.sync_directory(self._directory)
                del self._segments[sequence]
                removed += 1
        except OSError as error:
            self._broken = storage_error("remove old segments in", self._directory, error)
            raise self._broken from error
        return removed

    def close(self) -> None:
        """Close the files and let others have the directory."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._lock.release()

    # Recovery.

    def _recover(self) -> None:
        """Replay every segment, cut a torn tail, sort out snapshot and log, and get ready to append."""
        # What a killed program left in the page cache is seen below and acted on: it must not vanish afterwards.
        self._files.sync_directory(self._directory)
        names = self._files.list(self._directory)
        leftover = [name for name in names if name.endswith(".tmp")]
        for name in leftover:
            self._files.remove(f"{self._directory}/{name}")
        if leftover:
            self._files.sync_directory(self._directory)
        found = sorted(sequence for name in names if (sequence := segment_sequence(name)) is not None)
        self.is_new = not found
        groups: dict[GroupId, _Group] = {}
        for position, sequence in enumerate(found):
            if position and sequence != found[position - 1] + 1:
                missing = segment_name(found[position - 1] + 1)
                raise CorruptLog(f"{self._directory}: {missing} is missing. Restore it, or wipe the directory")
            self._replay_segment(sequence, groups, last=position == len(found) - 1)
        repairs = self._combine_with_snapshots(groups)
        if self._file is None:
            self._make_segment(1, 0)
        if repairs:
            self.append(repairs)

    def _replay_segment(self, sequence: int, groups: dict[GroupId, _Group], *, last: bool) -> None:
        path = f"{self._directory}/{segment_name(sequence)}"
        file = self._files.open(path)
        if last:
            file.sync()
        reader = SegmentReader(path, file, sequence)
        header = reader.header
        self._check_owner(path, header)
        if self._segments and reader.next_number != self._next_number + 1:
            reader.refuse(0, f"its header is frame {reader.next_number - 1}, expected {self._next_number}")
        highest: dict[GroupId, Index] = {}
        self._segments[sequence] = highest
        self._hard_states |= header.hard_states
        self._resets |= header.resets
        for group, hard_state in header.hard_states.items():
            groups.setdefault(group, _Group()).hard_state = hard_state
        for group, reset in header.resets.items():
            known = groups.setdefault(group, _Group())
            known.reset = known.reset or reset
        for offset, writes in reader.frames():
            for write in writes:
                wrong = groups.setdefault(write.group, _Group()).replay(write)
                if wrong:
                    reader.refuse(offset, wrong)
            self._note(sequence, writes)
        self._next_number = reader.next_number
        self._settle_tail(file, reader, last=last)
        if last:
            self._file, self._sequence, self._end, self._size = file, sequence, reader.end, header.size_bytes
        else:
            file.close()

    @staticmethod
    def _settle_tail(file: File, reader: SegmentReader, *, last: bool) -> None:
        """Keep, cut or refuse what stands behind the last good frame, as the case table says.

        A cut may itself be interrupted: the frame's header goes last, and until then what is left is still a torn tail.
        """
        case = decide(reader.finding(last_segment=last))
        if case.verdict is Verdict.REFUSE:
            reader.refuse(reader.end, f"{case.reason} (case {case.letter})")
        if case.verdict is Verdict.CUT_TAIL:
            dirty = reader.dirty_end()
            behind = min(dirty, reader.end + HEADER.size)
            if dirty > behind:
                file.write_at(behind, bytes(dirty - behind))
                file.sync()
            file.write_at(reader.end, bytes(behind - reader.end))
            file.sync()

    def _check_owner(self, path: str, header: SegmentHeader) -> None:
        if header.cluster_id != self._cluster_id:
            raise ConfigError(
                f"{path} belongs to cluster {header.cluster_id!r}, this node to {self._cluster_id!r}: correct the "
                f"cluster id or the data directory"
            )
        if header.node_id != self._node_id:
            raise ConfigError(
                f"{path} belongs to node {header.node_id!r}, this is {self._node_id!r}: two nodes must not share a "
                f"data directory; correct the node id or the data directory"
            )

    def _combine_with_snapshots(self, groups: dict[GroupId, _Group]) -> list[Write]:
        """Drop what the newest snapshot covers (D10); return the resets that the log needs to be told of."""
        repairs: list[Write] = []
        newest = self.snapshots.recover()
        for group in sorted({*groups, *newest}):
            known = groups.get(group) or _Group()
            snapshot = newest.get(group)
            covered = snapshot.index if snapshot else 0
            if known.reset is not None and known.reset.index > covered:
                raise CorruptLog(
                    f"{self._directory}: the log of group {group} follows a snapshot at index {known.reset.index}, "
                    f"the newest one here is at {covered}. Restore it, or wipe the directory"
                )
            entries = known.entries
            if snapshot is not None and entries:
                entries = self._behind(snapshot, entries)
                if not entries:
                    repairs.append(Write(group=group, reset=snapshot))
            if entries and entries[0].index > covered + 1:
                raise CorruptLog(
                    f"{self._directory}: the log of group {group} starts at index {entries[0].index}, but the newest "
                    f"snapshot ends at {covered}. Restore what is missing, or wipe the directory"
                )
            self.recovered[group] = Recovered(known.hard_state, snapshot, entries)
        return repairs

    @staticmethod
    def _behind(snapshot: SnapshotMeta, entries: list[Entry]) -> list[Entry]:
        """Return the entries behind the snapshot if the log agrees with it at its end, else none (D10)."""
        position = snapshot.index - entries[0].index
        if position == -1:
            return entries
        if position < -1:
            return entries  # the gap is refused by the caller
        if position >= len(entries) or entries[position].term != snapshot.term:
            return []
        return entries[position + 1 :]

    # Segments.

    def _note(self, sequence: int, writes: Sequence[Write]) -> None:
        """Remember what the segment holds and what the next one's header must say."""
        highest = self._segments[sequence]
        for write in writes:
            if write.reset is not None:
                self._resets[write.group] = write.reset
                highest[write.group] = max(write.reset.index, highest.get(write.group, 0))
            if write.hard_state is not None:
                self._hard_states[write.group] = write.hard_state
            if write.entries:
                highest[write.group] = max(write.entries[-1].index, highest.get(write.group, 0))

    def _rotate(self, frame_bytes: int) -> None:
        """Go on in a new segment; everything in the old one is durable already."""
        assert self._file is not None, "there is a segment to leave"
        old = self._file
        self._make_segment(self._sequence + 1, frame_bytes)
        old.close()

    def _make_segment(self, sequence: int, frame_bytes: int) -> None:
        """Make a segment aside, durable and at its full size, then give it its name."""
        path = f"{self._directory}/{segment_name(sequence)}"
        aside = f"{path}.tmp"
        room = 4096 + 256 * (len(self._hard_states) + len(self._resets))
        size = max(self._segment_bytes, frame_bytes + room)
        header = SegmentHeader(
            version=FORMAT_VERSION,
            cluster_id=self._cluster_id,
            node_id=self._node_id,
            sequence=sequence,
            size_bytes=size,
            hard_states=dict(self._hard_states),
            resets=dict(self._resets),
        )
        frame = encode_frame(header, self._next_number, sequence)
        size = max(size, len(frame) + frame_bytes)
        if size != header.size_bytes:
            frame = encode_frame(msgspec.structs.replace(header, size_bytes=size), self._next_number, sequence)
        file = self._files.open(aside, create=True)
        file.allocate(size)
        file.write_at(0, frame)
        file.sync()
        self._files.rename(aside, path)
        self._files.sync_directory(self._directory)
        self._file, self._sequence, self._end, self._size = file, sequence, len(frame), size
        self._segments[sequence] = {}
        self._next_number += 1
