"""Majorities as the checks see them."""

from itertools import combinations

from raftline.core.membership import Membership
from raftline.core.quorum import has_quorum
from raftline.sim.majorities import can_decide


def test_more_than_half_of_each_half_decides() -> None:
    """Learners never count, outgoing voters do, nobody decides for an empty group (A16, K1)."""
    joint = Membership(voters=("a", "b", "c"), outgoing=("c", "d"), learners=("e",))
    assert can_decide(joint, {"b", "c", "d"})
    assert not can_decide(joint, {"a", "b", "c"})
    assert not can_decide(joint, {"c", "d", "e"})
    assert not can_decide(Membership(voters=("a", "b")), {"a", "e"})
    assert not can_decide(Membership(), {"a"})


def test_it_agrees_with_the_code_that_it_checks() -> None:
    """Worked out twice, said once: over all sets of nodes and all pairs of voters and outgoing voters (A16)."""
    names = ("a", "b", "c", "d")
    sets = [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)]
    for voters in sets[1:]:
        for outgoing in sets:
            membership = Membership(voters=voters, outgoing=outgoing)
            for nodes in sets:
                assert can_decide(membership, nodes) is has_quorum(membership, nodes), (membership, nodes)
