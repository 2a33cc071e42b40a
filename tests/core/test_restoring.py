"""A replica whose state machine still restores a snapshot: it votes and stores, and leads only if nobody else can."""

import pytest

from raftline.core.changes import AddLearner, SetPriority
from raftline.core.config import CoreConfig
from raftline.core.events import ChangeRequested, Received, TransferRequested
from raftline.core.messages import AppendReply, TimeoutNow
from raftline.core.ready import Verdict
from raftline.core.state import Role
from raftline.sim.core_cluster import CoreCluster, CoreNode

LOW_S, HIGH_S = CoreConfig().election_timeout_s
HANDOVER_S = 0.5
STANDS_BACK_S = 5 * HIGH_S
SEEDS = range(20)


class Restoring:
    """Three voters: one leads, `one` restores a snapshot and holds the whole log, `other` holds it, too."""

    def __init__(self, seed: int = 1, *, spares: int = 0, quiesce_after_s: float = float("inf")) -> None:
        config = CoreConfig(priority_handover_s=HANDOVER_S, quiesce_after_s=quiesce_after_s)
        self.cluster = CoreCluster(3, spares=spares, seed=seed, config=config)
        for name in ("n1", "n2", "n3"):
            self.cluster.nodes[name].start()
        assert self.cluster.run(10, lambda: bool(self.cluster.leaders()) and self.leader.core.has_settled)
        self.cluster.run(0.2)
        self.one, self.other = (self.cluster.nodes[n] for n in ("n1", "n2", "n3") if n != self.leader.name)
        self.cut(self.one)
        self.compact()
        self.one.slow_machine = True
        self.heal()
        assert self.cluster.run(10, lambda: is_restoring(self.one) and self.is_level(self.one))

    @property
    def leader(self) -> CoreNode:
        """Return who leads the highest term."""
        return self.cluster.leaders()[-1]

    def is_level(self, node: CoreNode) -> bool:
        """Say whether a node holds all of the leader's log, and the leader knows."""
        return bool(self.leader.state.progress[node.name].match_index == self.leader.state.log.last_index)

    def compact(self) -> None:
        """Write something and let go of the log, so that who lacks it needs a snapshot."""
        self.leader.propose(*[b"%d" % n for n in range(10)])
        self.cluster.settle()
        assert self.leader.state.applied == self.leader.state.commit == self.leader.state.log.last_index
        self.leader.take_snapshot()

    def cut(self, *nodes: CoreNode) -> None:
        """Let nobody hear or be heard by these nodes."""
        for node in nodes:
            for name in self.cluster.nodes:
                self.cluster.cut |= {(node.name, name), (name, node.name)}

    def heal(self) -> None:
        """Let everybody be heard by everybody again."""
        self.cluster.cut.clear()

    def only_one_is_up_to_date(self) -> None:
        """Let `other` lack an entry that is committed, and the leader be gone."""
        self.cut(self.other)
        self.leader.propose(b"x")
        self.cluster.settle()
        self.leader.crash()
        self.heal()


def is_restoring(node: CoreNode) -> bool:
    """Say whether its state machine is behind the snapshot that its log begins with."""
    return bool(node.state.applied < node.state.snapshot.index)


def test_nobody_hands_over_to_who_restores() -> None:
    """It could answer nobody before it has restored: by name it is refused in words, else somebody else is chosen."""
    it = Restoring()
    old = it.leader
    old.step(TransferRequested(1, it.one.name))
    assert old.answers[1].verdict is Verdict.REFUSED
    assert old.answers[1].reason == f"{it.one.name} could answer nobody yet: it restores a snapshot"
    old.propose(b"x")
    it.cluster.pool = [flight for flight in it.cluster.pool if flight.target == it.one.name]  # it holds the most
    it.cluster.settle()
    old.step(TransferRequested(2))
    assert it.cluster.run(HIGH_S, lambda: it.other.core.is_leader)


def test_it_is_chosen_once_it_has_restored() -> None:
    """The leader hears so with the next heartbeat."""
    it = Restoring()
    it.one.finish_applying()
    it.cluster.run(0.1)
    it.leader.step(TransferRequested(1, it.one.name))
    assert it.cluster.run(HIGH_S, lambda: it.one.core.is_leader)


def test_a_preferred_leader_waits_until_it_has_restored() -> None:
    """However long that takes, and no longer."""
    it = Restoring()
    old = it.leader
    old.step(ChangeRequested(1, SetPriority(it.one.name, 5)))
    assert not it.cluster.run(20 * HANDOVER_S, lambda: it.leader is not old)
    it.one.finish_applying()
    assert it.cluster.run(2 * HANDOVER_S, lambda: it.one.core.is_leader)


def test_a_learner_is_promoted_once_it_has_restored() -> None:
    """Else a voter that serves could be let go for one that does not (thesis 4.2.1)."""
    it = Restoring(spares=1)
    newcomer = it.cluster.nodes["n4"]
    newcomer.slow_machine = True
    newcomer.start()
    it.leader.step(ChangeRequested(1, AddLearner("n4", "n4:1")))
    it.cluster.run(10 * HIGH_S)
    assert is_restoring(newcomer)
    assert it.is_level(newcomer)
    assert it.leader.state.membership.learners == ("n4",)
    newcomer.finish_applying()
    it.cluster.run(0.2)
    assert "n4" in it.leader.state.membership.voters


@pytest.mark.parametrize("restored", [False, True])
def test_who_has_just_stored_a_snapshot_is_taken_for_restoring_it(restored: bool) -> None:  # noqa: FBT001  a case
    """Until its next answer says otherwise, as an older node's does: that one cannot say (thesis 3.10)."""
    it = Restoring()
    progress = it.leader.state.progress[it.one.name]
    progress.become_snapshot(it.leader.state.snapshot.index)
    progress.on_installed(it.leader.state.log.last_index, it.leader.state.log.base_index)
    assert progress.is_restoring
    if restored:
        term, last = it.leader.core.term, it.leader.state.log.last_index
        reply = AppendReply(term, term, success=True, prev_index=last, match_index=last)
        it.leader.step(Received(it.one.name, reply))
    it.leader.step(TransferRequested(1, it.one.name))
    assert (1 in it.leader.answers) is not restored


def test_it_does_not_take_over_when_told_to() -> None:
    """The leader may not have heard yet that it restores, or be an older node, and leads on (thesis 3.10)."""
    it = Restoring()
    it.one.step(Received(it.leader.name, TimeoutNow(it.leader.core.term)))
    assert it.one.core.role is Role.FOLLOWER
    assert it.one.core.term == it.leader.core.term


@pytest.mark.parametrize("seed", SEEDS)
def test_it_leaves_an_election_to_others(seed: int) -> None:
    """Whoever's timer runs out first: who serves leads within the time that an election takes (§5.2)."""
    it = Restoring(seed)
    it.leader.crash()
    assert it.cluster.run(3 * HIGH_S, lambda: bool(it.cluster.leaders()))
    assert it.leader is it.other


def test_it_knows_no_leader_while_it_stands_back() -> None:
    """Whoever waits here for the dead one is not kept waiting, and its vote is free (A28)."""
    it = Restoring()
    it.leader.crash()
    it.cut(it.one)
    it.cluster.run(HIGH_S)
    assert it.one.core.role is Role.FOLLOWER
    assert it.one.core.leader is None


@pytest.mark.parametrize("seed", SEEDS)
def test_it_leads_if_nobody_else_can(seed: int) -> None:
    """Only its log is up to date: it takes its time, brings another up to date, and lets that one lead (§5.4.1)."""
    it = Restoring(seed)
    it.only_one_is_up_to_date()
    began = it.cluster.now
    assert it.cluster.run(STANDS_BACK_S + 3 * HIGH_S, lambda: it.one.core.is_leader)
    assert it.cluster.now - began >= STANDS_BACK_S - HIGH_S
    assert it.cluster.run(HIGH_S, lambda: it.other.core.is_leader)
    assert is_restoring(it.one)
    assert not it.cluster.run(10 * HIGH_S, lambda: it.leader is not it.other)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_stands_for_election_as_soon_as_it_has_restored(seed: int) -> None:
    """It stood back for its state machine alone."""
    it = Restoring(seed)
    it.only_one_is_up_to_date()
    it.cluster.run(HIGH_S)
    it.one.finish_applying()
    assert it.cluster.run(3 * HIGH_S, lambda: it.one.core.is_leader)


def test_who_restores_does_not_sleep() -> None:
    """Nobody would hear that it is done, and it be refused the leadership for as long as the group sleeps (A30)."""
    it = Restoring(quiesce_after_s=0.3)
    nodes = (it.leader, it.one, it.other)
    assert not it.cluster.run(5.0, lambda: any(node.core.is_asleep for node in (it.leader, it.one)))
    it.one.finish_applying()
    assert it.cluster.run(5.0, lambda: all(node.core.is_asleep for node in nodes))
    assert not it.leader.state.progress[it.one.name].is_restoring
