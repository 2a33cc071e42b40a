"""The log in memory; the property test against a plain list is in tests/properties."""

import pytest

from raftline.core.entries import KIND_MEMBERSHIP, KIND_NOOP, Entry
from raftline.core.log import Log
from raftline.errors import SafetyViolation


def _log(*terms: int, base: int = 0, base_term: int = 0) -> Log:
    return Log(base, base_term, [Entry(base + n, term, b"x" * n) for n, term in enumerate(terms, 1)])


def test_positions_go_through_the_offset() -> None:
    """Index and position never mix, before and after compaction (D4)."""
    log = _log(1, 1, 2, 3, 3)
    log.compact_to(3)
    assert (log.base_index, log.base_term, log.last_index, len(log)) == (3, 2, 5, 2)
    assert [log.term_at(index) for index in range(2, 7)] == [None, 2, 3, 3, None]
    assert log.entry(4).index == 4
    assert [entry.index for entry in log.slice(4, 6)] == [4, 5]


def test_a_gap_is_a_bug() -> None:
    """Entries follow directly."""
    with pytest.raises(AssertionError, match="no gaps"):
        _log(1).append([Entry(3, 1, b"")])


def test_the_size_follows_every_change() -> None:
    """Payload bytes are counted in and out (D18)."""
    log = _log(1, 1, 1, 1)
    assert log.size_bytes == 10
    log.cut_from(4, 0)
    assert log.size_bytes == 6
    log.compact_to(2)
    assert log.size_bytes == 3
    log.restart_at(9, 4)
    assert (log.size_bytes, log.last_index, log.last_term, len(log)) == (0, 9, 4, 0)


def test_a_committed_entry_is_never_cut() -> None:
    """Guarded by more than an assertion (B17)."""
    with pytest.raises(SafetyViolation, match="entry 2 is committed"):
        _log(1, 1, 1).cut_from(2, 2)


def test_the_last_term_after_a_cut_down_to_the_base() -> None:
    """The sentinel answers when nothing is left (D5)."""
    log = _log(4, 4, base=7, base_term=3)
    log.cut_from(8, 7)
    assert (log.last_index, log.last_term) == (7, 3)


@pytest.mark.parametrize(
    ("last_index", "last_term", "expected"),
    [(5, 3, True), (6, 3, True), (4, 3, False), (1, 4, True), (99, 2, False)],
)
def test_up_to_date(last_index: int, last_term: int, expected: bool) -> None:  # noqa: FBT001
    """Term first, then length; equal is enough (A13)."""
    assert _log(1, 1, 2, 3, 3).is_up_to_date(last_index, last_term) is expected


def test_terms_are_found_at_their_edges() -> None:
    """For fast backup: first index of a term here, last index of a term there, sentinel included (B23, B24, D19)."""
    log = _log(2, 2, 4, 4, 7, base=3, base_term=2)
    assert log.first_index_of_term_at(5) == 4
    assert log.first_index_of_term_at(7) == 6
    assert log.last_index_of_term(4) == 7
    assert log.last_index_of_term(2) == 5
    assert log.last_index_of_term(3) is None
    assert log.last_index_of_term(9) is None
    assert _log(base=3, base_term=2).last_index_of_term(2) == 3
    assert _log().last_index_of_term(0) is None


def test_a_batch_keeps_both_limits_and_is_never_empty() -> None:
    """At least one entry, else as many as fit."""
    log = Log(0, 0, [Entry(n, 1, b"x" * 100) for n in range(1, 11)])
    assert len(log.batch(1, 10, 100)) == 1
    assert len(log.batch(1, 116 * 3, 100)) == 3
    assert len(log.batch(1, 10_000, 4)) == 4
    assert [entry.index for entry in log.batch(9, 10_000, 100)] == [9, 10]


def test_unloaded_entries_keep_their_place_and_their_term() -> None:
    """Data leaves memory, oldest first, no further than the disk has it; comparisons of logs go on (B22, B24, D16)."""
    log = _log(1, 1, 2, 3, 3)
    log.unload(4, bytes_max=9, count_max=10)
    assert (log.disk_index, log.memory_bytes, log.size_bytes) == (3, 9, 15)
    log.unload(4, bytes_max=0, count_max=10)
    assert (log.disk_index, log.memory_bytes, log.base_index) == (4, 5, 0)
    assert [log.term_at(index) for index in range(7)] == [0, 1, 1, 2, 3, 3, None]
    assert (log.first_index_of_term_at(5), log.last_index_of_term(1), log.last_index_of_term(2)) == (4, 2, 3)
    assert [entry.index for entry in log.batch(5, 100, 100)] == [5]
    with pytest.raises(AssertionError, match="in memory"):
        log.slice(4, 6)


def test_unloading_goes_piece_by_piece() -> None:
    """A long log does not hold the loop."""
    log = _log(1, 1, 1, 1)
    log.unload(4, bytes_max=0, count_max=3)
    assert (log.disk_index, log.memory_bytes) == (3, 4)


def test_sizes_stay_exact_when_unloaded_entries_are_compacted_or_cut() -> None:
    """The payload of the log, and what of it is in memory (D1, B7)."""
    log = _log(1, 1, 1, 1, 1, 1)
    log.unload(3, bytes_max=0, count_max=10)
    log.cut_from(6, committed=4)
    assert (log.size_bytes, log.memory_bytes) == (15, 9)
    log.compact_to(2)
    assert (log.size_bytes, log.memory_bytes, log.disk_index) == (12, 9, 3)
    log.compact_to(4)
    assert (log.size_bytes, log.memory_bytes, log.disk_index) == (5, 5, 4)
    log.unload(5, bytes_max=0, count_max=10)
    log.restart_at(9, 2)
    assert (log.size_bytes, log.memory_bytes, log.disk_index) == (0, 0, 9)


def test_only_commands_leave_memory() -> None:
    """Memberships, and what opens a term, are few and looked at again (C14, K1)."""
    log = Log(0, 0, [Entry(1, 1, b"first", KIND_NOOP), Entry(2, 1, b"members", KIND_MEMBERSHIP), Entry(3, 1, b"c")])
    log.unload(3, bytes_max=0, count_max=10)
    assert log.entry(1) == Entry(1, 1, b"first", KIND_NOOP)
    assert log.entry(2) == Entry(2, 1, b"members", KIND_MEMBERSHIP)
    assert (log.disk_index, log.memory_bytes, log.size_bytes) == (3, 12, 13)


def test_logs_share_what_is_equal_and_stay_as_they_were() -> None:
    """Data that another log holds as well is held once; an entry on disk stays as it is, and nothing else changes."""
    log, other = Log(0, 0, []), Log(0, 0, [])
    for one in (log, other):
        one.append([Entry(1, 1, bytes(9)), Entry(2, 1, b"".join([b"news"] * 9), KIND_NOOP, 7)])
    log.unload(1, 0, 1)
    before = [log.entry(1), log.entry(2)]
    known: dict[bytes, bytes] = {}
    for one in (other, log):
        one.share(lambda data: known.setdefault(data, data))
    assert log.entry(2).data is other.entry(2).data
    assert [log.entry(1), log.entry(2)] == before
    assert log.entry(1) is before[0]
    assert (log.size_bytes, log.memory_bytes) == (45, 36)


def test_where_the_last_entries_before_an_index_begin() -> None:
    """As many as fit both limits, wherever their data is (D18)."""
    log = Log(10, 1, [Entry(10 + n, 1, bytes(n)) for n in range(1, 7)])
    for _ in range(2):
        assert log.start_before(15, bytes_max=21, entries_max=3) == 12, "all of the log fits"
        assert log.start_before(15, bytes_max=21, entries_max=9) == 10
        assert log.start_before(15, bytes_max=9, entries_max=9) == 13
        assert log.start_before(15, bytes_max=8, entries_max=9) == 14
        assert log.start_before(15, bytes_max=9, entries_max=1) == 14
        assert log.start_before(15, bytes_max=0, entries_max=9) == 15
        assert log.start_before(10, bytes_max=9, entries_max=9) == 10
        log.unload(14, bytes_max=0, count_max=10)
