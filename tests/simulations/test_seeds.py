"""Whole clusters under every fault: seeds that found something, and a few more."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.sim.run import run_seed

FOUND_SOMETHING = (0, 2, 3, 7, 9, 126, 129)
"""A vote forgotten after two restarts; frames applied twice; an install during an install.

A seed means another run as soon as what it draws, or the code under it, changes: what these found is kept by tests of
the code they found it in, and the seeds go on as seeds.
"""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("seed", [*FOUND_SOMETHING, *range(1000, 1005)])
def test_a_cluster_keeps_its_promises(seed: int) -> None:
    """Safety after every step, progress after healing, and a history that some order explains."""
    outcome = run_seed(seed)
    assert outcome.error is None, f"{outcome.check}: {outcome.error}; replay: raftline sim --seed {seed} --trace"
    assert outcome.committed > 100
    assert outcome.operations > 100
