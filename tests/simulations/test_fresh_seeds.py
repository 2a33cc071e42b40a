"""Seeds that nobody has run before, other ones every day: thirty, and with `make thorough` 130 more."""

from collections.abc import Callable

import pytest

_BATCHES = 3
_MORE_BATCHES = 13


@pytest.mark.parametrize(
    "batch",
    [
        *range(_BATCHES),
        *(pytest.param(batch, marks=pytest.mark.thorough) for batch in range(_BATCHES, _BATCHES + _MORE_BATCHES)),
    ],
)
def test_no_promise_is_broken(batch: int, run_fresh: Callable[[int], None]) -> None:
    """Six virtual seconds of faults, then healing, and every check, on seeds of the day."""
    run_fresh(batch)
