"""§6 Cluster membership changes: Figures 10 and 11, and the three issues that the section names."""

from itertools import combinations
from typing import Any

import pytest

from raftline.core.changes import Replace, enter_joint, leave_joint, plan_change
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.events import ChangeRequested
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, AppendRequest, VoteReply
from raftline.core.quorum import has_quorum

OLD = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3")})
NEW = Membership.of({name: f"{name}:1" for name in ("n1", "n2", "n3", "n4", "n5")})


def test_figure_10_switching_at_once_would_allow_two_majorities() -> None:
    """Servers 1 and 2 decide by the old, 3 to 5 by the new configuration, in one term; hence the detour."""
    assert has_quorum(OLD, ("n1", "n2"))
    assert has_quorum(NEW, ("n3", "n4", "n5"))


def test_figure_11_neither_configuration_decides_alone() -> None:
    """C_old until C_old,new stands, C_new once it is left: at no time can both make decisions without each other."""
    with_learners = plan_change(OLD, Replace.by(dict(NEW.addresses)))
    joint = enter_joint(with_learners, with_learners.wanted)
    final = leave_joint(joint)
    assert (final.voters, final.outgoing) == (NEW.voters, ())
    everyone = NEW.voters
    for size in range(len(everyone) + 1):
        for nodes in combinations(everyone, size):
            assert has_quorum(joint, nodes) == (has_quorum(OLD, nodes) and has_quorum(NEW, nodes))


def _voted_in(one: Any, *voters: str) -> None:
    for name in voters:
        one.receive(name, VoteReply(one.state.term, one.state.term, granted=True))


def _joint_entry(index: int, term: int, voters: tuple[str, ...], outgoing: tuple[str, ...]) -> Entry:
    names = sorted({*voters, *outgoing})
    joint = Membership(voters, outgoing, addresses=tuple((name, f"{name}:1") for name in names))
    return Entry(index, term, encode_membership(joint), KIND_MEMBERSHIP)


def test_a_configuration_is_used_as_soon_as_it_stands_in_the_log(server: Any) -> None:
    """Committed or not: this server needs both majorities to be elected (§6)."""
    one = server(size=3)
    entry = _joint_entry(1, 1, ("n1", "n4", "n5"), ("n1", "n2", "n3"))
    one.receive("n2", AppendRequest(1, 0, 0, (entry,), 0))
    one.time_out()
    _voted_in(one, "n2", "n3")
    assert not one.raft.is_leader, "all of the old, and nobody else of the new"
    _voted_in(one, "n4")
    assert one.raft.is_leader


@pytest.mark.parametrize(
    ("stored_by", "commits"), [(("n2", "n3"), False), (("n4", "n5"), False), (("n2", "n4"), True), (("n3", "n5"), True)]
)
def test_entries_are_committed_by_both_majorities(server: Any, stored_by: tuple[str, ...], commits: bool) -> None:  # noqa: FBT001
    """While the joint configuration is in force a majority of one half is not enough (§6, B11)."""
    one = server(size=3)
    entry = _joint_entry(1, 1, ("n1", "n4", "n5"), ("n1", "n2", "n3"))
    one.receive("n2", AppendRequest(1, 0, 0, (entry,), 0))
    one.time_out()
    _voted_in(one, "n2", "n4")
    one.propose(b"x")
    term = one.state.term
    for name in stored_by:
        one.receive(name, AppendReply(term, term, True, 0, 2))  # noqa: FBT003
    assert (one.state.commit == 2) is commits


def test_new_servers_catch_up_before_they_vote(server: Any) -> None:
    """The first issue: until then they receive the log and are not considered for majorities (§6)."""
    one = server(size=3)
    one.lead()
    one.propose(b"x")
    term = one.state.term
    one.receive("n2", AppendReply(term, term, True, 0, 1))  # noqa: FBT003
    one.step(ChangeRequested(1, Replace.by(dict(NEW.addresses))))
    assert one.state.membership.voters == OLD.voters
    assert one.state.membership.learners == ("n4", "n5")
    for name in ("n4", "n5"):
        one.receive(name, AppendReply(term, term, True, 0, 2))  # noqa: FBT003
    assert one.state.commit == 1, "three of five hold it, two of them learners"
