"""What a change makes of a membership, and what is refused in words."""

import msgspec
import pytest

from raftline.core.changes import (
    AddLearner,
    MembershipChange,
    Move,
    Promote,
    Remove,
    Replace,
    SetPriority,
    decode_change,
    describe_change,
    encode_change,
    enter_joint,
    is_step,
    leave_joint,
    newcomers,
    plan_change,
)
from raftline.core.membership import Membership
from raftline.errors import ChangeRefused

THREE = Membership.of({"n1": "h:1", "n2": "h:2", "n3": "h:3"})
WITH_LEARNER = plan_change(THREE, AddLearner("n4", "h:4", promote=False))


def test_a_learner_joins_without_a_vote() -> None:
    """In one entry: no majority depends on it (thesis 4.2.1)."""
    planned = plan_change(THREE, AddLearner("n4", "h:4"))
    assert (planned.voters, planned.outgoing, planned.learners) == (THREE.voters, (), ("n4",))
    assert planned.promoting == ("n4",)
    assert planned.address_of("n4") == "h:4"
    assert WITH_LEARNER.promoting == ()


def test_a_vote_is_given_and_taken_through_a_joint_membership() -> None:
    """Both halves decide until it is committed, then the new one alone (§6)."""
    joint = plan_change(WITH_LEARNER, Promote("n4"))
    assert (joint.voters, joint.outgoing, joint.learners) == (("n1", "n2", "n3", "n4"), THREE.voters, ())
    final = leave_joint(joint)
    assert (final.voters, final.outgoing) == (("n1", "n2", "n3", "n4"), ())
    joint = plan_change(final, Remove("n1"))
    assert (joint.voters, joint.outgoing) == (("n2", "n3", "n4"), final.voters)
    assert joint.address_of("n1") == "h:1", "it votes until the change is over"
    final = leave_joint(joint)
    assert final.address_of("n1") is None
    assert not final.is_member("n1")


def test_a_learner_leaves_in_one_entry() -> None:
    """And takes its address and its priority along."""
    preferred = plan_change(WITH_LEARNER, SetPriority("n4", 3))
    assert preferred.priority_of("n4") == 3
    assert plan_change(preferred, Remove("n4")) == THREE


def test_a_move_changes_an_address_and_nothing_else() -> None:
    """Addresses travel with the membership."""
    moved = plan_change(THREE, Move("n2", "elsewhere:2"))
    assert moved.address_of("n2") == "elsewhere:2"
    assert msgspec.structs.replace(moved, addresses=THREE.addresses) == THREE


def test_a_priority_is_kept_until_it_is_zero_again() -> None:
    """0 is what everybody starts with."""
    preferred = plan_change(plan_change(THREE, SetPriority("n2", 5)), SetPriority("n1", -1))
    assert preferred.priorities == (("n1", -1), ("n2", 5))
    assert preferred.priority_of("n3") == 0
    assert plan_change(plan_change(preferred, SetPriority("n2", 0)), SetPriority("n1", 0)) == THREE


def test_a_replacement_waits_for_its_newcomers() -> None:
    """Who is missing comes in as a learner; the voters change once these have caught up, all at once."""
    planned = plan_change(THREE, Replace.by({"n3": "h:3", "n4": "h:4", "n5": "h:5"}))
    assert (planned.voters, planned.learners, planned.wanted) == (THREE.voters, ("n4", "n5"), ("n3", "n4", "n5"))
    assert newcomers(planned) == ["n4", "n5"]
    joint = enter_joint(planned, planned.wanted)
    assert (joint.voters, joint.outgoing, joint.learners) == (("n3", "n4", "n5"), THREE.voters, ())
    assert joint.wanted == ()
    assert leave_joint(joint) == Membership.of({"n3": "h:3", "n4": "h:4", "n5": "h:5"})


def test_a_replacement_without_newcomers_begins_at_once() -> None:
    """Shrinking to two of three needs nobody to catch up; to all three it only ends what waited, and moves."""
    planned = plan_change(THREE, Replace.by({"n1": "h:1", "n2": "h:2"}))
    assert (planned.voters, planned.outgoing) == (("n1", "n2"), THREE.voters)
    waiting = plan_change(THREE, Replace.by({"n9": "h:9"}))
    ended = plan_change(waiting, Replace.by({"n1": "h:1", "n2": "h:7", "n3": "h:3"}))
    assert (ended.voters, ended.outgoing, ended.wanted) == (THREE.voters, (), ())
    assert ended.address_of("n2") == "h:7"
    assert ended.learners == ("n9",), "it stays a learner until it is removed"


def test_a_newcomer_that_is_removed_ends_the_replacement() -> None:
    """Otherwise a node that never comes would be waited for for ever."""
    waiting = plan_change(THREE, Replace.by({"n8": "h:8", "n9": "h:9"}))
    assert plan_change(waiting, Remove("n9")).wanted == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (AddLearner("n2", "h:9"), "n2 votes already, at h:2"),
        (AddLearner("n4", "h:9"), "n4 is a learner already, at h:4"),
        (AddLearner("n9", "h:1"), "h:1 is the address of n1 already"),
        (AddLearner("n9", ""), "n9 needs an address: host:port or host:port@busport"),
        (AddLearner("", "h:9"), "a node without a name cannot be added"),
        (Promote("n2"), "n2 votes already"),
        (Promote("n9"), "n9 is no member; there are n1, n2, n3, n4"),
        (Remove("n9"), "n9 is no member; there are n1, n2, n3, n4"),
        (Move("n9", "h:9"), "n9 is no member; there are n1, n2, n3, n4"),
        (Move("n2", "h:1"), "h:1 is the address of n1 already"),
        (SetPriority("n9", 1), "n9 is no member; there are n1, n2, n3, n4"),
        (Replace(()), "a group needs at least one voter, and every voter a name"),
        (Replace((("", "h:1"),)), "a group needs at least one voter, and every voter a name"),
        (Replace((("n1", "h:1"), ("n1", "h:8"))), "a node is named twice among the new voters n1, n1"),
        (Replace.by({"n1": "h:1", "n9": "h:2"}), "h:2 is the address of n2 already"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_in_words(change: MembershipChange, reason: str) -> None:
    """Unknown and duplicate nodes, addresses that are taken or missing, nobody left to vote."""
    with pytest.raises(ChangeRefused) as caught:
        plan_change(WITH_LEARNER, change)
    assert str(caught.value) == reason


def test_the_last_voter_stays() -> None:
    """Without it nobody could decide anything."""
    with pytest.raises(ChangeRefused, match="n1 is the only voter"):
        plan_change(Membership.of({"n1": "h:1"}), Remove("n1"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (AddLearner("n4", "h:4", promote=False), "adding n4 as a learner"),
        (AddLearner("n4", "h:4"), "adding n4 as a learner, to be promoted"),
        (Promote("n4"), "promoting n4"),
        (Remove("n4"), "removing n4"),
        (Move("n4", "h:5"), "moving n4 to h:5"),
        (SetPriority("n4", 2), "giving n4 priority 2"),
        (Replace.by({"n1": "h:1", "n5": "h:5"}), "replacing the voters by n1, n5"),
    ],
)
def test_a_change_travels_and_has_a_name(change: MembershipChange, words: str) -> None:
    """It comes back as it was sent, and can be named in a refusal."""
    assert decode_change(encode_change(change)) == change
    assert describe_change(change) == words


def test_what_may_follow_a_membership() -> None:
    """Learners and addresses at will, voters by way of a joint one that names the outgoing ones, then its end (§6)."""
    joint = plan_change(THREE, Remove("n3"))
    assert is_step(THREE, WITH_LEARNER)
    assert is_step(THREE, joint)
    assert is_step(joint, leave_joint(joint))
    assert not is_step(THREE, leave_joint(joint))
    assert not is_step(joint, THREE)
    assert not is_step(joint, plan_change(THREE, Remove("n2")))
    assert not is_step(THREE, msgspec.structs.replace(joint, outgoing=("n1", "n2")))
