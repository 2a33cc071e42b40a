"""What a data directory holds, line by line, for people: read without taking its lock or changing a byte.

Says of damage what start-up would say of it, and goes on behind it. A node may be running meanwhile: what it is just
writing looks like an interrupted write, and what it removes is passed over, or looked at anew (`survey`).
"""

from collections.abc import Iterator

import msgspec

from raftline.core.entries import SnapshotMeta
from raftline.core.ids import GroupId
from raftline.errors import ConfigError, CorruptLog
from raftline.wal.files import Files
from raftline.wal.record import Write
from raftline.wal.recovery import Verdict, decide
from raftline.wal.replay import Recovered, Replay
from raftline.wal.restoring import MARK, unfinished
from raftline.wal.segment import SegmentReader, segment_name, segment_sequence
from raftline.wal.snapshot_store import SnapshotReader, parse_snapshot_name
from raftline.wal.storage_errors import storage_error

__all__ = ["Line", "Survey", "inspect", "survey"]

_RECORD_KINDS = frozenset({"reset", "hard state", "entries", "forgotten"})
_LOOKS_MAX = 20


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was found.

    `kind` is segment, reset, hard state, entries, forgotten, end, snapshot, leftover, damage or newer;
    `offset` counts bytes in `file`.
    """

    file: str
    offset: int = 0
    kind: str
    group: GroupId | None = None
    text: str

    @property
    def is_damage(self) -> bool:
        """Say whether a node could not start from this directory because of it, or could not send or restore it."""
        return self.kind in {"damage", "newer"}


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What a directory adds up to; `owner` is (cluster id, node id) of the last good segment, None if there is none.

    `recovered` is what a node would start from, by group; None if it would refuse to start.
    """

    lines: tuple[Line, ...]
    owner: tuple[str, str] | None
    recovered: dict[GroupId, Recovered] | None

    @property
    def problems(self) -> tuple[Line, ...]:
        """Return whatever start-up, or a restore, would refuse."""
        return tuple(line for line in self.lines if line.is_damage)


def inspect(files: Files, directory: str) -> Iterator[Line]:
    """Yield every record, snapshot and oddity in `directory`; raises `StorageError` if it cannot be read."""
    try:
        names = files.list(directory)
        yield from _Inspection(files, directory, names).lines()
    except OSError as error:
        raise storage_error("read", directory, error) from error


def survey(files: Files, directory: str, *, records: bool = False) -> Survey:
    """Return what `directory` adds up to, with a line for every record if asked; raises `StorageError`.

    If a running node removed something meanwhile, everything is looked at again: what is left must make sense.
    """
    try:
        for _ in range(_LOOKS_MAX):
            names = files.list(directory)
            look = _Inspection(files, directory, names)
            lines = tuple(line for line in look.lines() if records or line.kind not in _RECORD_KINDS)
            if not look.vanished and (look.recovered is not None or files.list(directory) == names):
                break
    except OSError as error:
        raise storage_error("read", directory, error) from error
    return Survey(lines=lines, owner=look.owner, recovered=look.recovered)


class _Inspection:
    """One walk through a directory.

    Invariant: `_replay` is what the segments so far add up to, None once one of them is damaged.
    """

    def __init__(self, files: Files, directory: str, names: list[str]) -> None:
        self._files = files
        self._directory = directory
        self._names = names
        self._replay: Replay | None = Replay(directory)
        self._next_number: int | None = None
        self.vanished = False
        """Something that was listed was gone when it was opened."""
        self.owner: tuple[str, str] | None = None
        self.recovered: dict[GroupId, Recovered] | None = None

    def lines(self) -> Iterator[Line]:
        found = sorted(sequence for name in self._names if (sequence := segment_sequence(name)) is not None)
        expected = None
        for sequence in found:
            if expected is not None and sequence != expected:
                yield self._damage(segment_name(expected), "it is missing")
            expected = sequence + 1
            try:
                yield from self._segment(sequence, last=sequence == found[-1])
            except FileNotFoundError:
                self.vanished = True
                expected = None
                self._replay, self._next_number = Replay(self._directory), None
        newest: dict[GroupId, SnapshotMeta] = {}
        for name in self._names:
            if parse_snapshot_name(name) is not None:
                yield from self._snapshot(name, newest)
            elif name.endswith(".tmp"):
                yield Line(file=name, kind="leftover", text="being made, or left behind; removed at start-up")
        if MARK in self._names:
            yield self._damage(MARK, unfinished(self._files, self._directory))
        yield from self._whole(newest, has_segments=bool(found))

    def _segment(self, sequence: int, *, last: bool) -> Iterator[Line]:
        name = segment_name(sequence)
        path = f"{self._directory}/{name}"
        try:
            reader = self._read(path, sequence, last=last)
        except (CorruptLog, ConfigError) as error:
            self._next_number = None
            yield self._damage(name, str(error), newer=isinstance(error, ConfigError))
            return
        header = reader.header
        self.owner = (header.cluster_id, header.node_id)
        yield Line(
            file=name,
            kind="segment",
            text=f"node {header.node_id} of cluster {header.cluster_id}, frame {reader.number}, "
            f"{header.size_bytes} bytes; ends of logs {header.log_ends}",
        )
        if self._next_number is not None and reader.number != self._next_number:
            yield self._damage(name, f"its header is frame {reader.number}, expected {self._next_number}")
        wrong = self._replay.on_header(header) if self._replay is not None else None
        if wrong:
            yield self._damage(name, wrong)
        self._next_number = None
        try:
            yield from self._frames(name, reader)
        except CorruptLog as error:
            yield self._damage(name, str(error), reader.end)
            return
        self._next_number = reader.next_number
        case = decide(reader.finding(last_segment=last))
        if case.verdict is Verdict.REFUSE:
            yield self._damage(name, f"{case.reason} (case {case.letter})", reader.end)
        else:
            yield Line(file=name, offset=reader.end, kind="end", text=f"{case.reason}: {case.verdict.value}")

    def _read(self, path: str, sequence: int, *, last: bool) -> SegmentReader:
        """Read a segment; the last one so often that what a running node wrote meanwhile cannot look like damage.

        Reading takes a while: a frame that was not there yet may be missing before one that came later. Every frame
        that was begun during one reading is whole, or still the last, in the next.
        """
        damaged_at = -1
        while True:
            file = self._files.open(path)
            try:
                reader = SegmentReader(path, file, sequence)
            finally:
                file.close()
            if not last or (end := _refused_at(reader)) in (None, damaged_at):
                return reader.again()
            damaged_at = end

    def _frames(self, name: str, reader: SegmentReader) -> Iterator[Line]:
        for offset, writes in reader.frames():
            for write in writes:
                yield from _records(name, offset, write)
            wrong = self._replay.on_writes(writes) if self._replay is not None else None
            if wrong:
                yield self._damage(name, wrong, offset)

    def _snapshot(self, name: str, newest: dict[GroupId, SnapshotMeta]) -> Iterator[Line]:
        try:
            file = self._files.open(f"{self._directory}/{name}")
        except FileNotFoundError:
            self.vanished = True
            return
        try:
            reader = SnapshotReader(f"{self._directory}/{name}", file)
            reader.check_name(name)
        except (CorruptLog, ConfigError) as error:
            file.close()
            yield self._damage(name, str(error), newer=isinstance(error, ConfigError))
            return
        try:
            chunks = sum(1 for _ in reader.chunks())
        except CorruptLog as error:
            yield self._damage(name, str(error))
        else:
            meta = reader.meta
            if reader.group not in newest or newest[reader.group].index < meta.index:
                newest[reader.group] = meta
            text = f"up to index {meta.index} of term {meta.term}, {chunks} chunks, {reader.size} bytes"
            yield Line(file=name, kind="snapshot", group=reader.group, text=text)
        finally:
            reader.close()

    def _whole(self, newest: dict[GroupId, SnapshotMeta], *, has_segments: bool) -> Iterator[Line]:
        """Judge the segments and snapshots together, as start-up does, unless one of them is damaged by itself."""
        if newest and not has_segments:
            yield self._damage("", "there are snapshots, but no segment of the log")
        elif self._replay is not None:
            try:
                known = {group: meta for group, meta in newest.items() if group not in self._replay.forgotten}
                self.recovered, _ = self._replay.conclude(known)
            except CorruptLog as error:
                yield self._damage("", str(error))

    def _damage(self, name: str, text: str, offset: int = 0, *, newer: bool = False) -> Line:
        self._replay = None
        return Line(file=name, offset=offset, kind="newer" if newer else "damage", text=text)


def _refused_at(reader: SegmentReader) -> int | None:
    """Return where the frames of a last segment stop making sense, None if they do up to the end."""
    try:
        for _ in reader.frames():
            pass
        return reader.end if decide(reader.finding(last_segment=True)).verdict is Verdict.REFUSE else None
    except CorruptLog:
        return reader.end


def _records(name: str, offset: int, write: Write) -> Iterator[Line]:
    if write.is_forgotten:
        text = "hosted here no more: nothing before this counts"
        yield Line(file=name, offset=offset, kind="forgotten", group=write.group, text=text)
    if write.reset is not None:
        text = f"starts anew behind index {write.reset.index} of term {write.reset.term}"
        yield Line(file=name, offset=offset, kind="reset", group=write.group, text=text)
    if write.hard_state is not None:
        text = f"term {write.hard_state.term}, vote {write.hard_state.vote or 'none'}"
        if not write.hard_state.established:
            text += ", may not vote yet"
        yield Line(file=name, offset=offset, kind="hard state", group=write.group, text=text)
    if write.entries:
        first, last = write.entries[0], write.entries[-1]
        size = sum(len(entry.data) for entry in write.entries)
        text = f"{first.index} to {last.index}, terms {first.term} to {last.term}, {size} bytes of data"
        yield Line(file=name, offset=offset, kind="entries", group=write.group, text=text)
