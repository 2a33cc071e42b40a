"""Lasting connections to simulated nodes."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from raftline.kv.machine import KvMachine
from raftline.runtime.config import NodeConfig
from raftline.sim.cluster import SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.loop import SimLoop
from raftline.sim.no_checks import NoChecks
from raftline.sim.service_door import Line, Refusal, ServiceDoor


@pytest.fixture
def cluster() -> Iterator[SimCluster]:
    """Three nodes that nobody watches, one of them leading."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    world = SimLoop(3)
    cluster = SimCluster(
        world,
        3,
        config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data"),
        make_machine=KvMachine,
        make_checkers=NoChecks,
    )
    cluster.start()
    world.run_for(3.0)
    yield cluster
    world.close(raise_failures=False)
    structlog.configure(**before)


def ask(cluster: SimCluster, line: Line, *words: bytes) -> Any:
    """Return the reply, None without one."""
    replies: list[Any] = []
    line.ask(words, replies.append)
    cluster.world.run_for(1.0)
    return replies[0] if replies else None


def test_a_connection_lasts_until_it_is_closed(cluster: SimCluster) -> None:
    """Commands are answered one after the other; the service knows the client until it leaves."""
    door = ServiceDoor(cluster)
    member = cluster.members["n1"]
    line = door.connect(member)
    assert line is not None
    assert ask(cluster, line, b"SET", b"key", b"value", b"PX", b"700") == b"OK"
    assert isinstance(ask(cluster, line, b"LPUSH", b"key"), Refusal)
    service = door.service(member)
    assert service is not None
    assert len(service.clients) == 1
    assert service.store.count == 0  # the service's own timer let the key go
    line.close()
    cluster.world.run_for(0.1)
    assert not service.clients


def test_a_dead_node_never_answers_and_a_new_one_has_a_new_service(cluster: SimCluster) -> None:
    """A connection ends with its incarnation; one that is down takes none."""
    door = ServiceDoor(cluster)
    member = cluster.members["n2"]
    line, before = door.connect(member), door.service(member)
    assert line is not None
    member.crash(CrashKind.PROGRAM)
    assert door.connect(member) is None
    assert ask(cluster, line, b"PING") is None
    member.start()
    cluster.world.run_for(3.0)
    assert ask(cluster, line, b"PING") is None
    again = door.connect(member)
    assert again is not None
    assert ask(cluster, again, b"PING") == b"PONG"
    assert door.service(member) is not before
