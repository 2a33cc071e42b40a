"""Faults by half: each does what it says to whom it says, ends by itself, and is over after healing."""

from collections.abc import Iterator
from typing import Any

import pytest

from raftline.core.messages import AppendRequest
from raftline.core.state import Role
from raftline.kv.machine import KvMachine
from raftline.runtime.config import NodeConfig
from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.faults import Latency
from raftline.sim.loop import SimLoop
from raftline.sim.nemesis import Nemesis
from raftline.sim.quiet import quiet
from raftline.sim.scenario import Settings


class _First(KvMachine):
    """Of the first version, so that no entry says that a later one may be used."""

    version = 1


class Stage:
    """Three nodes, and a nemesis with a list of acts, all from the third second on."""

    def __init__(self, *acts: Act, plan: NemesisPlan | None = None, settings: Settings | None = None) -> None:
        self.world = SimLoop(5)
        core = (settings or Settings()).core(1 << 20)
        self.cluster = SimCluster(
            self.world,
            3,
            config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data", core=core),
            make_machine=_First,
        )
        self.nemesis = Nemesis(self.cluster, plan or NemesisPlan(), self.world.stream("nemesis"), acts)
        self.cluster.start()
        self.nemesis.start()
        self.world.run_until(2.9)

    def member(self, name: str) -> Member:
        """Return a machine."""
        return self.cluster.members[name]

    def rate(self, name: str) -> float:
        """Return the pace of a machine's monotonic clock."""
        loop = self.member(name).loop
        assert loop is not None
        return loop.rate

    def latency(self, source: str, target: str) -> Latency:
        """Return how long messages take."""
        return self.cluster.network.faults_of(source, target).latency

    def roles(self) -> set[Role]:
        """Return what the nodes that are up take themselves for."""
        return {member.node._group.replica.core.role for member in self.cluster.ready() if member.node is not None}  # type: ignore[union-attr]


@pytest.fixture
def stage() -> Iterator[Any]:
    """Return a maker of stages; each is closed at the end."""
    made: list[Stage] = []

    def make(*acts: Act, **options: Any) -> Stage:
        made.append(Stage(*acts, **options))
        return made[-1]

    with quiet():
        yield make
        for each in made:
            each.world.close(raise_failures=False)


def test_a_wrong_clock_is_right_again_after_a_while(stage: Any) -> None:
    """Its pace changes for the time of the act, and goes back to the drift of before."""
    played = stage(Act(at_s=3.0, name="wrong_clock", node="n2", amount=0.05, for_s=1.0))
    played.member("n2").rate = 0.97
    played.world.run_until(3.5)
    assert played.rate("n2") == 0.05
    played.world.run_until(4.5)
    assert played.rate("n2") == 0.97


def test_clocks_stay_within_bounds_where_leases_count_on_them(stage: Any) -> None:
    """A cluster that reads on leases has been promised that."""
    acts = (
        Act(at_s=3.0, name="wrong_clock", node="n2", amount=0.05, for_s=9.0),
        Act(at_s=3.0, name="late_candidate", for_s=9.0),
    )
    played = stage(*acts, settings=Settings(lease_reads=True))
    played.world.run_until(4.0)
    assert played.rate("n2") == 1.0
    assert not played.nemesis.done


def test_messages_of_one_kind_are_lost(stage: Any) -> None:
    """Heartbeats of the leader go missing and nothing else; somebody else is elected; then all is as before."""
    played = stage()
    leader = next(each.name for each in played.cluster.ready() if each.node is not None and each.node.is_leader)
    lost = Act(at_s=0.0, name="lose_kind", node=leader, points=("AppendRequest",), for_s=2.0)
    played.nemesis._gray.lose_kind(lost)
    played.world.run_for(1.9)
    stats = played.cluster.network.stats
    assert stats.lost_of_a_kind > 10
    assert played.cluster.checkers.elections == 2
    played.world.run_for(0.2)
    before = stats.lost_of_a_kind
    played.world.run_for(1.0)
    assert stats.lost_of_a_kind == before


def test_a_candidate_comes_back_late(stage: Any) -> None:
    """Time stands almost still for it while another one wins its term; then it hears anything but AppendEntries."""
    played = stage(Act(at_s=3.0, name="late_candidate", for_s=2.0), Act(at_s=3.1, name="kill_leader", for_s=9.0))
    late = None
    while late is None:
        played.world.run_for(0.01)
        late = next(
            (name for name in played.cluster.members if played.member(name).is_up and played.rate(name) < 0.1), None
        )
    assert played.nemesis.counts["candidates_delayed"] == 1
    assert Role.CANDIDATE in played.roles()
    heard: list[type] = []
    checkers = played.cluster.checkers
    on_delivered = checkers.on_delivered

    def hear(source: str, target: str, message: Any) -> None:
        if target == late:
            heard.append(type(message))
        on_delivered(source, target, message)

    checkers.on_delivered = hear
    played.world.run_for(3.5)
    assert AppendRequest not in heard
    played.world.run_for(3.0)
    assert played.rate(late) == 1.0
    assert AppendRequest in heard


def test_slow_links_and_disks_are_slow_for_a_while(stage: Any) -> None:
    """One direction of one link, the fsyncs of one machine."""
    played = stage(
        Act(at_s=3.0, name="slow_link", node="n1", other="n2", amount=0.2, for_s=1.0),
        Act(at_s=3.0, name="slow_disk", node="n3", amount=0.4, for_s=1.0),
    )
    usual, disk = played.latency("n2", "n1"), played.member("n3").disk
    played.world.run_until(3.5)
    assert played.latency("n1", "n2") == Latency(0.1, 0.2, 0.8)
    assert played.latency("n2", "n1") == usual
    assert disk.faults.sync_latency == Latency(0.1, 0.4, 0.8)
    played.world.run_until(4.5)
    assert played.latency("n1", "n2") == usual
    assert disk.faults.sync_latency.typical_s < 0.01


def test_each_direction_of_each_link_has_a_pace_of_its_own(stage: Any) -> None:
    """A plan's latency is a typical one; links are faster or slower, this way and that."""
    played = stage(plan=NemesisPlan(latency_s=0.01))
    names = list(played.cluster.members)
    paces = {played.latency(one, other).typical_s for one in names for other in names if one != other}
    assert len(paces) == 6
    assert all(0.005 <= pace <= 0.02 for pace in paces)


def test_healing_ends_it_all(stage: Any) -> None:
    """Nothing is slow, lost or wrong any more, whatever was to last."""
    played = stage(
        Act(at_s=3.0, name="wrong_clock", node="n2", amount=0.05, for_s=9.0),
        Act(at_s=3.0, name="lose_kind", node="n1", points=("VoteRequest",), for_s=9.0),
        Act(at_s=3.0, name="slow_link", node="n1", other="n2", amount=0.2, for_s=9.0),
        Act(at_s=3.0, name="slow_disk", node="n3", amount=0.4, for_s=9.0),
        Act(at_s=3.0, name="pause_all", each_s=(9.0, 9.0, 9.0)),
    )
    played.world.run_until(3.5)
    assert played.cluster.up() == []
    played.nemesis.heal()
    played.world.run_for(3.0)
    assert len(played.cluster.ready()) == 3
    assert played.rate("n2") == 1.0
    assert played.cluster.network.loses is None
    assert played.latency("n1", "n2").typical_s < 0.01
    assert played.member("n3").disk.faults.sync_latency.typical_s < 0.01
