"""What befalls nodes and groups that share them: it does happen, all promises are kept, and it is noticed if not."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from raftline.kv.sharded import keeper, machine
from raftline.kv.sharded.chunks import Chunk, Cursor, Giving, next_chunk
from raftline.runtime.config import GroupConfig
from raftline.sim.acts import NemesisPlan
from raftline.sim.quiet import quiet
from raftline.sim.scenario import Settings
from raftline.sim.sharded.benches import SHARDED
from raftline.sim.sharded.run import run_sharded_seed
from raftline.sim.sharded.scenario import ShardScenario

FEW = ShardScenario(
    journeys=(), wipes=0.0, snapshot_s=0.0, replicas=3, replaced=0, loses_disks=False, clocks_apart_s=0.0
)
CRASHES = NemesisPlan(kill_program=10, down_s_max=0.4)
TRAVELLERS = SHARDED["sharded_travellers"]
LOST_DISKS = SHARDED["sharded_lost_disks"]


def faults(seeds: Iterable[int], scenario: ShardScenario) -> Counter[str]:
    """Run some seeds, all of which have to pass, and return what happened."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        with quiet():
            outcome = run_sharded_seed(seed, scenario)
        assert outcome.error is None, f"seed {seed}: {outcome.error}"
        seen.update(outcome.faults)
    return seen


def test_groups_go_away_and_come_home() -> None:
    """Replicas meet what their nodes had of them, and movers ask other nodes (G14, G17)."""
    seen = faults(range(6), TRAVELLERS)
    assert seen["away"] >= 6
    assert seen["home"] >= 6
    assert seen["replicas that came back to a node"] >= 2
    assert seen["questions of movers to other nodes"] >= 50


@pytest.mark.parametrize("nodes", [3, 5])
def test_machines_are_replaced_while_slots_move(nodes: int) -> None:
    """By the commands that are documented, and every group has what it needs all the time (G17)."""
    seen = faults(range(2), msgspec.structs.replace(FEW, nodes=nodes, replaced=1))
    assert seen["machines replaced"] == 2
    assert seen["remove done"] >= 1


def test_a_group_is_placed_where_it_can_go_on() -> None:
    """Nobody places a group of two replicas on a machine that is down, and has lost its disk: none could help it."""
    seen = faults([13007377], ShardScenario())
    assert seen["wipe"] == seen["away"] == 1


@pytest.mark.parametrize("seed", [17006012, 17009069])
def test_no_group_is_to_depend_on_an_emptied_disk(seed: int) -> None:
    """Before its leader hears of it: once that leader restarts, nobody leads the group that cannot miss the machine."""
    faults([seed], ShardScenario())


def test_what_befalls_a_machine_waits_until_it_has_started() -> None:
    """One that was starting was asked for its log, and the run ended by that."""
    faults([17005767], ShardScenario())


def test_who_is_to_hold_a_group_of_one_can_catch_up() -> None:
    """Its only voter waits for nobody: through a window of one byte a learner would get less than is written."""
    seen = faults([13009466], ShardScenario())
    assert seen["replacenode done"] >= 1
    assert seen["machines replaced"] >= 1


def test_a_replica_is_given_up_whose_learners_are_the_voters_by_now() -> None:
    """It missed the change, and the voters that it knows hold nothing any more: those it knows as learners tell it."""
    seen = faults([15016165], ShardScenario())
    assert seen["away"] == seen["wipe"] == 1


def test_a_replica_that_comes_back_is_not_taken_for_its_former_self() -> None:
    """An acknowledgement that was long under way said what is gone since: refusals were passed over for ever (E2)."""
    seen = faults([16003406], ShardScenario())
    assert seen["replicas that came back to a node"] == 1


def test_nothing_is_slow_on_a_machine_that_comes_back_when_all_is_healed() -> None:
    """It sent snapshots more slowly than the log went on: whoever was to hold its group could not catch up."""
    seen = faults([16002928], ShardScenario())
    assert seen["machines replaced"] == 2


@pytest.mark.parametrize("nodes", [0, 3])
def test_a_disk_is_emptied(nodes: int) -> None:
    """Where every group goes on without it: its machine catches up, with all that it has a part of (C14, G17)."""
    scenario = msgspec.structs.replace(
        FEW, nodes=nodes, groups=2, wipes=120.0, plans=(CRASHES,) * 3, settings=Settings()
    )
    assert faults(range(4), scenario)["wipe"] >= 3


@pytest.mark.parametrize("nodes", [0, 3])
def test_clocks_are_minutes_apart(nodes: int) -> None:
    """Nothing that is to last for an hour runs out, and no group's time is ahead of its log (decision 15)."""
    seen = faults(range(3), msgspec.structs.replace(FEW, nodes=nodes, clocks_apart_s=600.0))
    assert seen["clocks set"] >= 15
    assert seen["keys dropped"] >= 20
    assert seen["keys expired"] == 0


def test_clocks_are_a_day_apart() -> None:
    """Keys of an hour expire where a leader's clock is ahead, and nowhere else (decision 3)."""
    seen = faults(range(8), msgspec.structs.replace(FEW, clocks_apart_s=86_400.0))
    assert seen["keys expired"] >= 1


@pytest.mark.parametrize("nodes", [0, 4])
def test_changes_are_told_again(nodes: int) -> None:
    """Long after they were made: they are refused, or made once more, and nothing is lost by that (G15, G17)."""
    seen = faults(range(3), msgspec.structs.replace(FEW, nodes=nodes, told_again=0.6))
    assert seen["changes told again"] + seen["changes told again refused"] >= 4
    assert nodes == 0 or seen["requests of keepers told again"] >= 1


def test_a_group_whose_disks_are_lost_is_led_by_nobody() -> None:
    """Nor do others suffer from it (C14, G17)."""
    assert faults(range(4), LOST_DISKS)["groups whose disks were emptied"] >= 3


def test_it_notices_a_group_that_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Founders with emptied disks that are not told that their group has begun (C14, G17)."""

    def untold(**fields: Any) -> GroupConfig:
        return GroupConfig(**{**fields, "has_begun": False})

    monkeypatch.setattr(keeper, "GroupConfig", untold)
    with quiet():
        errors = [run_sharded_seed(seed, LOST_DISKS).error for seed in range(4)]
    assert any(error is not None and "most disks were emptied (C14)" in error for error in errors)


def test_it_notices_a_clock_that_spreads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that gives slots and its time with them (decision 15)."""

    def with_time(giving: Giving, cursor: Cursor) -> Chunk | None:
        chunk = next_chunk(giving, cursor)
        return chunk and msgspec.structs.replace(chunk, time_ms=giving.store.time_ms)

    monkeypatch.setattr(machine, "next_chunk", with_time)
    with quiet():
        outcome = run_sharded_seed(0, msgspec.structs.replace(FEW, clocks_apart_s=600.0))
    assert "ahead of its whole log (decision 15)" in str(outcome.error)
