"""Which check noticed."""

import pytest

from raftline.errors import SafetyViolation
from raftline.sim.blame import place_of


class Check:
    """A check with a helper that only raises."""

    def check_votes(self) -> None:
        self._violated("two votes")

    def _violated(self, what: str) -> None:
        raise SafetyViolation(what)


def test_the_check_is_named_not_its_helper() -> None:
    """Module and function are those that found out, not those that only raised."""
    with pytest.raises(SafetyViolation) as caught:
        Check().check_votes()
    assert place_of(caught.value).endswith("test_blame.Check.check_votes")


def test_an_error_that_was_never_raised_has_no_place() -> None:
    """Nothing is made up."""
    assert place_of(SafetyViolation("x")) == ""
