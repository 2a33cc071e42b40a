"""Quorums against brute force: every subset, every threshold."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from raftline.core.membership import Membership
from raftline.core.quorum import agreed, has_quorum, majority

NAMES = ("n1", "n2", "n3", "n4", "n5", "n6", "n7")
SETS = st.sets(st.sampled_from(NAMES)).map(lambda names: tuple(sorted(names)))
VOTERS = st.sets(st.sampled_from(NAMES), min_size=1).map(lambda names: tuple(sorted(names)))
MEMBERSHIPS = st.builds(Membership, voters=VOTERS, outgoing=SETS)


def _halves(membership: Membership) -> list[tuple[str, ...]]:
    return [half for half in (membership.voters, membership.outgoing) if half]


def _is_quorum(membership: Membership, nodes: tuple[str, ...]) -> bool:
    """Count by hand: more members of each half inside than outside."""
    return all(
        len([name for name in half if name in nodes]) > len([name for name in half if name not in nodes])
        for half in _halves(membership)
    )


@given(MEMBERSHIPS, SETS)
def test_a_quorum_is_a_majority_of_each_half(membership: Membership, nodes: tuple[str, ...]) -> None:
    """Of everybody configured, not of who is asked (A16, A27, §6)."""
    assert has_quorum(membership, nodes) == _is_quorum(membership, nodes)


@given(MEMBERSHIPS)
def test_any_two_quorums_share_a_voter_of_each_half(membership: Membership) -> None:
    """That is what all of Raft's safety rests on (§5.4.3)."""
    everyone = membership.everyone()
    quorums = [
        set(nodes)
        for size in range(len(everyone) + 1)
        for nodes in combinations(everyone, size)
        if has_quorum(membership, nodes)
    ]
    smallest = [quorum for quorum in quorums if not any(other < quorum for other in quorums)]
    for one, other in combinations(smallest, 2):
        for half in _halves(membership):
            assert one & other & set(half)


@given(MEMBERSHIPS, st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9)))
def test_agreed_is_the_highest_value_that_a_quorum_reached(membership: Membership, values: dict[str, int]) -> None:
    """Try each value; who says nothing has reached 0 (B11)."""
    expected = max(
        value
        for value in range(10)
        if _is_quorum(membership, tuple(name for name in NAMES if values.get(name, 0) >= value))
    )
    assert agreed(membership, values) == expected


@given(st.integers(0, 1000))
def test_a_majority_is_more_than_half(size: int) -> None:
    """And no smaller number is; of nobody there is none (A16, L39)."""
    assert 2 * majority(size) > size
    assert 2 * (majority(size) - 1) <= size


def test_nobody_at_all_agrees_on_nothing() -> None:
    """A membership without voters has no quorum, and commits nothing."""
    assert not has_quorum(Membership(), ())
    assert agreed(Membership(), {"n1": 5}) == 0


@given(MEMBERSHIPS, MEMBERSHIPS)
def test_a_joint_membership_shares_voters_with_before_and_after(before: Membership, after: Membership) -> None:
    """From C_old to C_old,new to C_new no two disjoint majorities can decide (§6)."""
    old, new = Membership(voters=before.voters), Membership(voters=after.voters)
    joint = Membership(voters=after.voters, outgoing=before.voters)
    names = joint.everyone()
    for size in range(len(names) + 1):
        for nodes in combinations(names, size):
            rest = tuple(name for name in names if name not in nodes)
            if has_quorum(joint, nodes):
                assert not has_quorum(old, rest)
                assert not has_quorum(new, rest)
