"""Benches are fair: the code as it is passes them."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.sim.mutants.benches import BENCHES
from raftline.sim.mutants.scenes import SCENES


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("name", [name for name in BENCHES if name != "cluster"])
def test_the_code_as_it_is_passes(name: str) -> None:
    """No check complains where nothing is wrong."""
    outcome = BENCHES[name](0)
    assert outcome.error is None, f"{outcome.where}: {outcome.error}"
    assert outcome.virtual_s > 0 or name in SCENES
