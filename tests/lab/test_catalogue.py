"""The catalogue holds the course's 25 tests under its names, and finds them by part or by what people type."""

import pytest

from raftline.errors import ConfigError
from raftline.lab.catalogue import PARTS, TESTS, select
from raftline.lab.reference import SAMPLE


def test_all_25_tests_are_there_in_order() -> None:
    """Titles and numbers of servers are those of the sample run, part by part (I1 to I25)."""
    assert [test.title for test in TESTS] == list(SAMPLE)
    assert [test.servers for test in TESTS] == [row.servers for row in SAMPLE.values()]
    assert [sum(test.part == part for test in TESTS) for part in PARTS] == [3, 8, 8, 6]


@pytest.mark.parametrize(
    ("names", "titles"),
    [
        (["2a"], ["initial election", "election after network failure", "multiple elections"]),
        (["churn"], ["churn"]),
        (["CHURN", "initial"], ["initial election", "churn"]),
        (["figure 8"], ["Figure 8"]),
        (["persist"], ["basic persistence", "more persistence"]),
        (["crash and restart all servers", "snapshots basic"], ["snapshots basic", "crash and restart all servers"]),
    ],
)
def test_tests_are_found_by_name(names: list[str], titles: list[str]) -> None:
    """Parts, exact titles and fragments of titles select, in the course's order."""
    assert [test.title for test in select(names)] == titles


def test_no_name_is_all() -> None:
    """Without names everything runs."""
    assert select([]) == TESTS


def test_an_unknown_name_is_refused() -> None:
    """A name that no test has raises ConfigError, which lists what there is."""
    with pytest.raises(ConfigError, match=r"'2Z'.*initial election"):
        select(["2A", "2Z"])
