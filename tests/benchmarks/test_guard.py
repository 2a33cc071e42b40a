"""The guard judges ratios, says which way, and runs the way of a command for real."""

import tracemalloc
from pathlib import Path

import pytest
from benchmarks.cost import Cost
from benchmarks.guard import Counter, walk
from benchmarks.path import Path3

from benchmarks import guard
from raftline.kv.key_walks import alive_keys


def test_costs_become_steps_of_the_fixed_loop() -> None:
    """The fixed loop is the unit and no result itself."""
    costs = {"fixed loop": Cost(50.0, 10), "SET, 1 client": Cost(500.0, 10)}
    assert guard.ratios(costs) == {"SET, 1 client": 10.0}


@pytest.mark.parametrize(
    ("ratio", "word", "worse"),
    [
        (104.9, "ok", False),
        (105.1, "WORSE", True),
        (96.0, "ok", False),
        (90.0, "better", False),
    ],
)
def test_only_what_is_dearer_by_more_than_the_margin_is_worse(ratio: float, word: str, worse: bool) -> None:  # noqa: FBT001
    """Within the margin is allowed, above it is not, and what is much cheaper asks for a new baseline."""
    (line,), found = guard.judge({"SET": ratio}, {"SET": 100.0}, 0.05)
    assert word in line
    assert found is worse


def test_one_bad_ratio_is_enough_and_an_unknown_one_is_not() -> None:
    """A piece without a baseline is told; a good piece after a bad one does not hide it."""
    lines, worse = guard.judge({"a": 2.0, "b": 1.0, "c": 9.0}, {"a": 1.0, "b": 1.0}, 0.05)
    assert worse
    assert "no baseline" in lines[2]
    assert guard.judge({"c": 9.0}, {}, 0.05)[1] is False


def test_another_patch_release_is_compared_with_the_nearest_one() -> None:
    """Never with another minor release, whose steps cost something else."""
    known = {"3.11.7": {"SET": 1.0}, "3.11.10": {"SET": 2.0}, "3.12.1": {"SET": 3.0}}
    assert guard.find_baseline(known, "3.11.7") == ("3.11.7", {"SET": 1.0})
    assert guard.find_baseline(known, "3.11.2") == ("3.11.10", {"SET": 2.0})
    assert guard.find_baseline(known, "3.13.0") == ("none", {})


def test_the_exit_code_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline is met by its own figures and missed by twice the cost; without valgrind there is no verdict."""
    monkeypatch.setattr(guard, "BASELINE", tmp_path / "baseline.json")
    costs = {"fixed loop": Cost(1.0, 1), "SET": Cost(100.0, 1)}
    monkeypatch.setattr(guard, "has_valgrind", lambda: True)
    monkeypatch.setattr(guard, "instruction_costs", lambda _module, _names: costs)
    monkeypatch.setattr("sys.argv", ["guard", "--update", "--runs", "2"])
    assert guard.main() == 0
    monkeypatch.setattr("sys.argv", ["guard"])
    assert guard.main() == 0
    costs["SET"] = Cost(200.0, 1)
    assert guard.main() == 1
    monkeypatch.setattr(guard, "has_valgrind", lambda: False)
    assert guard.main() == 0


def test_the_way_of_a_command_is_walked_by_all_three_nodes(tmp_path: Path) -> None:
    """SETs reach every store and log, GETs are answered with what was set, and equal runs count equal steps."""
    path = Path3(tmp_path / "a", clients=4, keys=32)
    path.run_sets(40, clients=4, pipeline=2)
    path.run_gets(40, clients=2)
    path.settle()
    assert {len(list(alive_keys(server.service.store, 0))) for _, server in path.nodes.values()} == {32}
    assert len({node.status().applied_index for node, _ in path.nodes.values()}) == 1
    steps = path.steps
    path.close()
    sharded = Path3(tmp_path / "sharded", clients=6, keys=64, groups=3)
    sharded.run_sets(60, clients=6, pipeline=4)
    sharded.run_gets(60, clients=6)
    sharded.settle()
    hosted = [
        each.machine.store.count for keeper in sharded.keepers.values() for each in keeper.hosted_groups().values()
    ]
    assert [len(hosted), sum(hosted)] == [9, 3 * 64]
    assert {keeper.leader_of(group) for keeper in sharded.keepers.values() for group in (1, 2, 3)} == {"n1", "n2", "n3"}
    sharded.close()
    again = Path3(tmp_path / "b", clients=4, keys=32)
    again.run_sets(40, clients=4, pipeline=2)
    again.run_gets(40, clients=2)
    again.settle()
    assert again.steps == steps
    again.close()


def test_a_step_of_the_fixed_loop_makes_no_object() -> None:
    """What one costs would depend on where the object comes to lie, and with it every ratio (the margin is 3 %)."""

    class Idle(Counter):
        def add(self, _word: bytes) -> None:
            return

    def peak(counter: Counter) -> int:
        words = [b"word %d" % number for number in range(500)]
        walk(counter, words, 100)
        tracemalloc.start()
        try:
            walk(counter, words, 3)
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            walk(counter, words, 100)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()

    assert peak(Counter()) == peak(Idle())
