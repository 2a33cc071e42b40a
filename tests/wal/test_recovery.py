"""The case table: every combination of findings has exactly one row."""

import itertools

import pytest

from raftline.wal.recovery import CASES, Finding, Verdict, decide, fits

EVERYTHING = [
    Finding(last_segment=last, clean=clean, later_frame=later, has_holes=holes)
    for last, clean, later, holes in itertools.product((True, False), repeat=4)
]


@pytest.mark.parametrize("finding", EVERYTHING, ids=str)
def test_exactly_one_row_fits(finding: Finding) -> None:
    """Nothing is undecided and nothing is decided twice."""
    assert sum(fits(case, finding) for case in CASES) == 1
    assert fits(decide(finding), finding)


def test_only_a_torn_last_write_is_cut() -> None:
    """Cutting is for the last segment's last frame, with holes, and nothing behind it."""
    cut = [finding for finding in EVERYTHING if decide(finding).verdict is Verdict.CUT_TAIL]
    assert cut == [Finding(last_segment=True, clean=False, later_frame=False, has_holes=True)]


def test_letters_are_unique_and_reasons_given() -> None:
    """A message names its row."""
    assert len({case.letter for case in CASES}) == len(CASES)
    assert all(case.reason for case in CASES)
