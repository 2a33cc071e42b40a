"""The durable log of a node: all groups in one sequence of segments, one write and one fsync per batch.

Files in a data directory
    LOCK                                          held by the process that uses the directory
    RESTORING                                     from the beginning of a restore to its end: nothing starts from here
    wal-<sequence>.log                            segments, preallocated, the last one written to
    snapshot-<group>-<index>-<term>.snap          snapshots; older ones go once a newer is durable
    *.tmp                                         being made when the node stopped; removed at start-up

Crash windows: a batch is torn (cut at start-up); a segment is being made (its .tmp goes, the old one is still the
last); a snapshot is durable and the log does not know (entries it covers are dropped, the rest kept if they agree).
The byte layout, and why a torn tail is told from damage, is in docs/wal-format.md.
"""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import msgspec

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.ids import GroupId, Index
from raftline.errors import ConfigError, CorruptLog, SafetyViolation, StorageError
from raftline.wal.files import File, Files, Lock
from raftline.wal.log_index import LogIndex, Span
from raftline.wal.log_reader import read_entries
from raftline.wal.record import HEADER, SegmentHeader, Write, encode_frame, first_salt, salt_of
from raftline.wal.recovery import Case, Verdict, decide
from raftline.wal.replay import Recovered, Replay, log_ends_after
from raftline.wal.restoring import MARK, begin_restoring, clear_for_restoring, end_restoring, unfinished
from raftline.wal.segment import FORMAT_VERSION, SegmentReader, segment_name, segment_sequence
from raftline.wal.snapshot_store import SnapshotStore
from raftline.wal.storage_errors import REMEDY, directory_error, storage_error

__all__ = ["Holders", "Recovered", "Wal", "Write"]

_ZEROS_AHEAD_BYTES_MAX = 256 << 10
"""Written behind a frame now and then: blocks that were written once are cheaper to fsync (docs/decisions/0002)."""


class Holders(NamedTuple):
    """Who needs the oldest segment, if it is not the one being written, and how many segments there are."""

    groups: tuple[GroupId, ...]
    segments: int


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
        self._indexes: dict[GroupId, LogIndex] = {}
        self._hard_states: dict[GroupId, HardState] = {}
        self._resets: dict[GroupId, SnapshotMeta] = {}
        self._log_ends: dict[GroupId, Index] = {}
        self._file: File | None = None
        self._is_restoring = False
        self._sequence = 0
        self._salt = 0
        self._end = 0
        self._zeroed_end = 0
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
        another node's or of a newer format, and `StorageError` if it cannot be read or written.
        """
        try:
            files.make_directory(directory)
            lock = files.lock(f"{directory}/LOCK")
            wal = cls(files, directory, lock, cluster_id, node_id, segment_bytes)
            wal._recover_or_close()
        except OSError as error:
            raise directory_error("open", directory, error) from error
        return wal

    @classmethod
    def restore(
        cls, files: Files, directory: str, *, cluster_id: str, node_id: str, command: str, segment_bytes: int = 64 << 20
    ) -> "Wal":
        """Begin to fill a new `directory`; until `end_restore` a start refuses it and names `command`.

        What an earlier restore left that did not end is removed. Raises as `open` does, and `ConfigError` if there is
        anything else in the directory.
        """
        try:
            begin_restoring(files, directory, command)
            wal = cls(files, directory, files.lock(f"{directory}/LOCK"), cluster_id, node_id, segment_bytes)
            wal._is_restoring = True
            wal._recover_or_close()
        except OSError as error:
            raise directory_error("restore into", directory, error) from error
        return wal

    def end_restore(self) -> None:
        """All of it is written and durable: from now on a node may start from this directory."""
        if self._broken is not None:
            raise self._broken
        try:
            end_restoring(self._files, self._directory)
        except OSError as error:
            self._break("restore into", self._directory, error)

    def append(self, writes: Sequence[Write]) -> None:
        """Write one batch and make it durable: one write, one fsync.

        Raises `StorageError` if that fails, and from then on always: what is on disk is not known any more. Raises
        `SafetyViolation` for entries that leave a gap, and `TooLarge`; nothing was written then.
        """
        if self._broken is not None:
            raise self._broken
        assert self._file is not None, "the directory is open"
        ends = log_ends_after(writes, self._log_ends)
        if isinstance(ends, str):
            raise SafetyViolation(f"a gap in the log: {ends}. Nothing was written")
        frame = encode_frame(writes, self._next_number, self._salt)
        if self._end + len(frame) > self._size:
            self._make_segment(self._sequence + 1, len(frame))
            frame = encode_frame(writes, self._next_number, self._salt)
        end = zeroed_end = self._end + len(frame)
        data = frame
        if end > self._zeroed_end:
            ahead = min(_ZEROS_AHEAD_BYTES_MAX, self._size // 128)
            if len(frame) < ahead:
                zeroed_end = min(end + ahead, self._size)
                data += bytes(zeroed_end - end)
            self._zeroed_end = zeroed_end
        try:
            self._file.write_at(self._end, data)
            self._file.sync()
        except OSError as error:
            self._break("write", self._path(self._sequence), error)
        offset, self._end = self._end, end
        self._next_number += 1
        self._note(self._sequence, offset, writes)
        self._log_ends |= ends

    def release(self, group: GroupId, index: Index) -> int:
        """Let go of the entries of `group` up to `index`: remove segments that nobody needs; return how many.

        A snapshot up to `index`, or further, must be durable.
        """
        if self._broken is not None:
            raise self._broken
        self._released[group] = max(index, self._released.get(group, 0))
        before = len(self._segments)
        self.remove_unneeded()
        return before - len(self._segments)

    def forget(self, group: GroupId) -> None:
        """Forget a group, durably: what was written of it counts no more, and its snapshots are removed.

        Later records of the same number are those of another group. No segment goes before the snapshots, so that
        start-up knows which ones to remove if a crash comes between.
        """
        if self._broken is not None:
            raise self._broken
        if group in self._hard_states or group in self._log_ends:
            self.append([Write(group=group, is_forgotten=True)])
        self.snapshots.remove(group)
        self.remove_unneeded()

    def remove_unneeded(self) -> "Holders":
        """Remove the oldest segments as long as no group needs them; return who needs the oldest of those left."""
        if self._broken is not None:
            raise self._broken
        holders: tuple[GroupId, ...] = ()
        try:
            for sequence in sorted(self._segments)[:-1]:
                released = self._released
                holders = tuple(
                    owner for owner, last in self._segments[sequence].items() if last > released.get(owner, 0)
                )
                if holders:
                    break
                # One at a time and oldest first: whatever a crash brings back is a whole sequence.
                self._files.remove(self._path(sequence))
                self._files.sync_directory(self._directory)
                del self._segments[sequence]
        except OSError as error:
            self._break("remove old segments in", self._directory, error)
        for log_index in self._indexes.values():
            log_index.forget_before(min(self._segments))
        return Holders(holders, len(self._segments))

    def locate(self, group: GroupId, low: Index, bytes_max: int) -> list[Span]:
        """Return where about `bytes_max` of entries from `low` on are on disk, for `fetch`; nothing: nowhere."""
        log_index = self._indexes.get(group)
        return log_index.locate(low, bytes_max) if log_index is not None else []

    def fetch(self, group: GroupId, spans: Sequence[Span], bytes_max: int) -> tuple[Entry, ...]:
        """Return entries that `locate` found, as many as fit and at least one; none if they are gone by now.

        Touches nothing of this object that changes: another thread than the one that appends may call it. Raises
        `CorruptLog` and `StorageError`.
        """
        return read_entries(self._files, self._directory, group, spans, bytes_max)

    def rename_cluster(self, cluster_id: str, writes: Sequence[Write] = ()) -> None:
        """Let the directory belong to another cluster from now on (`recover`): the segment begun by this says so.

        `writes` are the first in it: after a crash they are there together with the new name, or neither is.
        """
        if self._broken is not None:
            raise self._broken
        ends = log_ends_after(writes, self._log_ends)
        if isinstance(ends, str):
            raise SafetyViolation(f"a gap in the log: {ends}. Nothing was written")
        self._cluster_id = cluster_id
        self._make_segment(self._sequence + 1, 0, writes)
        self._log_ends |= ends

    def close(self) -> None:
        """Close the files and let others have the directory; raises `StorageError`."""
        file, self._file = self._file, None
        lock, self._lock = self._lock, _NO_LOCK
        try:
            if file is not None:
                file.close()
        except OSError as error:
            raise storage_error("close", self._path(self._sequence), error) from error
        finally:
            lock.release()

    # Recovery: everything is read and judged before anything is changed.

    def _recover_or_close(self) -> None:
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def _recover(self) -> None:
        # What a killed program left in the page cache is seen below and acted on: it must not vanish afterwards.
        self._files.sync_directory(self._directory)
        names = self._files.list(self._directory)
        if self._is_restoring:
            names = clear_for_restoring(self._files, self._directory, names)
        elif MARK in names:
            raise CorruptLog(unfinished(self._files, self._directory))
        replay = Replay(self._directory, self.snapshots.reach())
        tail = self._read_segments(names, replay)
        newest = self.snapshots.newest(without=replay.forgotten)
        if tail is None and newest:
            raise CorruptLog(
                f"{self._directory}: there are snapshots, but no segment of the log. Nothing was changed; {REMEDY}"
            )
        self.recovered, resets = replay.conclude(newest)
        self.is_new = tail is None
        self._hard_states, self._resets, self._log_ends = replay.hard_states, replay.resets, replay.log_ends
        self._released = {group: snapshot.index for group, snapshot in newest.items()}
        self._remove_leftovers(names)
        if tail is None:
            self._make_segment(1, 0)
        else:
            self._settle_tail(*tail)
        for group in sorted(replay.forgotten):
            self.snapshots.remove(group)
        for group, snapshot in newest.items():
            self.snapshots.prune(group, snapshot.index)
        if resets:
            self.append(resets)

    def _read_segments(self, names: list[str], replay: Replay) -> tuple[SegmentReader, Case] | None:
        """Replay every segment; return the last one's reader and what is to be done about its tail."""
        found = sorted(sequence for name in names if (sequence := segment_sequence(name)) is not None)
        tail = None
        for sequence in found:
            if self._segments and sequence != self._sequence + 1:
                raise CorruptLog(f"{self._path(self._sequence + 1)} is missing. Nothing was changed; {REMEDY}")
            file = self._files.open(self._path(sequence))
            if self._file is not None:
                self._file.close()
            self._file, self._sequence = file, sequence
            tail = self._read_segment(file, replay, last=sequence == found[-1])
        return tail

    def _read_segment(self, file: File, replay: Replay, *, last: bool) -> tuple[SegmentReader, Case]:
        reader = SegmentReader(self._path(self._sequence), file, self._sequence)
        self._check_owner(reader, last=last)
        if self._segments and reader.number != self._next_number:
            reader.refuse(0, f"its header is frame {reader.number}, expected {self._next_number}")
        wrong = replay.on_header(reader.header)
        if wrong:
            reader.refuse(0, wrong)
        self._segments[self._sequence] = {}
        for offset, writes in reader.frames():
            wrong = replay.on_writes(writes)
            if wrong:
                reader.refuse(offset, wrong)
            self._note(self._sequence, offset, writes)
        case = decide(reader.finding(last_segment=last))
        if case.verdict is Verdict.REFUSE:
            reader.refuse(reader.end, f"{case.reason} (case {case.letter})")
        self._next_number = reader.next_number
        return reader, case

    def _check_owner(self, reader: SegmentReader, *, last: bool) -> None:
        header = reader.header
        if last and header.cluster_id != self._cluster_id:  # those before it may be of before a recovery
            raise ConfigError(
                f"{reader.path} belongs to cluster {header.cluster_id!r}, this node to {self._cluster_id!r}: correct "
                f"the cluster id or the data directory"
            )
        if header.node_id != self._node_id:
            raise ConfigError(
                f"{reader.path} belongs to node {header.node_id!r}, this is {self._node_id!r}: two nodes must not "
                f"share a data directory; correct the node id or the data directory"
            )

    def _remove_leftovers(self, names: list[str]) -> None:
        leftover = [name for name in names if name.endswith(".tmp")]
        for name in leftover:
            self._files.remove(f"{self._directory}/{name}")
        if leftover:
            self._files.sync_directory(self._directory)

    def _settle_tail(self, reader: SegmentReader, case: Case) -> None:
        """Make the last frame durable and what is behind it zero, then go on from there.

        The last frame may be there only because its failed fsync left it in the page cache, where nothing would write
        it any more: it is written again. A cut may itself be interrupted: the torn frame's header goes last, and until
        then what is left is still a torn tail.
        """
        assert self._file is not None, "the last segment stays open"
        if reader.last_offset:
            self._file.write_at(reader.last_offset, reader.last_frame())
        self._file.sync()
        if case.verdict is Verdict.CUT_TAIL:
            dirty = reader.dirty_end()
            behind = min(dirty, reader.end + HEADER.size)
            if dirty > behind:
                self._file.write_at(behind, bytes(dirty - behind))
                self._file.sync()
            self._file.write_at(reader.end, bytes(behind - reader.end))
            self._file.sync()
        self._salt = reader.salt
        self._end = self._zeroed_end = reader.end
        self._size = reader.header.size_bytes

    # Segments.

    def _path(self, sequence: int) -> str:
        return f"{self._directory}/{segment_name(sequence)}"

    def _break(self, doing: str, path: str, error: OSError) -> NoReturn:
        self._broken = storage_error(doing, path, error)
        raise self._broken from error

    def _note(self, sequence: int, offset: int, writes: Sequence[Write]) -> None:
        """Remember what the segment holds, where, and what the next one's header must say."""
        highest = self._segments[sequence]
        for write in writes:
            group = write.group
            if write.is_forgotten:
                self._drop(group)
                continue
            if write.entries or write.reset is not None:
                if group not in self._indexes:
                    self._indexes[group] = LogIndex()
                self._note_replaced(write, sequence)
                self._indexes[group].note(group, sequence, offset, (write,))
            if write.reset is not None:
                self._resets[write.group] = write.reset
                highest[write.group] = max(write.reset.index, highest.get(write.group, 0))
            if write.hard_state is not None:
                self._hard_states[write.group] = write.hard_state
            if write.entries:
                highest[write.group] = max(write.entries[-1].index, highest.get(write.group, 0))

    def _note_replaced(self, write: Write, sequence: int) -> None:
        """Need no earlier segment for entries that this record replaces, or writes once more."""
        group = write.group
        if write.entries and write.entries[0].index <= self._indexes[group].end:
            before = write.entries[0].index - 1
            for earlier, highest in self._segments.items():
                if earlier < sequence and highest.get(group, 0) > before:
                    highest[group] = before

    def _drop(self, group: GroupId) -> None:
        """Know nothing of a group any more."""
        for highest in self._segments.values():
            highest.pop(group, None)
        for known in (self._indexes, self._hard_states, self._resets, self._log_ends, self._released):
            known.pop(group, None)

    def _make_segment(self, sequence: int, wanted_bytes: int, writes: Sequence[Write] = ()) -> None:
        """Make a segment aside, durable and at its full size, give it its name, and go on in it behind `writes`.

        Everything in the one before is durable already. It is larger than usual if a frame of `wanted_bytes` needs it.
        """
        path = self._path(sequence)
        header = SegmentHeader(
            version=FORMAT_VERSION,
            cluster_id=self._cluster_id,
            node_id=self._node_id,
            sequence=sequence,
            size_bytes=0,
            hard_states=self._hard_states,
            resets=self._resets,
            log_ends=self._log_ends,
        )
        number = self._next_number
        wanted_bytes += len(encode_frame(writes, number, 0)) if writes else 0
        room = len(encode_frame(header, number, 0)) + 8  # the size itself takes up to eight bytes more
        header = msgspec.structs.replace(header, size_bytes=max(self._segment_bytes, room + wanted_bytes))
        frame = encode_frame(header, number, first_salt(sequence))
        first = encode_frame(writes, number + 1, salt_of(frame)) if writes else b""
        try:
            file = self._files.open(f"{path}.tmp", create=True)
            if self._file is not None:
                self._file.close()
            self._file = file
            file.allocate(header.size_bytes)
            file.write_at(0, frame + first)
            file.sync()
            self._files.rename(f"{path}.tmp", path)
            self._files.sync_directory(self._directory)
        except OSError as error:
            self._break("make", path, error)
        self._sequence = sequence
        self._salt = salt_of(frame)
        self._end = self._zeroed_end = len(frame) + len(first)
        self._size = header.size_bytes
        self._segments[sequence] = {}
        self._next_number += 2 if writes else 1
        if writes:
            self._note(sequence, len(frame), writes)


class _NoLock:
    """Stands for a lock that was given back."""

    def release(self) -> None:
        """Do nothing."""


_NO_LOCK = _NoLock()
