"""Who may not run and hears no leader asks whether it is a member: it may have been removed without hearing so."""

import random

import pytest

from raftline.core.changes import AddLearner, Remove
from raftline.core.configuration import encode_membership
from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.events import ChangeRequested, Received, TimerDue, TransferRequested
from raftline.core.membership import Membership
from raftline.core.messages import AppendRequest, Message, VoteReply, VoteRequest
from raftline.core.raft import Raft
from raftline.core.ready import Ready
from raftline.core.state import Role
from raftline.sim.core_cluster import CoreCluster, CoreNode

VOTERS = Membership.of({f"n{number}": f"h:{number}" for number in (1, 2, 3)})
WITH_LEARNER = Membership(voters=VOTERS.voters, learners=("n4",), addresses=(*VOTERS.addresses, ("n4", "h:4")))
WITH_VOTER = Membership.of({f"n{number}": f"h:{number}" for number in (1, 2, 3, 4)})


class Follower:
    """A replica n4 without a vote or a log at first, which n1 leads."""

    def __init__(self) -> None:
        self.core = Raft("n4", Membership(), random=random.Random(1), now=0.0)
        self.now = 0.0

    def hear(self, membership: Membership, commit: int) -> None:
        """Take the next entry in, a membership; up to `commit` all is committed, as far as the leader knows."""
        last = self.core.state.log.last_index
        entry = Entry(last + 1, 1, encode_membership(membership), KIND_MEMBERSHIP)
        self.core.step(Received("n1", AppendRequest(1, last, min(last, 1), (entry,), commit)), self.now)
        self.core.take_ready()

    def time_out(self) -> list[tuple[str, Message]]:
        """Let the election timer run out; return what is sent."""
        self.now = self.core.next_deadline
        self.core.step(TimerDue(), self.now)
        ready = self.core.take_ready()
        return [] if ready is None else [(each.to, each.message) for each in ready.messages_after_persist]


@pytest.fixture
def follower() -> Follower:
    """Return one."""
    return Follower()


@pytest.mark.parametrize("memberships", [(WITH_LEARNER,), (WITH_LEARNER, VOTERS)])
def test_a_learner_without_a_leader_asks(follower: Follower, memberships: tuple[Membership, ...]) -> None:
    """Again and again; whether it holds the entry that removes it, not knowing it committed, or none (K1)."""
    for membership in memberships:
        follower.hear(membership, commit=1)
    last = len(memberships)
    for _ in range(3):
        request = VoteRequest(1, last, 1, pre_vote=True)
        assert follower.time_out() == [(name, request) for name in VOTERS.voters]
        state = follower.core.state
        assert (state.role, state.leader, state.term, state.vote) == (Role.FOLLOWER, None, 1, "n1")
        assert follower.now < follower.core.next_deadline < float("inf")


def test_its_question_is_no_candidacy(follower: Follower) -> None:
    """Whatever is answered: it has no votes to count, and those who are asked change nothing (A17)."""
    follower.hear(WITH_LEARNER, commit=1)
    asked = dict(follower.time_out())
    for name in VOTERS.voters:
        reply = VoteReply(0, 1, granted=True, pre_vote=True)
        assert follower.core.receive(name, reply) == "answers a request of another term"
    assert follower.core.role is Role.FOLLOWER
    voter = Raft("n1", WITH_LEARNER, random=random.Random(1), now=0.0)
    voter.step(Received("n4", asked["n1"]), 0.0)
    assert (voter.term, voter.state.vote, voter.role) == (0, None, Role.FOLLOWER)


def test_who_knows_that_it_is_out_asks_no_more(follower: Follower) -> None:
    """By a committed entry, and by all it holds behind that; nor does one that knows of no group yet."""
    assert follower.core.next_deadline == float("inf")
    follower.hear(WITH_LEARNER, commit=1)
    follower.hear(VOTERS, commit=2)
    follower.hear(VOTERS, commit=2)
    assert follower.core.state.is_out
    assert follower.time_out() == []
    assert (follower.core.leader, follower.core.next_deadline) == (None, float("inf"))


def test_a_voter_whose_removal_may_be_taken_back_runs(follower: Follower) -> None:
    """Of whichever membership behind the last that is committed: a majority of that one may need its log (§6)."""
    follower.hear(VOTERS, commit=1)
    follower.hear(WITH_VOTER, commit=1)
    follower.hear(VOTERS, commit=1)
    state = follower.core.state
    assert (state.is_out, state.must_ask, state.may_campaign) == (False, False, True)


def test_a_learner_removed_while_the_leadership_goes_elsewhere_asks_the_new_leader() -> None:
    """It holds its removal, and is not told that it is committed: who leads then never speaks to it (K1)."""
    cluster = CoreCluster(3, spares=1, seed=5)
    cluster.start()
    learner = cluster.nodes["n4"]
    assert cluster.run(10, lambda: bool(cluster.leaders()) and cluster.leaders()[0].core.has_settled)
    old = cluster.leaders()[0]
    old.step(ChangeRequested(1, AddLearner("n4", "n4:1", promote=False)))
    assert cluster.run(5, lambda: learner.state.established and learner.state.membership.is_member("n4"))
    old.step(ChangeRequested(2, Remove("n4")))
    removal = old.state.configuration.index
    assert cluster.run(5, lambda: learner.state.configuration.index == removal)
    assert learner.state.commit < removal
    cluster.cut = {(name, "n4") for name in VOTERS.voters}
    assert cluster.run(5, lambda: old.state.commit >= removal)
    old.step(TransferRequested(3))
    assert cluster.run(5, lambda: any(node is not old and node.core.has_settled for node in cluster.leaders()))
    (new,) = cluster.leaders()
    assert "n4" not in new.state.progress
    cluster.cut = set()
    asked = _questions_of(cluster, "n4")
    assert cluster.run(5, lambda: new.name in asked)
    assert (new.core.is_leader, learner.core.role) == (True, Role.FOLLOWER), "nobody was disturbed"


def _questions_of(cluster: CoreCluster, name: str) -> list[str]:
    """Return whom a node asks from now on; it gets longer."""
    asked: list[str] = []

    def note(node: CoreNode, ready: Ready) -> None:
        if node.name == name:
            asked.extend(each.to for each in ready.messages_after_persist if isinstance(each.message, VoteRequest))

    cluster.on_ready = note
    return asked
