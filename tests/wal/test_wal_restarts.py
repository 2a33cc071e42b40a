"""What a node knows survives any number of restarts, whatever segments have gone in between."""

import tracemalloc
from pathlib import Path

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.core.membership import Membership
from raftline.wal.files import OsFiles
from raftline.wal.wal import Wal, Write


def _open(directory: Path) -> Wal:
    return Wal.open(OsFiles(), str(directory), cluster_id="c", node_id="n1", segment_bytes=1 << 16)


def test_term_and_vote_survive_when_only_a_header_still_carries_them(tmp_path: Path) -> None:
    """A hard state written once is handed from segment to segment, across restarts too (C3, C4).

    Found by the simulator, seed 0: after a restart the next segment's header had forgotten it.
    """
    hard_state = HardState(term=7, vote="n2")
    wal = _open(tmp_path)
    wal.append([Write(group=0, hard_state=hard_state)])
    index = 0
    for _ in range(4):
        for _ in range(30):
            wal.append([Write(group=0, entries=(Entry(index + 1, 7, b"x" * 4000),))])
            index += 1
        writer = wal.snapshots.create(0, SnapshotMeta(index, 7, Membership.of({"n1": "127.0.0.1:1"})))
        writer.commit()
        wal.snapshots.prune(0, index)
        wal.release(0, index)
        wal.close()
        wal = _open(tmp_path)
        assert wal.recovered[0].hard_state == hard_state
        snapshot = wal.recovered[0].snapshot
        assert snapshot is not None
        assert snapshot.index == index
    wal.close()


def test_what_a_snapshot_covers_takes_no_memory_at_a_start(tmp_path: Path) -> None:
    """Entries kept for followers that are a little behind may be large: only what lies behind the snapshot is held."""
    wal = _open(tmp_path)
    data = b"x" * (64 << 10)
    for index in range(1, 201):
        wal.append([Write(group=0, entries=(Entry(index, 1, data),))])
        wal.append([Write(group=7, entries=(Entry(index, 1, b"y"),))])
        if index == 195:
            wal.snapshots.create(0, SnapshotMeta(index, 1, Membership.of({"n1": "127.0.0.1:1"}))).commit()
    wal.close()
    tracemalloc.start()
    try:
        wal = _open(tmp_path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    wal.close()
    assert wal.recovered[0].entries == [Entry(index, 1, data) for index in range(196, 201)]
    assert wal.recovered[7].entries == [Entry(index, 1, b"y") for index in range(1, 201)]
    assert peak_bytes < 20 * len(data)
