"""Each rule of membership changes is guarded: what is right passes, what is wrong is noticed."""

from random import Random

import pytest

from raftline.core.config import CoreConfig
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, KIND_NOOP, Entry, HardState, SnapshotMeta
from raftline.core.ids import Index
from raftline.core.membership import Membership
from raftline.core.pending import Departure
from raftline.core.raft import Raft
from raftline.core.state import RaftState, Role
from raftline.errors import SafetyViolation
from raftline.sim.membership_checks import MembershipChecks

ADDRESSES = {name: f"{name}:1" for name in ("n1", "n2", "n3", "n4")}
THREE = Membership.of({name: ADDRESSES[name] for name in ("n1", "n2", "n3")})
FOUR = Membership.of(ADDRESSES)
LEARNER = Membership(voters=THREE.voters, learners=("n4",), addresses=FOUR.addresses)
JOINT = Membership(voters=FOUR.voters, outgoing=THREE.voters, addresses=FOUR.addresses)
LATE_LEARNER = Membership(voters=FOUR.voters, outgoing=THREE.voters, learners=("n5",), addresses=FOUR.addresses)


def change(index: Index, membership: Membership, term: int = 1) -> Entry:
    """Return the entry of a change."""
    return Entry(index, term, encode_membership(membership), KIND_MEMBERSHIP)


def node(*entries: Entry, snapshot: SnapshotMeta | None = None, role: Role = Role.FOLLOWER) -> RaftState:
    """Return n1 of three with this log, in term 1."""
    core = Raft(
        "n1",
        THREE,
        random=Random(1),
        now=0.0,
        config=CoreConfig(),
        hard_state=HardState(1, "n1"),
        snapshot=snapshot,
        entries=entries,
    )
    core.state.role = role
    return core.state


def test_a_change_goes_through_a_joint_configuration() -> None:
    """Learners come at once, voters in two entries (§6)."""
    checks = MembershipChecks(THREE)
    for index, membership in ((2, LEARNER), (3, JOINT), (4, FOUR), (7, FOUR)):
        checks.on_committed("n1", index, encode_membership(membership))
    assert checks.at(1) == THREE
    assert checks.at(3) == JOINT
    assert checks.at(9) == FOUR


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(THREE, FOUR, id="voters change in one step"),
        pytest.param(FOUR, JOINT, id="the outgoing half is not what voted"),
        pytest.param(JOINT, THREE, id="a joint configuration ends in the old voters"),
        pytest.param(JOINT, LATE_LEARNER, id="a joint configuration follows another"),
    ],
)
def test_what_is_no_step_of_a_change_is_noticed(before: Membership, after: Membership) -> None:
    """Two majorities that share nobody could decide otherwise (K1)."""
    checks = MembershipChecks(before)
    with pytest.raises(SafetyViolation, match=r"n1: commits, at 2, .* that is no step of a change"):
        checks.on_committed("n1", 2, encode_membership(after))


def test_the_last_membership_of_the_log_is_in_force() -> None:
    """Committed or not, and taken back with its entry (§6)."""
    checks = MembershipChecks(THREE)
    state = node(Entry(1, 1, b""), change(2, LEARNER))
    checks.on_turn(state, 0)
    state.log.cut_from(2, 0)
    state.log_epoch += 1
    with pytest.raises(SafetyViolation, match=r"goes by \[n1 n2 n3, learners n4\], but the last .* \[n1 n2 n3\] at 0"):
        checks.on_turn(state, 0)
    state.configuration.on_cut(2)
    checks.on_turn(state, 0)
    state.log.append([change(2, LEARNER)])
    state.log_epoch += 1
    with pytest.raises(SafetyViolation, match=r"goes by \[n1 n2 n3\], but the last in its log is .*learners n4\] at 2"):
        checks.on_turn(state, 0)


def test_one_change_at_a_time() -> None:
    """A second one begins only when the first is committed (K1)."""
    checks = MembershipChecks(THREE)
    state = node(change(1, LEARNER), change(2, THREE))
    with pytest.raises(SafetyViolation, match=r"holds changes at \[1, 2\], none of them committed: one at a time"):
        checks.on_turn(state, 0)
    checks.on_committed("n1", 1, encode_membership(LEARNER))
    checks.forget("n1")
    checks.on_turn(state, 1)


def test_a_leader_commits_something_of_its_term_first() -> None:
    """Else two leaders could each count on a change that the other does not know of (thesis 4.1, K1)."""
    checks = MembershipChecks(THREE)
    state = node(Entry(1, 1, b"", KIND_NOOP), change(2, LEARNER), role=Role.LEADER)
    with pytest.raises(SafetyViolation, match=r"begins a change at 2, having committed nothing of its term 1 \(K1\)"):
        checks.on_turn(state, 0)
    state.commit = 1
    checks.forget("n1")
    checks.on_turn(state, 1)


def test_a_joint_configuration_that_is_committed_may_end_at_once() -> None:
    """Its second half needs no entry of the new leader's term before it."""
    checks = MembershipChecks(THREE)
    checks.on_committed("n2", 1, encode_membership(JOINT))
    state = node(change(1, JOINT, 0), change(2, FOUR), role=Role.LEADER)
    state.commit = 1
    checks.on_turn(state, 1)


def test_a_snapshot_carries_the_membership_where_it_ends() -> None:
    """Whoever begins with it knows who votes (D2, §7)."""
    checks = MembershipChecks(THREE)
    checks.on_committed("n2", 2, encode_membership(LEARNER))
    checks.on_turn(node(snapshot=SnapshotMeta(2, 1, LEARNER)), 2)
    checks.forget("n1")
    state = node(Entry(3, 1, b""), snapshot=SnapshotMeta(2, 1, LEARNER))
    state.snapshot = SnapshotMeta(2, 1, THREE)
    with pytest.raises(SafetyViolation, match=r"has a snapshot at 2 with \[n1 n2 n3\], there it was .*learners n4"):
        checks.on_turn(state, 2)


def test_a_removed_leader_goes() -> None:
    """It hands over or steps down within two election timeouts after its removal is committed (thesis 4.2.2)."""
    checks = MembershipChecks(FOUR)
    others = Membership.of({name: ADDRESSES[name] for name in ("n2", "n3", "n4")})
    joint = Membership(voters=others.voters, outgoing=FOUR.voters, addresses=FOUR.addresses)
    checks.on_committed("n1", 1, encode_membership(joint))
    checks.on_committed("n1", 2, encode_membership(others))
    state = node(change(1, joint), change(2, others), role=Role.LEADER)
    state.commit = 1
    state.now = 1.0
    checks.on_turn(state, 2)
    state.commit = 2
    checks.on_turn(state, 2)
    state.now += 2 * state.config.election_timeout_s[1]
    checks.on_turn(state, 2)
    state.now += 0.2
    with pytest.raises(SafetyViolation, match=r"leads .* s after its own removal was committed"):
        checks.on_turn(state, 2)
    state.role = Role.FOLLOWER
    checks.on_turn(state, 2)


def test_whoever_was_removed_is_let_go() -> None:
    """A leader keeps it up to date for one election timeout after the removal is committed (thesis 4.2.2)."""
    checks = MembershipChecks(THREE)
    state = node(change(1, THREE), role=Role.LEADER)
    state.departing = {"n4": Departure("n4:1", 1)}
    for state.now in (1.0, 9.0):
        checks.on_turn(state, 1)
    state.commit = 1
    timeout_s = state.config.election_timeout_s[1]
    for state.now in (10.0, 10.0 + timeout_s):
        checks.on_turn(state, 1)
    state.now += 0.01
    with pytest.raises(SafetyViolation, match=r"keeps n4 0\.\d+ s after its removal, at 1, was committed"):
        checks.on_turn(state, 1)
    for state.departing in ({"n4": Departure("n4:1", 2)}, {}, {"n4": Departure("n4:1", 2)}):
        checks.on_turn(state, 1)
        state.now += timeout_s
