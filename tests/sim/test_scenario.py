"""Scenarios that leave something open, and schedules that do not."""

from collections.abc import Iterator

import msgspec
import pytest
import structlog

from raftline.errors import ConfigError
from raftline.sim.acts import Act, NemesisPlan
from raftline.sim.run import run_seed
from raftline.sim.scenario import Scenario, Schedule, Settings, read_schedule, resolve, write_schedule

SHORT = Scenario(safety_s=4.0, heal_s=6.0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


def test_resolving_leaves_nothing_open_and_is_done_once() -> None:
    """What is drawn for a seed is drawn from that seed alone; a resolved scenario is resolved already."""
    resolved = resolve(3, Scenario())
    assert all(getattr(resolved, field) is not None for field in Scenario.__struct_fields__)
    assert resolve(3, resolved) == resolved == resolve(3, Scenario())
    assert resolve(4, Scenario()) != resolved


def test_what_is_given_is_kept() -> None:
    """Only what a scenario leaves open is drawn."""
    plan = NemesisPlan(pause=2.0)
    resolved = resolve(3, Scenario(size=4, plan=plan, acts=()))
    assert (resolved.size, resolved.plan, resolved.acts) == (4, plan, ())


def test_a_schedule_repeats_the_run_byte_for_byte() -> None:
    """The file of a seed, read back, gives the same trace as the seed."""
    drawn = run_seed(9, SHORT, keep_trace=True)
    schedule = read_schedule(write_schedule(Schedule(seed=9, scenario=resolve(9, SHORT))))
    again = run_seed(schedule.seed, schedule.scenario, keep_trace=True)
    assert again.trace_digest == drawn.trace_digest
    assert again.acts == drawn.acts


def test_a_changed_schedule_is_another_run() -> None:
    """The acts of a schedule are what is carried out."""
    scenario = msgspec.structs.replace(
        resolve(9, SHORT), acts=(Act(at_s=2.0, name="kill_program", node="n1", for_s=1.0),)
    )
    outcome = run_seed(9, scenario, keep_trace=True)
    assert outcome.error is None
    assert outcome.acts == ["  2.000000 s  kill_program n1, for 1.000 s → n1"]
    assert outcome.faults["kill_program"] == 1


def test_a_schedule_can_be_read_by_people() -> None:
    """Its lines say how large the cluster is, what may happen to messages, and each act."""
    scenario = Scenario(
        size=3,
        plan=NemesisPlan(loss=0.05),
        acts=(Act(at_s=2.0, name="reset", node="n1", other="n2"),),
        settings=Settings(pace=1.5, append_entries_max=2),
    )
    head, act = Schedule(seed=9, scenario=resolve(9, scenario)).lines()
    assert head.startswith("seed 9, 3 nodes, ")
    assert head.endswith("of each message or fsync: loss 0.05; set up pace 1.5, append_entries_max 2")
    assert act.strip() == "2.000000 s  reset n1 to n2"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not json", "no schedule"),
        ('{"seed": 1}', "no schedule"),
        ('{"seed": 1, "scenario": {}, "schedule": 7}', "format 7"),
        ('{"seed": 1, "scenario": {"acts": [{"at_s": 1, "name": "sing"}]}}', "sing"),
        ('{"seed": 1, "scenario": {"size": 3, "acts": [{"at_s": 1, "name": "pause", "node": "n4"}]}}', "n4"),
        ('{"seed": 1, "scenario": {"size": 3, "acts": [{"at_s": 1, "name": "pause"}]}}', "names nobody"),
        ('{"seed": 1, "scenario": {"sise": 3}}', "sise"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, complaint: str) -> None:
    """A file that cannot be carried out says why before anything runs."""
    with pytest.raises(ConfigError, match=complaint):
        read_schedule(text)


def test_a_snapshot_is_sent_in_a_second_or_so() -> None:
    """Large values are not sent in the smallest of pieces: three machines are replaced in time (seed 2611058)."""
    for seed in [*range(200), 2611058]:
        drawn = resolve(seed, SHORT)
        assert drawn.workload is not None
        assert drawn.chunk_bytes is not None
        assert 500 * (drawn.chunk_bytes + 1) > drawn.workload.keys * drawn.workload.value_bytes_max
    assert resolve(2611058, msgspec.structs.replace(SHORT, chunk_bytes=64)).chunk_bytes == 64
