"""Promises of snapshot files: whole or not there, the same bytes on every node, damage never restored."""

import errno
import os
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from raftline.core.entries import SnapshotMeta
from raftline.core.membership import Membership
from raftline.errors import ConfigError, CorruptLog, StorageError
from raftline.wal import snapshot_store
from raftline.wal.files import OsFiles
from raftline.wal.snapshot_store import SnapshotStore

META = SnapshotMeta(7, 3, Membership.of({"n1": "127.0.0.1:1"}))
CHUNKS = [b"first", b"", b"x" * 70_000, b"last"]


def _store(directory: Path) -> SnapshotStore:
    directory.mkdir(exist_ok=True)
    return SnapshotStore(OsFiles(), str(directory))


def _read(store: SnapshotStore) -> list[bytes]:
    reader = store.latest(0)
    assert reader is not None
    return list(reader.chunks())


def _take(store: SnapshotStore, meta: SnapshotMeta = META) -> None:
    writer = store.create(0, meta)
    for chunk in CHUNKS:
        writer.write(chunk)
    writer.commit()


def test_chunks_come_back_as_they_were_written(tmp_path: Path) -> None:
    """In the same pieces and order, with what they stand for (D2, D12)."""
    store = _store(tmp_path)
    assert store.latest(0) is None
    _take(store)
    reader = store.latest(0)
    assert reader is not None
    assert reader.meta == META
    assert list(reader.chunks()) == CHUNKS
    reader.close()


def test_a_certain_snapshot_is_found_beside_a_newer_one(tmp_path: Path) -> None:
    """What was installed is what is restored; the newest stands in for one that was removed (D9)."""
    store = _store(tmp_path)
    newer = SnapshotMeta(9, 3, META.membership)
    assert store.find(0, META) is None
    _take(store)
    _take(store, newer)
    for wanted, found in ((META, META), (newer, newer), (SnapshotMeta(8, 3, META.membership), newer)):
        reader = store.find(0, wanted)
        assert reader is not None
        assert reader.meta == found
        reader.close()


def test_nothing_is_there_before_the_commit(tmp_path: Path) -> None:
    """A snapshot that was begun, or given up, has no name."""
    store = _store(tmp_path)
    writer = store.create(0, META)
    writer.write(b"x")
    assert store.latest(0) is None
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("piece", [1000, 13, 1 << 20])
def test_a_follower_gets_the_same_file(tmp_path: Path, piece: int) -> None:
    """Byte for byte, in pieces of any size."""
    here, there = _store(tmp_path / "here"), _store(tmp_path / "there")
    _take(here)
    source = here.latest(0)
    assert source is not None
    receiver = there.receive(0, META)
    offset = 0
    limit = piece if piece > 100 else 5000
    while data := source.read(offset, limit):
        receiver.write_at(offset, data)
        offset += len(data)
    assert receiver.next_offset == source.size
    assert receiver.commit()
    copy = there.latest(0)
    assert copy is not None
    assert list(copy.chunks()) == CHUNKS
    source.close()
    copy.close()


def test_a_damaged_transfer_is_given_up(tmp_path: Path) -> None:
    """Checked from end to end before it gets its name; another's snapshot is not taken for this one."""
    here, there = _store(tmp_path / "here"), _store(tmp_path / "there")
    _take(here)
    source = here.latest(0)
    assert source is not None
    data = source.read(0, source.size)
    source.close()
    for damaged in (data[:-1], data[:100], data[:200] + b"?" + data[201:], data + b"more"):
        receiver = there.receive(0, META)
        receiver.write_at(0, damaged)
        assert not receiver.commit()
    receiver = there.receive(0, SnapshotMeta(8, 3, META.membership))
    receiver.write_at(0, data)
    assert not receiver.commit()
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("piece", [1, 7, 64, 100_000])
def test_a_flip_anywhere_on_the_way_is_noticed(tmp_path: Path, piece: int) -> None:
    """Every byte counts, wherever the pieces begin; nothing of it is read again at the end (D12)."""
    here, there = _store(tmp_path / "here"), _store(tmp_path / "there")
    writer = here.create(0, META)
    writer.write(b"a chunk")
    writer.write(b"")
    writer.write(b"another")
    writer.commit()
    data = next((tmp_path / "here").iterdir()).read_bytes()
    flipped = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    for sent in (*flipped, data[:-1], data + b"more"):
        receiver = there.receive(0, META)
        for offset in range(0, len(sent), piece):
            receiver.write_at(offset, sent[offset : offset + piece])
        assert not receiver.commit(), sent
    receiver = there.receive(0, META)
    for offset in range(0, len(data), piece):
        receiver.write_at(offset, data[offset : offset + piece])
    assert receiver.commit()


def test_a_flip_anywhere_is_noticed(tmp_path: Path) -> None:
    """Header, length, chunk, footer: no byte can change unseen."""
    store = _store(tmp_path)
    _take(store)
    (path,) = tmp_path.glob("*.snap")
    data = path.read_bytes()
    positions = [*range(260), *range(len(data) - 60, len(data)), 30_000]
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CorruptLog, match="offset"):
            _read(store)


def test_older_snapshots_go_and_open_ones_stay_readable(tmp_path: Path) -> None:
    """A follower that is being sent one is not cut off by the next."""
    store = _store(tmp_path)
    _take(store)
    reader = store.latest(0)
    assert reader is not None
    newer = SnapshotMeta(20, 4, META.membership)
    _take(store, newer)
    assert store.prune(0, 20) == 1
    assert list(reader.chunks()) == CHUNKS
    reader.close()
    assert store.newest() == {0: newer}


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """Names that are not ours are none of our business."""
    store = _store(tmp_path)
    for name in ("snapshot.snap", "snapshot-x-1-1.snap", "notes.txt"):
        (tmp_path / name).write_text("mine")
    assert store.newest() == {}
    assert len(list(tmp_path.iterdir())) == 3


class _Failing(OsFiles):
    """Real files whose named call fails, with no space left."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self.call = call
        self.armed = False

    def check(self, call: str) -> None:
        if self.armed and call == self.call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open(self, path: str, *, create: bool = False) -> Any:
        self.check("open")
        file = super().open(path, create=create)
        return _FailingFile(self, file)

    def rename(self, old: str, new: str) -> None:
        self.check("rename")
        super().rename(old, new)

    def remove(self, path: str) -> None:
        self.check("remove")
        super().remove(path)


class _FailingFile:
    def __init__(self, files: _Failing, file: Any) -> None:
        self._files = files
        self._file = file

    def __getattr__(self, name: str) -> Any:
        self._files.check(name)
        return getattr(self._file, name)


@pytest.mark.parametrize("call", ["open", "write_at", "sync", "rename"])
@pytest.mark.parametrize("received", [False, True])
def test_a_full_disk_is_a_storage_error_at_every_step(tmp_path: Path, call: str, received: bool) -> None:  # noqa: FBT001
    """Whatever fails while a snapshot is written or received, the words say what to do."""
    files = _Failing(call)
    store = SnapshotStore(files, str(tmp_path))
    _take(store)
    source = store.latest(0)
    assert source is not None
    data = source.read(0, source.size)
    newer = SnapshotMeta(9, 3, META.membership)

    def go_on() -> None:
        if received:
            receiver = store.receive(0, META)
            receiver.write_at(0, data)
            receiver.commit()
        else:
            _take(store, newer)

    files.armed = True
    with pytest.raises(StorageError, match="the disk is full"):
        go_on()
    files.armed = False
    assert _read(store) == CHUNKS


@pytest.mark.parametrize("call", ["remove", "open"])
def test_a_failed_clean_up_or_opening_is_a_storage_error(tmp_path: Path, call: str) -> None:
    """Also what only reads or removes."""
    files = _Failing(call)
    store = SnapshotStore(files, str(tmp_path))
    _take(store)
    files.armed = True
    with pytest.raises(StorageError):
        store.prune(0, 100) if call == "remove" else store.latest(0)


def test_large_snapshots_are_synced_on_the_way(tmp_path: Path) -> None:
    """A little at a time, so that the log's fsync never queues behind a whole snapshot."""
    synced: list[int] = []

    class Counting(OsFiles):
        def open(self, path: str, *, create: bool = False) -> Any:
            file: Any = super().open(path, create=create)
            sync = file.sync

            def counting_sync() -> None:
                synced.append(1)
                sync()

            file.sync = counting_sync
            return file

    here = SnapshotStore(Counting(), str(tmp_path))
    writer = here.create(0, META)
    for _ in range(40):
        writer.write(bytes(1 << 20))
    writer.commit()
    assert len(synced) >= 5


def test_a_newer_format_is_refused_with_words(tmp_path: Path) -> None:
    """A data directory of a later raftline is not guessed at."""
    store = _store(tmp_path)
    _take(store)
    (path,) = tmp_path.glob("*.snap")
    data = path.read_bytes()
    magic, length, _ = snapshot_store._HEAD.unpack_from(data)
    body = bytearray(data[snapshot_store._HEAD.size : snapshot_store._HEAD.size + length])
    body[1] = 9
    head = snapshot_store._HEAD.pack(magic, length, int(google_crc32c.value(bytes(body))))
    path.write_bytes(head + bytes(body) + data[snapshot_store._HEAD.size + length :])
    with pytest.raises(ConfigError, match="format 9, this raftline reads up to 1"):
        store.latest(0)


def test_a_misnamed_snapshot_is_refused(tmp_path: Path) -> None:
    """A name says which log positions it stands for, and is held against the content."""
    store = _store(tmp_path)
    _take(store)
    (path,) = tmp_path.glob("*.snap")
    path.rename(tmp_path / "snapshot-0-0000000000000099-3.snap")
    with pytest.raises(CorruptLog, match=r"it holds what should be in snapshot-0-0000000000000007-3\.snap"):
        store.newest()


def test_another_groups_snapshot_is_not_taken(tmp_path: Path) -> None:
    """Groups do not mix: the group stands in the header and is compared."""
    here, there = _store(tmp_path / "here"), _store(tmp_path / "there")
    _take(here)
    source = here.latest(0)
    assert source is not None
    receiver = there.receive(1, META)
    receiver.write_at(0, source.read(0, source.size))
    source.close()
    assert not receiver.commit()
    assert list((tmp_path / "there").iterdir()) == []


def test_a_failed_snapshot_stays_failed(tmp_path: Path) -> None:
    """A write or sync that failed is never tried again: the same error comes back, and the file can be given up."""
    files = _Failing("sync")
    store = SnapshotStore(files, str(tmp_path))
    writer = store.create(0, META)
    files.armed = True
    with pytest.raises(StorageError, match="the disk is full"):
        writer.commit()
    files.armed = False
    for attempt in (writer.commit, lambda: writer.write(b"more")):
        with pytest.raises(StorageError, match="the disk is full"):
            attempt()
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    """While it is opened as well as in the middle."""
    files = _Failing("read_at")
    store = SnapshotStore(files, str(tmp_path))
    _take(store)
    reader = store.latest(0)
    assert reader is not None
    files.armed = True
    for read in (lambda: list(reader.chunks()), lambda: reader.read(0, 10), lambda: store.latest(0)):
        with pytest.raises(StorageError, match="could not read"):
            read()
    files.call = "size"
    with pytest.raises(StorageError, match="could not read"):
        store.latest(0)
    reader.close()


@pytest.mark.parametrize("size", [0, 5, 15, 20, 60])
def test_a_shortened_snapshot_is_refused(tmp_path: Path, size: int) -> None:
    """It ends inside its header, or before its footer."""
    store = _store(tmp_path)
    _take(store)
    (path,) = tmp_path.glob("*.snap")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptLog):
        _read(store)


def test_a_header_that_is_whole_but_nonsense_is_refused(tmp_path: Path) -> None:
    """Its checksum is right, its content is none of ours."""
    store = _store(tmp_path)
    body = b"\x01"
    head = snapshot_store._HEAD.pack(snapshot_store._MAGIC, len(body), int(google_crc32c.value(body)))
    (tmp_path / "snapshot-0-0000000000000007-3.snap").write_bytes(head + body)
    with pytest.raises(CorruptLog, match="its header cannot be read"):
        store.newest()
