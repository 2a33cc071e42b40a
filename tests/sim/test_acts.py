"""Plans and the acts that are drawn of them."""

from collections import Counter
from random import Random

import msgspec
import pytest

from raftline.sim.acts import ACTS, RARE_POINTS, Act, NemesisPlan, describe_act, draw_acts
from raftline.sim.disk import PERSISTENCE_POINTS, CrashKind

NAMES = ["n1", "n2", "n3", "n4", "n5"]
EVERYTHING = NemesisPlan(**dict.fromkeys(ACTS, 6.0))


def test_every_act_has_a_rate_and_every_rate_an_act() -> None:
    """A plan's rate that no act reads would be torment that never happens."""
    chances = {"loss", "duplicate", "reorder", "delay", "slow_sync", "slow_read", "latency_s"}
    times = {"down_s_max", "pause_s_max", "cut_s_max"}
    assert set(NemesisPlan.__struct_fields__) == set(ACTS) | chances | times


def test_equal_sources_give_equal_acts() -> None:
    """The same seed draws the same acts, in order of time and within the run."""
    first, again = (draw_acts(EVERYTHING, NAMES, 30.0, Random(7)) for _ in range(2))
    assert first == again
    assert list(first) == sorted(first, key=lambda act: act.at_s)
    assert all(0 <= act.at_s < 30.0 for act in first)
    assert draw_acts(EVERYTHING, NAMES, 30.0, Random(8)) != first


def test_acts_come_as_often_as_the_plan_says() -> None:
    """A rate is a mean number per virtual minute; a rate of zero is none."""
    plan = NemesisPlan(pause=6.0, reset=2.0)
    counts = Counter(act.name for act in draw_acts(plan, NAMES, 60.0 * 500, Random(1)))
    assert counts.keys() == {"pause", "reset"}
    assert 2800 < counts["pause"] < 3200
    assert 900 < counts["reset"] < 1100


def test_acts_name_machines_and_keep_to_the_longest_times() -> None:
    """Whoever is named exists, ends differ, cuts leave a majority, nothing lasts longer than the plan says."""
    for act in draw_acts(EVERYTHING, NAMES, 3000.0, Random(3)):
        ends = {"source", "target"} if act.name == "late_snapshot" else {"", *NAMES}
        assert act.node in ends
        assert act.other in {"", *NAMES} - {act.node} or act.node == ""
        assert len(act.side) <= 2
        assert set(act.side) <= set(NAMES) - {act.node}
        assert act.for_s <= (24.0 if act.name == "lag" else 8.0)
        assert len(act.each_s) == (5 if act.name in ("kill_all", "pause_all") else 0)


def test_a_plan_may_wait_for_each_of_the_rare_points() -> None:
    """Every kind of persistence point that is passed seldom gets crashes of its own."""
    acts = draw_acts(NemesisPlan(crash_at_point=60.0), NAMES, 600.0, Random(2))
    assert {act.points for act in acts} == {(), *RARE_POINTS}
    assert {act.kind for act in acts} == set(CrashKind)
    assert all(any(part in point for point in PERSISTENCE_POINTS) for points in RARE_POINTS for part in points)


def test_a_single_machine_can_be_tormented() -> None:
    """A cluster of one has no other end, and drawing acts for it does not fail."""
    assert {act.other for act in draw_acts(EVERYTHING, ["n1"], 600.0, Random(2))} == {"", "n1"}


def test_acts_survive_json() -> None:
    """What is read back is what was drawn: times are kept to the microsecond."""
    acts = draw_acts(EVERYTHING, NAMES, 300.0, Random(5))
    assert msgspec.json.decode(msgspec.json.encode(acts), type=tuple[Act, ...]) == acts


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (Act(at_s=1.5, name="kill_machine", node="n2", for_s=3.25), "  1.500000 s  kill_machine n2, for 3.250 s"),
        (
            Act(at_s=12.0, name="one_way_cut", node="n1", other="n3", hold=True, for_s=1.0),
            " 12.000000 s  one_way_cut n1 to n3, messages wait, for 1.000 s",
        ),
        (
            Act(at_s=2.0, name="crash_at_point", node="n3", points=("rename",), after=2, kind=CrashKind.MACHINE),
            "  2.000000 s  crash_at_point n3, the machine stops, at a point of 'rename', after 2 of them",
        ),
        (Act(at_s=3.0, name="clock_jump", node="n1", amount=-250.5), "  3.000000 s  clock_jump n1, -250.5 ms"),
    ],
)
def test_an_act_is_described_in_one_line(act: Act, line: str) -> None:
    """A schedule can be read: when, what, whom, for how long."""
    assert describe_act(act) == line


def test_every_act_can_be_described() -> None:
    """No act that can be drawn lacks its words."""
    assert all(describe_act(act) for act in draw_acts(EVERYTHING, NAMES, 600.0, Random(4)))
