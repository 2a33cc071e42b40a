"""What clients of a follower see when the leader's process dies: they wait for the next one, and for nothing else."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.core.config import CoreConfig
from raftline.errors import Stopped
from raftline.kv.machine import KvMachine, encode_command
from raftline.runtime.config import NodeConfig
from raftline.runtime.node import Node
from raftline.sim.cluster import SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.loop import SimLoop

_APPEND_S = 0.1
"""More than a write takes, once there is a leader."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("seed", range(5))
def test_followers_answer_as_soon_as_there_is_a_new_leader(seed: int) -> None:
    """What was passed on before is answered as open, what came after is taken by the new leader; neither waits on."""
    world = SimLoop(seed)
    cluster = SimCluster(
        world,
        3,
        config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data"),
        make_machine=KvMachine,
    )
    outcomes: list[tuple[str, float, bytes | Exception]] = []

    def propose(node: Node, what: str) -> None:
        command = encode_command([b"SET", what.encode(), b"1"])
        node.submit(command, lambda outcome: outcomes.append((what, world.now, outcome)))

    try:
        cluster.start()
        world.run_until(3.0)
        nodes = {member.name: member.node for member in cluster.ready() if member.node is not None}
        leader = next(name for name, node in nodes.items() if node.is_leader)
        followers = [node for name, node in nodes.items() if name != leader]
        for number, node in enumerate(followers):
            propose(node, f"before {number}")
        cluster.members[leader].crash(CrashKind.PROGRAM)
        killed_s = world.now
        world.run_for(0.01)
        for number, node in enumerate(followers):
            propose(node, f"after {number}")
        while not any(node.is_leader for node in followers):
            world.run_for(0.001)
            assert world.now < killed_s + 5 * CoreConfig().election_timeout_s[1]
        world.run_for(_APPEND_S)
        told = {what: outcome for what, _, outcome in outcomes}
        assert set(told) == {"before 0", "before 1", "after 0", "after 1"}
        for what, outcome in told.items():
            if what.startswith("after"):
                assert outcome == b"+OK\r\n", what
            else:
                assert outcome == b"+OK\r\n" or (isinstance(outcome, Stopped) and outcome.may_take_effect), what
    finally:
        world.close(raise_failures=False)
