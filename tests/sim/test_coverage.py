"""What a campaign has to have reached, and what it may be excused from."""

from collections import Counter

from raftline.core import roles
from raftline.sim.coverage import FAULTS, JUDGED_FROM_RUNS, NOT_EXPECTED, RARE, READS, SESSIONS, missing, row_name
from raftline.sim.disk import PERSISTENCE_POINTS
from raftline.wal import recovery


def _everything() -> tuple[Counter[str], Counter[str], Counter[str], Counter[str]]:
    rows = Counter(row_name(key) for key in (*roles.HANDLED, *roles.IGNORED))
    cases = Counter(f"case {case.letter}" for case in recovery.CASES)
    return rows, cases, Counter(PERSISTENCE_POINTS), Counter((*FAULTS, *READS, *SESSIONS))


def test_a_campaign_that_reached_everything_misses_nothing() -> None:
    """Every row, case, point and fault seen once is enough."""
    assert missing(*_everything(), PERSISTENCE_POINTS, runs=10**6) == ([], [])


def test_each_fault_row_and_point_that_never_happened_is_named() -> None:
    """Whatever is taken away comes up, unless it is not expected at all."""
    names = [name for counter in _everything() for name in counter]
    assert len(PERSISTENCE_POINTS) >= 25
    for name in names:
        counters = _everything()
        for counter in counters:
            counter.pop(name, None)
        due, later = missing(*counters, PERSISTENCE_POINTS, runs=10**6)
        assert due == ([] if name in NOT_EXPECTED else [name])
        assert later == []


def test_a_small_campaign_is_told_what_it_missed_and_not_judged_by_it() -> None:
    """Rare things are demanded only of campaigns that are large enough."""
    rows, cases, points, faults = _everything()
    del faults["partition"]
    rare = next(iter(RARE))
    rows.pop(rare)
    assert missing(rows, cases, points, faults, PERSISTENCE_POINTS, JUDGED_FROM_RUNS - 1) == ([], [rare, "partition"])
    assert missing(rows, cases, points, faults, PERSISTENCE_POINTS, JUDGED_FROM_RUNS) == (["partition"], [rare])


def test_every_excuse_names_something_that_exists() -> None:
    """A row that was renamed does not stay excused for ever."""
    names = {name for counter in _everything() for name in counter}
    assert names >= {*NOT_EXPECTED, *RARE}
    assert all(NOT_EXPECTED.values())
