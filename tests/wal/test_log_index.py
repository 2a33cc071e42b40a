"""Where entries are on disk: right after any sequence of appends, replacements, resets and new segments."""

from hypothesis import given
from hypothesis import strategies as st

from raftline.core.entries import Entry, SnapshotMeta
from raftline.core.membership import Membership
from raftline.wal.log_index import LogIndex, Span
from raftline.wal.record import Write


def _write(first: int, count: int, term: int = 1, reset: int = 0) -> Write:
    meta = SnapshotMeta(reset, term, Membership()) if reset else None
    return Write(group=0, entries=tuple(Entry(first + n, term, b"") for n in range(count)), reset=meta)


def test_reading_begins_at_the_nearest_place_before() -> None:
    """One place in 64 KiB: the frames between are read on the way."""
    index = LogIndex()
    for number in range(10):
        index.note(0, 1, number * (20 << 10), [_write(1 + 10 * number, 10)])
    assert index.locate(35, 0)[0] == Span(1, 0, 35, 41)
    assert index.locate(41, 0)[0] == Span(1, 4 * (20 << 10), 41, 81)


def test_replaced_entries_are_looked_for_where_they_were_written_last() -> None:
    """A cut tail stays in the file, and is never taken for the log (B7)."""
    index = LogIndex()
    index.note(0, 1, 100, [_write(1, 8)])
    index.note(0, 1, 200, [_write(5, 2, term=2)])
    assert index.locate(3, 1 << 20) == [Span(1, 100, 3, 5), Span(1, 200, 5, 7)]
    assert index.locate(7, 1 << 20) == []


def test_nothing_before_a_reset_is_found() -> None:
    """A snapshot stands for it (D10)."""
    index = LogIndex()
    index.note(0, 1, 100, [_write(1, 8)])
    index.note(0, 1, 200, [_write(21, 2, reset=20)])
    assert index.locate(8, 1 << 20) == []
    assert index.locate(21, 1 << 20) == [Span(1, 200, 21, 23)]


def test_removed_segments_are_forgotten() -> None:
    """What was in them is nowhere; other groups' records never count."""
    index = LogIndex()
    index.note(0, 1, 100, [_write(1, 8)])
    index.note(0, 2, 100, [_write(9, 8)])
    index.note(1, 2, 200, [_write(17, 8)])
    index.forget_before(2)
    assert index.locate(8, 1 << 20) == []
    assert index.locate(9, 1 << 20) == [Span(2, 100, 9, 17)]


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 5), st.integers(1, 60 << 10), st.booleans(), st.booleans()),
        max_size=40,
    )
)
def test_each_index_is_in_the_span_that_holds_its_last_version(
    steps: list[tuple[int, int, int, bool, bool]],
) -> None:
    """Whatever was written, cut and reset: the place found is at or before the frame that counts (B7, D10)."""
    index = LogIndex()
    sequence, offset, end = 1, 0, 0
    where: dict[int, tuple[int, int]] = {}
    for back, count, size, is_new_segment, is_reset in steps:
        if is_new_segment:
            sequence, offset = sequence + 1, 0
        reset = end + 3 if is_reset and back == 0 else 0
        first = reset + 1 if reset else max(1, end + 1 - back)
        if reset:
            where.clear()
        where = {at: place for at, place in where.items() if at < first}
        index.note(0, sequence, offset, [_write(first, count, reset=reset)])
        end = first + count - 1
        where |= dict.fromkeys(range(first, end + 1), (sequence, offset))
        offset += size
    for at, (in_sequence, in_offset) in where.items():
        span = index.locate(at, 0)[0]
        assert span.low == at < span.high
        assert span.sequence == in_sequence
        assert span.offset <= in_offset
    assert index.locate(end + 1, 0) == []
