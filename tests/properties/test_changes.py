"""Any sequence of changes of the membership, against every subset of the nodes that could decide something (§6)."""

from itertools import chain, combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from raftline.core.changes import (
    AddLearner,
    MembershipChange,
    Move,
    Promote,
    Remove,
    Replace,
    SetPriority,
    enter_joint,
    is_step,
    leave_joint,
    plan_change,
)
from raftline.core.membership import Membership
from raftline.core.quorum import agreed, has_quorum
from raftline.errors import ChangeRefused

NAMES = ("n1", "n2", "n3", "n4", "n5", "n6")
SUBSETS = [set(nodes) for size in range(len(NAMES) + 1) for nodes in combinations(NAMES, size)]
_NODE = st.sampled_from(NAMES)
_VOTERS = st.sets(_NODE, min_size=1, max_size=5).map(lambda names: {name: f"{name}:1" for name in names})
CHANGES = st.lists(
    st.one_of(
        st.builds(lambda node, promote: AddLearner(node, f"{node}:1", promote), _NODE, st.booleans()),
        st.builds(Promote, _NODE),
        st.builds(Remove, _NODE),
        st.builds(Move, _NODE, st.sampled_from(["x:1", "x:2"])),
        st.builds(SetPriority, _NODE, st.integers(0, 3)),
        st.builds(Replace.by, _VOTERS),
    ),
    max_size=8,
)


def _configurations(first: dict[str, str], changes: list[MembershipChange]) -> list[Membership]:
    """Return every membership that stands in the log one after the other; learners catch up at once."""
    log = [Membership.of(first)]
    for change in changes:
        try:
            log.append(plan_change(log[-1], change))
        except ChangeRefused:
            continue
        while True:
            now = log[-1]
            if now.is_joint:
                log.append(leave_joint(now))
            elif now.wanted:
                log.append(enter_joint(now, now.wanted))
            elif now.promoting:
                log.append(enter_joint(now, [*now.voters, *now.promoting]))
            else:
                break
    return log


def _majority(voters: tuple[str, ...], nodes: set[str]) -> bool:
    return 2 * len(nodes & set(voters)) > len(voters)


@given(_VOTERS, CHANGES)
def test_two_configurations_in_a_row_never_decide_apart(first: dict[str, str], changes: list[MembershipChange]) -> None:
    """No set of nodes can decide under one while the rest decides under the next: Figure 10 cannot happen (§6)."""
    log = _configurations(first, changes)
    for before, after in pairwise(log):
        assert is_step(before, after)
        assert after.problem() is None
        for nodes in SUBSETS:
            rest = {*NAMES} - nodes
            assert not (has_quorum(before, nodes) and has_quorum(after, rest))


@given(_VOTERS, CHANGES)
def test_a_joint_configuration_needs_both_majorities(first: dict[str, str], changes: list[MembershipChange]) -> None:
    """For votes and for entries alike; half of it decides nothing (§6, A16, B11)."""
    for now in _configurations(first, changes):
        for nodes in SUBSETS:
            both = _majority(now.voters, nodes) and (not now.is_joint or _majority(now.outgoing, nodes))
            assert has_quorum(now, nodes) == both
            assert (agreed(now, dict.fromkeys(nodes, 7)) == 7) == both


@given(_VOTERS, CHANGES)
def test_learners_never_count(first: dict[str, str], changes: list[MembershipChange]) -> None:
    """Neither for an election nor for a commit, nor against them (§6, thesis 4.2.1)."""
    for now in _configurations(first, changes):
        for nodes in SUBSETS:
            without = nodes - set(now.learners)
            assert has_quorum(now, nodes) == has_quorum(now, without)
            assert agreed(now, dict.fromkeys(nodes, 7)) == agreed(now, dict.fromkeys(without, 7))


@given(_VOTERS, CHANGES)
def test_nobody_votes_who_was_not_named(first: dict[str, str], changes: list[MembershipChange]) -> None:
    """Voters come from the first membership and from changes only, and each member keeps one address (§6)."""
    named = {*first}
    named |= {change.node for change in changes if isinstance(change, AddLearner)}
    named |= set(chain(*[[node for node, _ in change.addresses] for change in changes if isinstance(change, Replace)]))
    for now in _configurations(first, changes):
        assert set(now.everyone()) <= named
        assert [node for node, _ in now.addresses] == list(now.everyone())
