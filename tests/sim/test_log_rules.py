"""Where two logs agree and where they part, as the checks see it."""

from raftline.core.entries import Entry
from raftline.core.log import Log
from raftline.core.messages import AppendRequest
from raftline.sim.log_rules import agrees, conflict_at, conflicts


def log_of(*terms: int) -> Log:
    """Return a log with entries of these terms."""
    return Log(0, 0, [Entry(index, term, b"") for index, term in enumerate(terms, 1)])


def request(prev_index: int, prev_term: int, *terms: int) -> AppendRequest:
    """Return an AppendEntries with entries of these terms."""
    entries = tuple(Entry(prev_index + n, term, b"") for n, term in enumerate(terms, 1))
    return AppendRequest(9, prev_index, prev_term, entries, 0)


def test_logs_agree_at_the_entry_before_the_new_ones() -> None:
    """Same index and same term; below what was compacted they always do (B2, D14)."""
    log = log_of(1, 1, 2)
    assert agrees(log, request(3, 2))
    assert agrees(log, request(0, 0))
    assert not agrees(log, request(3, 1))
    assert not agrees(log, request(4, 2))
    log.compact_to(2)
    assert agrees(log, request(1, 7))
    assert agrees(log, request(2, 1))
    assert not agrees(log, request(2, 2))


def test_entries_conflict_where_terms_differ() -> None:
    """Only at an index that both hold (B6, B7)."""
    log = log_of(1, 1, 2)
    assert conflicts(log, request(1, 1, 2, 2))
    assert not conflicts(log, request(1, 1, 1, 2, 2))
    assert not conflicts(log, request(3, 2, 5))


def test_a_conflict_is_reported_at_the_first_index_of_its_term() -> None:
    """One behind the end without a term, or the first index held of the term (B23)."""
    log = log_of(1, 2, 2, 2)
    assert conflict_at(log, 9) == (5, 0)
    assert conflict_at(log, 4) == (2, 2)
    log.compact_to(2)
    assert conflict_at(log, 4) == (3, 2)
    assert conflict_at(log, 2) == (3, 0)
