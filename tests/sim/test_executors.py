"""Where independent pieces of work are carried out: here, in processes, on a Ray cluster."""

import importlib.util
import math
from collections.abc import Iterator
from typing import Any

import pytest

from raftline.errors import ConfigError
from raftline.sim import executors
from raftline.sim.campaign import Campaign, run_campaign
from raftline.sim.executors import EXECUTORS, InProcess, Processes, RayCluster, make_executor
from raftline.sim.run import Scenario
from raftline.sim.scenario import Outcome

SMALL = Campaign(first=5, stop=9, scenario=Scenario(size=3, safety_s=2.0, heal_s=5.0), batch=1)


def outcomes_of(executor: executors.Executor) -> list[dict[str, Any]]:
    """Run a small campaign; return what came of each seed, CPU time left out."""
    outcomes: list[Outcome] = []
    run_campaign(SMALL, outcomes.append, executor)
    shown = [{field: getattr(outcome, field) for field in Outcome.__struct_fields__} for outcome in outcomes]
    return sorted(({**fields, "cpu_s": None} for fields in shown), key=lambda fields: fields["seed"])


def test_every_piece_is_carried_out_once() -> None:
    """All results come back, in any order, however many pieces there are and whoever carries them out."""
    for executor in (InProcess(), Processes(2)):
        with executor:
            assert sorted(executor.run(math.sqrt, [n * n for n in range(50)])) == list(range(50))
            assert list(executor.run(math.sqrt, [])) == []


def test_what_a_piece_raises_is_raised_here() -> None:
    """An error of a worker is no silent loss of a result."""
    for executor in (InProcess(), Processes(1)):
        with pytest.raises(ValueError, match=r"nonnegative|domain"), executor:
            list(executor.run(math.sqrt, [4, -1, 9]))


def test_work_is_taken_as_it_is_needed() -> None:
    """A campaign of a million seeds is not held in memory: only some pieces per worker are taken ahead."""
    taken = 0

    def pieces() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    with Processes(1) as executor:
        results = executor.run(math.sqrt, pieces())
        next(results)
        assert taken <= 4


def test_a_campaign_is_the_same_wherever_it_runs() -> None:
    """Each seed comes to the same in this process and in another."""
    assert outcomes_of(Processes(2)) == outcomes_of(InProcess())


def test_executors_have_names() -> None:
    """The command line's names lead to what they say; one worker needs no process."""
    assert EXECUTORS == ("processes", "ray")
    assert isinstance(make_executor("processes", None), InProcess)
    assert isinstance(make_executor("processes", 1), InProcess)
    with make_executor("processes", 2) as executor:
        assert isinstance(executor, Processes)
        assert executor.workers == 2
    with pytest.raises(ConfigError, match="no executor 'threads', only processes, ray"):
        make_executor("threads", 2)


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is an extra: who asks for it and lacks it is told the command."""

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(executors, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'raftline\[ray\]'"):
        make_executor("ray", 2)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'raftline[ray]'")
def test_a_campaign_on_a_ray_cluster_is_the_same() -> None:
    """Each seed comes to the same in a process that Ray started."""
    assert outcomes_of(RayCluster(2)) == outcomes_of(InProcess())
