"""Many groups in each node, through crashes: what each was told it keeps, and nothing of another."""

from collections.abc import Iterator

import pytest

from raftline.sim.groups import run_groups
from raftline.sim.quiet import quiet


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


@pytest.mark.parametrize("seed", range(3))
def test_groups_keep_what_they_acknowledged_through_crashes(seed: int) -> None:
    """Busy and idle ones on one log, and one that is forgotten and begins anew (C5, C13, G1)."""
    outcome = run_groups(seed, chaos_s=8.0)
    assert outcome.removals == 1
    assert outcome.crashes > 2
    assert all(outcome.acknowledged.values())
    assert outcome.acknowledged[1] > 50 > outcome.acknowledged[5]
