"""Eighty seeds that nobody has run before, other ones every day."""

from collections.abc import Callable

import pytest


@pytest.mark.parametrize("batch", range(8))
def test_no_promise_is_broken(batch: int, run_fresh: Callable[[int], None]) -> None:
    """Six virtual seconds of faults, then healing, and every check, on seeds of the day."""
    run_fresh(batch)
