"""The numbers to compare with are those of the course's page, and of tests that exist."""

from raftline.lab.catalogue import TESTS
from raftline.lab.reference import SAMPLE, STRAIGHTFORWARD_RPCS


def test_the_sample_adds_up() -> None:
    """The sums over all rows are those derived from the page: a mistyped row would show (section I)."""
    rows = SAMPLE.values()
    assert sum(row.rpcs for row in rows) == 33579
    assert sum(row.bytes for row in rows) == 89027507
    assert sum(row.commits for row in rows) == 4812
    assert round(sum(row.time_s for row in rows), 1) == 468.9


def test_every_title_exists() -> None:
    """Nothing is compared with a test that is not run."""
    titles = {test.title for test in TESTS}
    assert set(SAMPLE) == titles
    assert set(STRAIGHTFORWARD_RPCS) < titles
