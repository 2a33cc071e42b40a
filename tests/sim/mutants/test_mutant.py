"""Patches: exact, or loud."""

import pytest

from raftline.sim.mutants.mutant import Mutant, Patch, PatchMoved

SOURCE = "a = 1\nb = 2\na = 3\n"


def mutant(*patches: Patch) -> Mutant:
    """Return a mutant of these patches."""
    return Mutant(name="wrong_sum", rules=("A1",), does="Adds wrongly.", patches=patches)


def test_a_patch_replaces_its_text() -> None:
    """What is named is replaced, patches one after the other, and other modules stay as they are."""
    both = mutant(Patch("m", "b = 2", "b = 5"), Patch("m", "b = 5\n", ""), Patch("other", "nothing", ""))
    assert both.apply("m", SOURCE) == "a = 1\na = 3\n"
    assert both.apply("unpatched", SOURCE) == SOURCE
    assert both.modules() == ("m", "other")


@pytest.mark.parametrize(("old", "count"), [("c = 4", 0), ("a = ", 2)])
def test_text_that_moved_is_an_error(old: str, count: int) -> None:
    """A text that is gone, or there twice, is refused with mutant, module and text."""
    with pytest.raises(PatchMoved) as caught:
        mutant(Patch("raftline.m", old, "x")).apply("raftline.m", SOURCE)
    message = str(caught.value)
    assert "wrong_sum" in message
    assert f"raftline.m holds this text {count} times" in message
    assert message.endswith(old)
