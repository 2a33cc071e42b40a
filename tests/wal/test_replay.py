"""What records add up to, and which of them cannot all be true."""

import pytest

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.errors import CorruptLog
from raftline.wal.record import SegmentHeader, Write
from raftline.wal.replay import Recovered, Replay, log_ends_after


def _entries(first: int, *terms: int) -> tuple[Entry, ...]:
    return tuple(Entry(first + number, term, b"x") for number, term in enumerate(terms))


def _header(
    hard_states: dict[int, HardState] | None = None,
    resets: dict[int, SnapshotMeta] | None = None,
    log_ends: dict[int, int] | None = None,
) -> SegmentHeader:
    return SegmentHeader(1, "c", "n1", 1, 4096, hard_states or {}, resets or {}, log_ends or {})


def test_ends_follow_the_records() -> None:
    """Entries, overwriting ones too, and resets move the end of their group; term and vote do not."""
    assert log_ends_after([], {0: 5}) == {}
    assert log_ends_after([Write(group=0, hard_state=HardState(1))], {}) == {}
    assert log_ends_after([Write(group=0, hard_state=HardState(1))], {0: 5}) == {0: 5}
    assert log_ends_after([Write(group=0, entries=_entries(3, 1))], {0: 5}) == {0: 3}
    assert log_ends_after([Write(group=0, reset=SnapshotMeta(9, 1))], {0: 5}) == {0: 9}
    assert log_ends_after([Write(group=0, entries=_entries(7, 1, 1))], {}) == {0: 8}
    anew = [Write(group=0, is_forgotten=True), Write(group=0, entries=_entries(1, 1))]
    assert log_ends_after(anew, {0: 5, 1: 2}) == {0: 1}
    assert log_ends_after(anew[:1], {0: 5, 1: 2}) == {}
    writes = [
        Write(group=0, reset=SnapshotMeta(9, 1), entries=_entries(10, 1)),
        Write(group=0, entries=_entries(11, 1)),
    ]
    assert log_ends_after(writes, {0: 5, 1: 2}) == {0: 11}


def test_gaps_are_named() -> None:
    """Within a record, behind the end, behind a reset, and within a batch."""
    assert log_ends_after([Write(group=0, entries=_entries(7, 1))], {0: 5}) == "entry 7 follows entry 5 in group 0"
    gap = (*_entries(1, 1), *_entries(3, 1))
    assert log_ends_after([Write(group=2, entries=gap)], {}) == "2 entries from 1 to 3 in group 2"
    reset = Write(group=0, reset=SnapshotMeta(2, 1), entries=_entries(4, 1))
    assert log_ends_after([reset], {0: 5}) == "entry 4 follows entry 2 in group 0"


def test_later_records_replace_earlier_ones() -> None:
    """The last term and vote count; entries replace from their first index on; a reset drops all of them (D10)."""
    replay = Replay("d")
    assert replay.on_header(_header()) is None
    assert replay.on_writes([Write(group=0, hard_state=HardState(1), entries=_entries(1, 1, 1, 1))]) is None
    assert replay.on_writes([Write(group=0, hard_state=HardState(2, "n1"), entries=_entries(2, 2))]) is None
    recovered, resets = replay.conclude({})
    assert recovered == {0: Recovered(HardState(2, "n1"), None, [*_entries(1, 1, 2)])}
    assert resets == []
    assert replay.on_writes([Write(group=0, reset=SnapshotMeta(5, 2))]) is None
    recovered, resets = replay.conclude({0: SnapshotMeta(5, 2)})
    assert recovered[0].entries == []
    assert (replay.hard_states, replay.resets, replay.log_ends) == (
        {0: HardState(2, "n1")},
        {0: SnapshotMeta(5, 2)},
        {0: 5},
    )


def test_the_first_header_stands_for_what_is_gone() -> None:
    """Entries below it may be replaced by later records, as if they were still there."""
    replay = Replay("d")
    assert replay.on_header(_header({0: HardState(3)}, {}, {0: 20})) is None
    assert replay.on_writes([Write(group=0, entries=_entries(22, 3))]) == "entry 22 follows entry 20 in group 0"
    assert replay.on_writes([Write(group=0, entries=_entries(21, 3))]) is None
    assert replay.on_writes([Write(group=0, entries=_entries(19, 4, 4))]) is None
    recovered, _ = replay.conclude({0: SnapshotMeta(18, 3)})
    assert recovered == {0: Recovered(HardState(3), SnapshotMeta(18, 3), [*_entries(19, 4, 4)])}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (_header({0: HardState(2)}, {0: SnapshotMeta(1, 1)}, {0: 1}), "term and vote"),
        (_header({0: HardState(1)}, {}, {0: 1}), "resets"),
        (_header({0: HardState(1)}, {0: SnapshotMeta(1, 1)}, {0: 2}), "ends of logs"),
    ],
)
def test_a_later_header_repeats_what_is_known(header: SegmentHeader, words: str) -> None:
    """Whatever differs says that the segments do not belong together."""
    replay = Replay("d")
    replay.on_header(_header())
    replay.on_writes([Write(group=0, hard_state=HardState(1), reset=SnapshotMeta(1, 1))])
    assert words in str(replay.on_header(header))
    assert replay.on_header(_header({0: HardState(1)}, {0: SnapshotMeta(1, 1)}, {0: 1})) is None


@pytest.mark.parametrize(
    ("snapshot_index", "words"),
    [(0, "starts at index 11, but the newest snapshot ends at 0"), (9, "starts at index 11"), (10, None), (30, None)],
)
def test_a_gap_between_snapshot_and_log_is_refused(snapshot_index: int, words: str | None) -> None:
    """Entries directly behind the snapshot, or covered by it, are a log; others are not (C11)."""
    replay = Replay("d")
    replay.on_header(_header(log_ends={0: 10}))
    replay.on_writes([Write(group=0, entries=_entries(11, 1, 1))])
    snapshots = {0: SnapshotMeta(snapshot_index, 1)} if snapshot_index else {}
    if words is None:
        replay.conclude(snapshots)
    else:
        with pytest.raises(CorruptLog, match=words):
            replay.conclude(snapshots)


@pytest.mark.parametrize(
    ("snapshot", "kept", "is_reset"),
    [
        (SnapshotMeta(10, 1), [11, 12, 13], False),
        (SnapshotMeta(11, 1), [12, 13], False),
        (SnapshotMeta(13, 2), [], False),
        (SnapshotMeta(12, 1), [], True),
        (SnapshotMeta(14, 2), [], True),
    ],
)
def test_the_matching_suffix_stays(snapshot: SnapshotMeta, kept: list[int], is_reset: bool) -> None:  # noqa: FBT001
    """Entries behind the snapshot stay iff the log has its index and term; else the log starts anew (D10)."""
    replay = Replay("d")
    replay.on_header(_header(log_ends={0: 10}))
    replay.on_writes([Write(group=0, entries=_entries(11, 1, 2, 2))])
    recovered, resets = replay.conclude({0: snapshot})
    assert [entry.index for entry in recovered[0].entries] == kept
    assert resets == ([Write(group=0, reset=snapshot)] if is_reset else [])


def test_a_snapshot_of_a_group_without_a_log_is_enough() -> None:
    """The first record behind it may come later."""
    replay = Replay("d")
    replay.on_header(_header())
    assert replay.conclude({3: SnapshotMeta(7, 1)}) == ({3: Recovered(None, SnapshotMeta(7, 1), [])}, [])
