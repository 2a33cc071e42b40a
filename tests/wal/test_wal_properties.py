"""Any history of appends, snapshots, releases, restarts and torn writes comes back as a plain list would."""

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.errors import ConfigError, CorruptLog
from raftline.wal.files import OsFiles
from raftline.wal.inspect import inspect
from raftline.wal.wal import Wal, Write

GROUPS = (0, 1, 2)
MEMORY = Path("/dev/shm")  # noqa: S108  many files, and nothing here depends on a real disk
PLACE = MEMORY if MEMORY.is_dir() else None


class Model:
    """What one group's log should hold: plain lists."""

    def __init__(self) -> None:
        self.hard_state: HardState | None = None
        self.snapshot: SnapshotMeta | None = None
        self.entries: list[Entry] = []
        """Behind the newest snapshot."""

    @property
    def base(self) -> int:
        return self.snapshot.index if self.snapshot else 0

    @property
    def end(self) -> int:
        return self.base + len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.snapshot.term if self.snapshot else 0


class History:
    """A log and its models, side by side."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.models = {group: Model() for group in GROUPS}
        self.forgotten: set[int] = set()
        """Groups of which nothing was written since they were forgotten."""
        self.wal = self._open()

    def _open(self) -> Wal:
        return Wal.open(OsFiles(), str(self.directory), cluster_id="c", node_id="n", segment_bytes=4096)

    def write_for(self, group: int, back: int, count: int, size: int, raises_term: bool) -> Write:  # noqa: FBT001
        """Return a record that overwrites the last `back` entries; the model follows."""
        model = self.models[group]
        self.forgotten.discard(group)
        term = model.last_term + raises_term or 1
        if back and count and model.entries:
            del model.entries[-min(back, len(model.entries)) :]
            term += 1
        first = model.end + 1
        entries = tuple(Entry(first + number, term, bytes([number]) * size) for number in range(count))
        model.entries += entries
        model.hard_state = HardState(term, "n" if back else None)
        return Write(group=group, entries=entries, hard_state=model.hard_state)

    def snapshot(self, group: int, share: float) -> None:
        """Take a snapshot somewhere in the log."""
        model = self.models[group]
        if not model.entries:
            return
        entry = model.entries[int(share * (len(model.entries) - 1))]
        self._store(group, SnapshotMeta(entry.index, entry.term))
        model.entries = model.entries[entry.index - model.base :]
        model.snapshot = SnapshotMeta(entry.index, entry.term)
        self.wal.release(group, entry.index)

    def install(self, group: int, ahead: int, logs_it: bool) -> None:  # noqa: FBT001
        """Install a snapshot of another history; with `logs_it` False the crash comes before the log knows."""
        model = self.models[group]
        meta = SnapshotMeta(model.end + ahead, model.last_term + 1)
        self._store(group, meta)
        if logs_it:
            self.wal.append([Write(group=group, reset=meta)])
            self.forgotten.discard(group)
        if group not in self.forgotten:
            model.snapshot, model.entries = meta, []
        if not logs_it:
            self.restart()

    def write_anew(self, group: int) -> None:
        """Write what the group keeps once more, so that it needs no earlier segment."""
        entries = tuple(self.models[group].entries)
        if entries:
            self.wal.append([Write(group=group, entries=entries)])
            assert group not in self.wal.remove_unneeded().groups

    def forget(self, group: int) -> None:
        """Host the group no longer."""
        records = self.wal._next_number
        self.wal.forget(group)
        if self.wal._next_number > records:  # else the log held nothing of it, at most its snapshot was there
            self.forgotten.add(group)
        self.models[group] = Model()

    def _store(self, group: int, meta: SnapshotMeta) -> None:
        writer = self.wal.snapshots.create(group, meta)
        writer.write(b"state")
        writer.commit()
        self.wal.snapshots.prune(group, meta.index)

    def restart(self) -> None:
        self.wal.close()
        assert not [line for line in inspect(OsFiles(), str(self.directory)) if line.is_damage]
        self.wal = self._open()
        self.check()

    def tear(self, kept: float) -> None:
        """Let a batch for every group be interrupted: only a share of its bytes gets to disk."""
        start, writes = self.wal._end, []
        for group, model in self.models.items():
            writes.append(Write(group=group, entries=(Entry(model.end + 1, 99, b"torn" * 50),)))
        sequence = self.wal._sequence
        self.wal.append(writes)
        path = max(self.directory.glob("wal-*.log"))
        if self.wal._sequence != sequence:
            start = path.read_bytes().index(b"RLw1", 4)
        size = self.wal._end - start
        data = bytearray(path.read_bytes())
        cut = start + int(kept * (size - 1))
        data[cut:] = bytes(len(data) - cut)
        self.wal.close()
        path.write_bytes(data)
        self.wal = self._open()
        self.check()

    def check(self) -> None:
        for group, model in self.models.items():
            found = self.wal.recovered.get(group)
            if found is None:
                assert (model.hard_state, model.snapshot, model.entries) == (None, None, [])
            else:
                assert (found.hard_state, found.snapshot, found.entries) == (
                    model.hard_state,
                    model.snapshot,
                    model.entries,
                )


_group = st.sampled_from(GROUPS)
_append = st.tuples(_group, st.integers(0, 3), st.integers(0, 4), st.sampled_from((0, 10, 900)), st.booleans())
_step = st.one_of(
    st.tuples(st.just("append"), st.lists(_append, min_size=1, max_size=3)),
    st.tuples(st.just("append"), st.lists(_append, min_size=1, max_size=3)),
    st.tuples(st.just("snapshot"), st.tuples(_group, st.floats(0, 1))),
    st.tuples(st.just("install"), st.tuples(_group, st.integers(1, 5), st.booleans())),
    st.tuples(st.just("write_anew"), st.tuples(_group)),
    st.tuples(st.just("forget"), st.tuples(_group)),
    st.tuples(st.just("tear"), st.tuples(st.floats(0, 1))),
    st.tuples(st.just("restart"), st.just(())),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_step, max_size=25))
@example([("install", (0, 1, False)), ("forget", (0,)), ("install", (0, 1, False))])
def test_any_history_comes_back_as_it_was(steps: list[tuple[str, tuple[object, ...]]]) -> None:
    """Term, vote, snapshot and entries of every group, after any number of restarts (C1, C5, C11, D10)."""
    with tempfile.TemporaryDirectory(dir=PLACE) as directory:
        history = History(Path(directory))
        for name, arguments in steps:
            if name == "append":
                writes = [history.write_for(*one) for one in arguments]  # type: ignore[misc]
                history.wal.append(writes)
            else:
                getattr(history, name)(*arguments)
        history.restart()
        history.wal.close()


@settings(max_examples=80, deadline=None)
@given(position=st.floats(0, 1), length=st.integers(1, 600), value=st.sampled_from((0, 0xFF, None)))
def test_damage_anywhere_is_refused_or_loses_at_most_the_last_frame(
    position: float, length: int, value: int | None
) -> None:
    """Bytes overwritten or flipped in any segment: what opens has every batch but perhaps the last, or nothing opens.

    The last frame may be lost when what is left of it has the shape of an interrupted write (docs/wal-format.md), and
    so may the frames before it when one run of zeros reaches from inside them to the end of all that was written.
    """
    with tempfile.TemporaryDirectory(dir=PLACE) as name:
        directory = Path(name)
        history = History(directory)
        for _ in range(12):
            history.wal.append([history.write_for(0, 0, 2, 400, raises_term=False)])
        last, used = history.wal._sequence, history.wal._end
        history.wal.close()
        paths = sorted(directory.glob("wal-*.log"))
        assert len(paths) >= 3
        sizes = [path.stat().st_size for path in paths]
        start = int(position * (sum(sizes) - 1))
        which = 0
        while start >= sizes[which]:
            start -= sizes[which]
            which += 1
        data = bytearray(paths[which].read_bytes())
        stop = min(len(data), start + length)
        data[start:stop] = bytes(byte ^ 1 if value is None else value for byte in data[start:stop])
        paths[which].write_bytes(data)
        try:
            wal = history._open()
        except (CorruptLog, ConfigError):
            return
        wal.close()
        written = history.models[0].entries
        found = wal.recovered[0].entries
        assert found == written[: len(found)]
        if len(found) < len(written):
            assert which == last - 1
            assert len(written) - len(found) == 2 or (value == 0 and stop >= used)
