"""What the nemesis does with a list of acts."""

from collections.abc import Iterator
from typing import Self

import pytest
import structlog

from raftline.kv.machine import KvMachine
from raftline.runtime.config import NodeConfig
from raftline.sim.acts import ACTS, Act, NemesisPlan
from raftline.sim.cluster import SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.loop import SimLoop
from raftline.sim.nemesis import Nemesis


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


class Stage:
    """Three nodes that have elected, and a nemesis with a list of acts."""

    def __init__(self, *acts: Act, size: int = 3) -> None:
        self.world = SimLoop(5)
        self.cluster = SimCluster(
            self.world,
            size,
            config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data"),
            make_machine=KvMachine,
        )
        self.nemesis = Nemesis(self.cluster, NemesisPlan(), self.world.stream("nemesis"), acts)
        self.cluster.start()
        self.nemesis.start()
        self.world.run_until(2.5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.close(raise_failures=False)

    def done(self) -> list[tuple[str, str]]:
        """Return what was done to whom."""
        return [(act.name, hit) for act, hit in self.nemesis.done]

    def leader(self) -> str:
        """Return who leads."""
        return next(member.name for member in self.cluster.ready() if member.node and member.node.is_leader)


def test_every_act_can_be_carried_out() -> None:
    """The nemesis knows each name that can be drawn."""
    with Stage() as stage:
        assert stage.nemesis._acts().keys() == ACTS.keys()


def test_a_killed_machine_comes_back_when_the_act_says() -> None:
    """Down at its moment, for its time, and then up again."""
    with Stage(Act(at_s=3.0, name="kill_machine", node="n2", kind=CrashKind.MACHINE, for_s=1.5)) as stage:
        member = stage.cluster.members["n2"]
        stage.world.run_until(2.999)
        assert member.is_up
        stage.world.run_until(4.499)
        assert not member.is_up
        assert member.disk.stats["machine crashes"] == 1
        stage.world.run_until(4.501)
        assert member.is_up
        assert stage.done() == [("kill_machine", "n2")]


def test_one_that_is_down_is_replaced_by_the_next_in_line() -> None:
    """An act finds its victim among those that are up; if nobody is, nothing is done and nothing counted."""
    kills = [Act(at_s=3.0 + n, name="kill_program", node="n3", for_s=9.0) for n in range(4)]
    with Stage(*kills) as stage:
        stage.world.run_until(7.0)
        assert stage.done() == [("kill_program", "n3"), ("kill_program", "n1"), ("kill_program", "n2")]
        assert stage.nemesis.counts == {"kill_program": 3}


def test_the_leader_is_whoever_leads_then() -> None:
    """Acts on the leader ask at their moment who that is."""
    acts = [Act(at_s=3.0, name="kill_leader", for_s=30.0), Act(at_s=8.0, name="pause_leader", for_s=1.0)]
    with Stage(*acts) as stage:
        first = stage.leader()
        stage.world.run_until(7.9)
        second = stage.leader()
        assert second != first
        stage.world.run_until(8.1)
        assert stage.done() == [("kill_leader", first), ("pause_leader", second)]


def test_a_crash_waits_for_its_point() -> None:
    """A machine crashes when it comes to the point that was named, not before."""
    act = Act(at_s=0.0, name="crash_at_point", node="n1", points=("rename segment",), for_s=1.0)
    with Stage(act) as stage:
        stage.world.run_until(3.0)
        (crash,) = stage.cluster.point_crashes
        assert crash[0] == "n1"
        assert "rename segment" in crash[1]
        assert stage.nemesis.counts == {"crash_at_point": 1, "point_crashes_hit": 1}


def test_a_disk_error_stops_the_node_and_it_comes_back() -> None:
    """A failed operation is no retry: the node stops, and starts again later."""
    with Stage(Act(at_s=3.0, name="disk_error", node="n1"), Act(at_s=3.1, name="kill_leader", for_s=0.5)) as stage:
        stage.world.run_until(20.0)
        assert stage.cluster.storage_failures == 1
        assert stage.nemesis.counts["disk_errors_hit"] == 1
        assert len(stage.cluster.ready()) == 3


@pytest.mark.parametrize(
    ("act", "cut"),
    [
        (Act(at_s=3.0, name="partition", side=("n2",), for_s=2.0), {"n2>n1", "n1>n2", "n2>n3", "n3>n2"}),
        (Act(at_s=3.0, name="one_way_cut", node="n1", other="n3", for_s=2.0), {"n1>n3"}),
        (Act(at_s=3.0, name="bridge", node="n1", side=("n3",), for_s=2.0), {"n2>n3", "n3>n2"}),
    ],
    ids=lambda value: value.name if isinstance(value, Act) else "",
)
def test_cuts_are_what_the_act_says_and_are_mended(act: Act, cut: set[str]) -> None:
    """Exactly the links that an act names are cut, for its time."""

    def cut_links(stage: Stage) -> set[str]:
        names = stage.cluster.members
        state = stage.cluster.network.link_state
        return {f"{one}>{other}" for one in names for other in names if one != other and state(one, other) != "open"}

    with Stage(act) as stage:
        stage.world.run_until(3.1)
        assert cut_links(stage) == cut
        stage.world.run_until(5.1)
        assert cut_links(stage) == set()


def test_a_follower_lags_until_it_is_let_go() -> None:
    """The leader is never made to lag, and a lag ends by itself."""
    lags = [Act(at_s=3.0, name="lag", node=name, for_s=1.0) for name in ("n1", "n2", "n3")]
    with Stage(*lags) as stage:
        leader = stage.leader()
        stage.world.run_until(3.1)
        assert {hit for _, hit in stage.done()} == {"n1", "n2", "n3"} - {leader}


def test_one_disk_is_lost_at_most() -> None:
    """Only a follower's, only while everybody is up, and only once."""
    wipes = [Act(at_s=3.0 + number, name="wipe", node=f"n{number % 3 + 1}") for number in range(12)]
    with Stage(*wipes) as stage:
        stage.world.run_until(16.0)
        assert len(stage.done()) == 1


def test_no_disk_of_two_is_lost() -> None:
    """One is no minority: if the other stops before it is made up for, nobody can be elected (C14; seed 880027)."""
    wipes = [Act(at_s=3.0 + number, name="wipe", node=f"n{number % 2 + 1}") for number in range(6)]
    with Stage(*wipes, size=2) as stage:
        stage.world.run_until(10.0)
        assert stage.done() == []


def test_nothing_happens_after_healing() -> None:
    """Everything is undone, whoever is down comes up, and acts that are left are left out."""
    acts = [
        Act(at_s=3.0, name="kill_all", each_s=(90.0, 90.0, 90.0)),
        Act(at_s=3.1, name="one_way_cut", node="n1", other="n2", for_s=90.0),
        Act(at_s=9.0, name="kill_program", node="n1"),
    ]
    with Stage(*acts) as stage:
        stage.world.run_until(3.5)
        assert stage.cluster.up() == []
        stage.nemesis.heal()
        stage.world.run_until(12.0)
        assert len(stage.cluster.ready()) == 3
        assert stage.cluster.network.link_state("n1", "n2") == "open"
        assert stage.done() == [("kill_all", "n1 n2 n3"), ("one_way_cut", "n1>n2")]


def test_without_a_list_the_acts_are_drawn_from_the_plan() -> None:
    """A plan alone is enough to torment a cluster."""
    with Stage() as stage:
        drawn = Nemesis(stage.cluster, NemesisPlan(pause=6.0), stage.world.stream("another"))
        assert {act.name for act in drawn.acts} == {"pause"}


def test_a_crash_loop_crashes_again_and_again() -> None:
    """Each time soon after the start, as often as the act says, and then the machine stays up."""
    act = Act(at_s=3.0, name="crash_loop", node="n2", after=3, amount=0.05)
    with Stage(act) as stage:
        stage.world.run_until(6.0)
        member = stage.cluster.members["n2"]
        assert member.incarnation == 5
        assert member.disk.stats["program crashes"] == 4
        assert member.ready


def test_all_machines_of_a_host_stand_still_together() -> None:
    """They go on one after the other."""
    act = Act(at_s=3.0, name="pause_all", each_s=(1.0, 2.0, 3.0))
    with Stage(act) as stage:
        ups = []
        for second in (3.5, 4.5, 5.5, 6.5):
            stage.world.run_until(second)
            ups.append(len(stage.cluster.up()))
        assert ups == [0, 1, 2, 3]


def test_a_disk_that_stays_full_lets_no_node_start() -> None:
    """The machine is tried again until there is room; here one that needs its first segment again."""
    act = Act(at_s=3.0, name="full_disk", node="n1", amount=-1.0, for_s=4.0)
    with Stage(act, Act(at_s=3.1, name="wipe", node="n1")) as stage:
        assert stage.leader() != "n1"
        stage.world.run_until(6.9)
        disk = stage.cluster.members["n1"].disk
        assert disk.capacity_bytes < float("inf")
        assert disk.stats["no space"] >= 1
        assert not stage.cluster.members["n1"].ready
        stage.world.run_until(20.0)
        assert disk.capacity_bytes == float("inf")
        assert stage.cluster.members["n1"].ready


def test_a_disk_fails_in_the_middle_of_a_write() -> None:
    """A part is written, the node stops, and starts again on a disk that works."""
    act = Act(at_s=3.0, name="disk_error", node="n1", points=("write",))
    with Stage(act, Act(at_s=3.1, name="kill_leader", for_s=1.0)) as stage:
        assert stage.leader() != "n1"
        stage.world.run_until(12.0)
        disk = stage.cluster.members["n1"].disk
        assert disk.stats["write errors"] == 1
        assert stage.cluster.storage_failures == 1
        assert stage.cluster.members["n1"].ready


def test_a_removal_that_is_late_is_waited_for() -> None:
    """A change begun before the healing may end behind it: until then not everybody is a voter for good.

    Found by a seed: the removal was still in the log of a leader that reached nobody when all was healed.
    """
    with Stage() as stage:
        leader = stage.leader()
        first, second = (name for name in stage.cluster.members if name != leader)
        members = stage.nemesis._members
        assert members.everybody_votes()
        stage.cluster.network.cut_between([leader], [first, second])
        members.remove_for(stage.cluster.members[first], 60.0)
        stage.world.run_for(0.1)
        assert not members.everybody_votes()
        stage.nemesis.heal()
        stage.world.run_for(8.0)
        assert members.everybody_votes()
        stage.world.run_for(2.0)
        assert members.everybody_votes(), "it has come back"
