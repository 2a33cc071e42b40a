"""Quorums by example; the property test against every subset is in tests/properties."""

import pytest

from raftline.core.membership import Membership
from raftline.core.quorum import agreed, has_quorum, majority

THREE = Membership.of({name: name for name in ("a", "b", "c")})
JOINT = Membership(voters=("a", "b", "c"), outgoing=("c", "d", "e"), learners=("z",))


@pytest.mark.parametrize(("size", "needed"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_a_majority_is_more_than_half(size: int, needed: int) -> None:
    """Half is not enough, and of nobody there is none (A16)."""
    assert majority(size) == needed


@pytest.mark.parametrize(
    ("nodes", "enough"), [("", False), ("a", False), ("ab", True), ("abc", True), ("azyx", False), ("bc", True)]
)
def test_a_quorum_is_a_majority_of_the_configured(nodes: str, enough: bool) -> None:  # noqa: FBT001
    """Strangers and learners count for nothing (A27)."""
    assert has_quorum(THREE, set(nodes)) is enough


@pytest.mark.parametrize(
    ("nodes", "enough"), [("ab", False), ("de", False), ("abde", True), ("acd", True), ("bcz", False), ("bce", True)]
)
def test_a_joint_quorum_is_a_majority_of_both_halves(nodes: str, enough: bool) -> None:  # noqa: FBT001
    """Neither the old nor the new majority decides alone (§6)."""
    assert has_quorum(JOINT, set(nodes)) is enough


def test_what_a_quorum_has_reached() -> None:
    """The median for three, and the smaller of both halves for a joint membership; missing voters count as 0."""
    assert agreed(THREE, {"a": 9, "b": 5, "c": 1}) == 5
    assert agreed(THREE, {"a": 9}) == 0
    assert agreed(THREE, {"a": 9, "b": 7, "z": 100}) == 7
    assert agreed(JOINT, {"a": 9, "b": 9, "c": 3, "d": 2, "e": 1}) == 2
    assert agreed(Membership(), {"a": 9}) == 0
