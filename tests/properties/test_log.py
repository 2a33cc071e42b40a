"""The log in memory against a dumb twin: a plain list of everything that was ever kept, and indices counted by hand."""

from hypothesis import given
from hypothesis import strategies as st

from raftline.core.entries import Entry
from raftline.core.log import Log
from raftline.errors import SafetyViolation

STEPS = st.lists(
    st.tuples(st.sampled_from(("append", "cut", "compact", "restart", "batch", "search")), st.integers(0, 12)),
    max_size=40,
)


class Twin:
    """A list; position 0 of `entries` has index `base` + 1."""

    def __init__(self) -> None:
        self.base = 0
        self.base_term = 0
        self.entries: list[Entry] = []

    @property
    def last(self) -> int:
        return self.base + len(self.entries)

    def term(self, index: int) -> int | None:
        """Look at each entry in turn."""
        if index == self.base:
            return self.base_term
        return next((entry.term for entry in self.entries if entry.index == index), None)


def _step(log: Log, twin: Twin, what: str, number: int) -> None:
    if what == "append":
        term = max(log.last_term, number // 3)
        new = [Entry(twin.last + 1 + n, term + n // 2, b"x" * (number + n)) for n in range(number % 4)]
        log.append(new)
        twin.entries += new
    elif what == "cut":
        index = twin.base + 1 + number % (len(twin.entries) + 1)
        log.cut_from(index, twin.base)
        twin.entries = [entry for entry in twin.entries if entry.index < index]
    elif what == "compact":
        index = twin.base + number % (len(twin.entries) + 1)
        twin.base_term = twin.term(index) or 0
        log.compact_to(index)
        twin.entries = [entry for entry in twin.entries if entry.index > index]
        twin.base = index
    elif what == "restart":
        twin.base, twin.base_term = twin.last + number, log.last_term + number
        log.restart_at(twin.base, twin.base_term)
        twin.entries = []
    elif what == "batch" and twin.entries:
        low = twin.base + 1 + number % len(twin.entries)
        rest = [entry for entry in twin.entries if entry.index >= low]
        batch = log.batch(low, 4 * number, 5)
        assert list(batch) == rest[: len(batch)]
        assert 1 <= len(batch) <= 5
        size = sum(len(entry.data) + 16 for entry in batch)
        assert size <= 4 * number or len(batch) == 1
        following = rest[len(batch) : len(batch) + 1]
        assert len(batch) == 5 or not following or size + len(following[0].data) + 16 > 4 * number


def _compare(log: Log, twin: Twin) -> None:
    assert (log.base_index, log.base_term, log.last_index, len(log)) == (
        twin.base,
        twin.base_term,
        twin.last,
        len(twin.entries),
    )
    assert log.last_term == twin.term(twin.last)
    assert log.size_bytes == sum(len(entry.data) for entry in twin.entries)
    assert log.slice(twin.base + 1, twin.last + 1) == twin.entries
    for index in range(twin.base - 1, twin.last + 3):
        assert log.term_at(index) == twin.term(index)
    for entry in twin.entries:
        same = [other.index for other in twin.entries if other.term == entry.term]
        assert log.entry(entry.index) == entry
        assert log.first_index_of_term_at(entry.index) == same[0]
        assert log.last_index_of_term(entry.term) == same[-1]
    for term in range(twin.base_term - 1, log.last_term + 2):
        found = [index for index in range(twin.base, twin.last + 1) if index and twin.term(index) == term]
        assert log.last_index_of_term(term) == (found[-1] if found else None)


@given(STEPS)
def test_the_log_is_a_list_with_an_offset(steps: list[tuple[str, int]]) -> None:
    """Whatever is appended, cut, compacted or started anew, positions and indices never mix (D4, D5, B23, B24)."""
    log, twin = Log(), Twin()
    for what, number in steps:
        _step(log, twin, what, number)
        _compare(log, twin)


@given(STEPS, st.integers(0, 20), st.integers(0, 20))
def test_what_is_committed_is_never_cut(steps: list[tuple[str, int]], index: int, committed: int) -> None:
    """At or below the commit index a cut raises and changes nothing (B17)."""
    log, twin = Log(), Twin()
    for what, number in steps:
        _step(log, twin, what, number)
    index = twin.base + 1 + index % (len(twin.entries) + 1)
    committed = min(twin.base + committed, twin.last)
    try:
        log.cut_from(index, committed)
    except SafetyViolation:
        assert index <= committed
        _compare(log, twin)
    else:
        assert index > committed


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_up_to_date_is_a_total_order(index: int, term: int, other_index: int, other_term: int) -> None:
    """By last term, then by last index, and never neither of two (A13)."""
    one, other = Log(index, term), Log(other_index, other_term)
    assert one.is_up_to_date(other_index, other_term) == ((other_term, other_index) >= (term, index))
    assert one.is_up_to_date(other_index, other_term) or other.is_up_to_date(index, term)
