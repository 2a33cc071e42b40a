"""Lab 2B: our core passes, with no more RPCs and bytes than the course's sample run."""

import pytest

from raftline.lab import make
from raftline.lab.reference import SAMPLE
from raftline.lab.run import run_test
from raftline.lab.tests.agreement import TESTS
from raftline.lab.tests.case import LabTest


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.title)
def test_our_core_passes(test: LabTest, seed: int) -> None:
    """Every promise is kept, and the bytes stay below the sample's (section I)."""
    result, _ = run_test(test, make, seed, virtual=True)
    assert result.failure is None
    assert result.numbers is not None
    assert result.numbers.bytes <= SAMPLE[test.title].bytes
