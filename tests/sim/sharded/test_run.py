"""A run of the sharded store: slots move under faults, nothing is lost, and the same seed is the same run."""

import msgspec
import pytest

from raftline.errors import ProposalError
from raftline.kv.sharded import holdings, machine
from raftline.replica.sessions import FORGOT_NOTHING, Sessions
from raftline.sim.acts import NemesisPlan
from raftline.sim.quiet import quiet
from raftline.sim.scenario import Outcome, Settings
from raftline.sim.sharded.benches import SHARDED
from raftline.sim.sharded.run import run_sharded_seed
from raftline.sim.sharded.scenario import ShardChange, ShardScenario, resolve_sharded

SHORT = ShardScenario(safety_s=3.0, nodes=0)
SHARED = ShardScenario(safety_s=3.0, nodes=3)
PLAIN = ShardScenario(
    journeys=(), wipes=0.0, snapshot_s=0.0, replicas=3, replaced=0, loses_disks=False, clocks_apart_s=0.0
)
"""Seeds that found something before more was drawn: with the rest they are what they were."""
CALM = msgspec.structs.replace(
    PLAIN,
    safety_s=3.0,
    nodes=0,
    groups=2,
    joined=1,
    plans=(NemesisPlan(),) * 3,
    cuts_per_s=0.0,
    lost_between=0.0,
    clients=5,
    tags=4,
    settings=Settings(),
)

LEAVING = msgspec.structs.replace(
    PLAIN,
    nodes=4,
    groups=4,
    joined=2,
    safety_s=4.5,
    bytes_per_second=2_000,
    tags=6,
    changes=tuple(
        ShardChange(at_s=round(1.0 + 0.6 * number + after_s, 2), kind=kind, chance=0.3 * (number % 4))
        for number in range(5)
        for after_s, kind in ((0.0, "leave"), (0.03, "place"), (0.1, "place"), (0.2, "join"))
    ),
)


def run(seed: int, scenario: ShardScenario = SHORT) -> Outcome:
    """Run a seed without a word."""
    with quiet():
        return run_sharded_seed(seed, scenario)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_promised_is_kept(seed: int) -> None:
    """Slots move while clients go on, and every check passes (G15, G16)."""
    outcome = run(seed)
    assert outcome.error is None
    assert outcome.faults["configurations"] >= 2
    assert outcome.operations > 20


@pytest.mark.parametrize("seed", range(1, 4))
def test_nodes_that_host_many_groups_keep_it_too(seed: int) -> None:
    """Every node holds replicas of all groups, and a crash hits all of them (G15, G17)."""
    outcome = run(seed, SHARED)
    assert outcome.error is None
    assert outcome.faults["configurations"] >= 2
    assert outcome.operations > 20


def test_groups_on_some_of_four_nodes() -> None:
    """Who does not host a group reaches it through one that does."""
    outcome = run(1, ShardScenario(safety_s=3.0, nodes=4))
    assert outcome.error is None
    assert outcome.faults["entries arrive"] >= 2


@pytest.mark.parametrize("seed", [0, 1])
def test_groups_that_are_leaving_are_placed_elsewhere(seed: int) -> None:
    """What they have not given yet goes along, and every group comes to every configuration (G15, G17)."""
    outcome = run(seed, LEAVING)
    assert outcome.error is None
    assert outcome.faults["groups placed that were leaving"] >= 1


@pytest.mark.parametrize(("seed", "nodes"), [(511, 3), (665, 4), (672, 4)])
def test_seeds_that_once_found_something(seed: int, nodes: int) -> None:
    """A drop that came late, twice; and a group that was placed elsewhere before it had begun (G15, G17)."""
    assert run(seed, msgspec.structs.replace(PLAIN, nodes=nodes, visitors=6, retriers=0)).error is None


def test_a_replica_whose_peers_have_all_gone_is_given_up() -> None:
    """Its group was placed elsewhere while its node was down: who is there now tells it (G17, seed of a campaign)."""
    scenario = ShardScenario(nodes=4, replicas=1, safety_s=6.0, told_again=0.0)
    assert run(20053, scenario).error is None


def test_a_lock_that_runs_out_was_not_dropped() -> None:
    """A drop of another batch lets the time advance, by which a lease in a batch that is on its way ends (G15)."""
    assert run(5305122, PLAIN).error is None


@pytest.mark.parametrize(("seed", "nodes"), [(6002400, 4), (6003140, 0)])
def test_seeds_that_found_the_simulator_wrong(seed: int, nodes: int) -> None:
    """Two pieces of one connection arrived in the wrong order; and a chance that was rounded up to 1."""
    assert run(seed, msgspec.structs.replace(PLAIN, nodes=nodes)).error is None


@pytest.mark.parametrize("seed", [11000146, 11001447])
def test_drawn_seeds_that_found_the_simulator_wrong(seed: int) -> None:
    """A transaction at a node that waits to be added, and a first change whose session ends as a clock is set."""
    assert run(seed, ShardScenario(safety_s=3.0)).error is None


def test_a_new_replica_gets_its_snapshot_while_the_log_waits() -> None:
    """In pieces too small for that it would begin again for ever: no product has such settings (seed of a campaign)."""
    assert run(6000733, msgspec.structs.replace(PLAIN, nodes=4)).error is None


@pytest.mark.parametrize("scenario", [SHORT, SHARED], ids=["own machines", "shared nodes"])
def test_the_same_seed_is_the_same_run(scenario: ShardScenario) -> None:
    """Byte for byte, whatever ran before."""
    first = run(3, scenario)
    run(4, scenario)
    again = run(3, scenario)
    assert msgspec.structs.replace(again, cpu_s=0.0) == msgspec.structs.replace(first, cpu_s=0.0)


def test_a_trace_shows_every_group() -> None:
    """A line per transition, with who leads each group and the configuration that it has taken."""
    kept: list[str] = []
    with quiet():
        run_sharded_seed(3, SHORT, keep_trace=True, on_finished=lambda _, lines: kept.extend(lines))
    assert any("TAKE: configuration 2" in line and "log" in line for line in kept)
    assert any("serves no more" in line for line in kept)
    assert sum("AppendRequest" in line for line in kept) > 100


@pytest.mark.parametrize("seed", range(20))
def test_a_scenario_that_is_resolved_stays(seed: int) -> None:
    """Drawing again what is drawn changes nothing."""
    once = resolve_sharded(seed, ShardScenario())
    assert resolve_sharded(seed, once) == once


def test_it_notices_what_is_served_without_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is carried out by a group which gave the slot away (G15)."""
    monkeypatch.setattr(machine.ShardMachine, "check_served", lambda _self, _args: None)
    outcome = run(0, CALM)
    assert outcome.check == "SafetyViolation"
    assert "does not serve (G15)" in str(outcome.error)


def test_it_notices_a_configuration_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every group has to take every one within bounded time (G15)."""

    def refuse(self: holdings.Holdings, configuration: object) -> bool:
        if self.configuration.number:
            raise ProposalError(str(configuration))
        return take(self, configuration)  # type: ignore[arg-type]

    take = holdings.Holdings.take
    monkeypatch.setattr(holdings.Holdings, "take", refuse)
    outcome = run(0, msgspec.structs.replace(CALM, heal_s=2.0))
    assert outcome.check == "LivenessViolation"
    assert "is at configuration 1 of" in str(outcome.error)


def test_it_notices_a_session_that_was_forgotten_and_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups have room for three sessions: a command that is repeated by way of another node counts twice (G16)."""
    assert run(0, SHARDED["sharded_forgetting"]).error is None

    def open_anew(self: Sessions, session_id: int, time_ms: int, born: int = 0) -> bool:
        self.forgotten = FORGOT_NOTHING
        return opened(self, session_id, time_ms, born)

    opened = Sessions.open
    monkeypatch.setattr(Sessions, "open", open_anew)
    outcomes = (run(seed, SHARDED["sharded_forgetting"]) for seed in range(6))  # one run in seven does not come to it
    outcome = next(outcome for outcome in outcomes if outcome.error is not None)
    assert outcome.check == "LinearizabilityViolation"
    assert "no order explains the answers" in str(outcome.error)
