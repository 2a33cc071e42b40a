"""Clients of queues: their checks complain when an element comes twice, is lost, or is nobody's."""

import pytest
import structlog

from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine, encode_command
from raftline.runtime.config import NodeConfig
from raftline.sim.cluster import SimCluster
from raftline.sim.loop import SimLoop
from raftline.sim.mutants.benches import BENCHES
from raftline.sim.queue_clients import QueueClients
from raftline.sim.run import run_seed
from raftline.sim.scenario import Scenario
from raftline.sim.service_door import ServiceDoor


@pytest.fixture
def clients() -> QueueClients:
    """Return the clients of a cluster that was never started."""
    world = SimLoop(1)
    cluster = SimCluster(
        world,
        3,
        config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data"),
        make_machine=KvMachine,
    )
    return QueueClients(cluster, ServiceDoor(cluster), 2, world.stream("queues"))


def test_elements_are_delivered_through_failovers() -> None:
    """The code as it is delivers hundreds, each once, while consumers hang up (G6, G7)."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        outcome = BENCHES["queues"](3)
    finally:
        structlog.configure(**before)
    assert outcome.error is None, outcome.error
    assert outcome.faults["elements delivered"] > 100
    assert outcome.faults["consumers gone while they waited"] > 0


@pytest.mark.parametrize("seed", [2430442, 2431029])
def test_who_waits_for_a_dead_node_may_have_popped(seed: int) -> None:
    """A pop whose reply the network lost before its node died explains an element, while its client waits (G6, G19)."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        outcome = run_seed(seed, Scenario(size=3, safety_s=4.0, heal_s=8.0))
    finally:
        structlog.configure(**before)
    assert outcome.error is None, outcome.error


def test_what_comes_twice_or_from_nowhere_is_found(clients: QueueClients) -> None:
    """An element has one receiver, and one that was refused has none."""
    clients.acknowledged.add(b"1")
    clients.deliver(b"1", "one")
    with pytest.raises(SafetyViolation, match="came to one and to two"):
        clients.deliver(b"1", "two")
    with pytest.raises(SafetyViolation, match="not pushed"):
        clients.deliver(b"2", "one")


def test_what_is_lost_needs_an_excuse(clients: QueueClients) -> None:
    """Each unknown pop excuses one element, and what is left is not lost; nor is it delivered."""
    machine = KvMachine()
    machine.apply(encode_command([b"RPUSH", b"queue", b"3"]), 1, 1)
    clients.acknowledged |= {b"1", b"2", b"3"}
    clients.deliver(b"1", "one")
    with pytest.raises(SafetyViolation, match="1 are lost, with 0 pops"):
        clients._check_left("n1", machine)
    clients.unknown_pops = 1
    clients._check_left("n1", machine)
    clients.deliver(b"3", "one")
    with pytest.raises(SafetyViolation, match="delivered, or more than once"):
        clients._check_left("n1", machine)
