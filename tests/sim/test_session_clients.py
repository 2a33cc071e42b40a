"""Clients that repeat their commands until they know."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.core.entries import KIND_COMMAND, KIND_NOOP
from raftline.errors import SafetyViolation
from raftline.kv.commands.typed import existing
from raftline.kv.machine import KvMachine
from raftline.replica.commands import in_session, plain
from raftline.replica.sessions import Session, Sessions
from raftline.runtime.config import NodeConfig
from raftline.sim.cluster import SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.loop import SimLoop
from raftline.sim.session_clients import SessionClients, repeated


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.fixture
def cluster() -> Iterator[SimCluster]:
    """Three nodes."""
    world = SimLoop(3)
    cluster = SimCluster(
        world,
        3,
        config_of=lambda name, members: NodeConfig(node_id=name, members=members, data_dir="/data"),
        make_machine=KvMachine,
    )
    cluster.start()
    yield cluster
    world.close(raise_failures=False)


def value(cluster: SimCluster, node: str) -> int:
    """Return what a node's store holds for the first client."""
    machine = cluster.members[node].machine
    assert isinstance(machine, KvMachine)
    return int(existing(machine.store, b"counter0", bytes) or b"0")


def test_every_command_counts_once(cluster: SimCluster) -> None:
    """Copies meet in the log, nodes crash, and every counter stands at the number of commands (G7, G8)."""
    clients = SessionClients(cluster, 2, cluster.world.stream("sessions"))
    clients.start()
    for round_, name in enumerate(("n1", "n2")):
        cluster.world.run_until(2.5 * (round_ + 1))
        cluster.members[name].crash(CrashKind.MACHINE)
        cluster.world.run_for(0.5)
        cluster.members[name].start()
    clients.stop()
    cluster.world.run_for(4.0)
    assert clients.waiting == []
    clients.check_end()
    assert value(cluster, "n1") > 5
    assert repeated(cluster.checkers.committed) > 0


def test_a_counter_that_is_off_is_noticed(cluster: SimCluster) -> None:
    """One command too many on one node is named (G7)."""
    clients = SessionClients(cluster, 1, cluster.world.stream("sessions"))
    clients.start()
    cluster.world.run_until(4.0)
    clients.stop()
    cluster.world.run_for(3.0)
    clients.check_end()
    machine = cluster.members["n2"].machine
    assert isinstance(machine, KvMachine)
    machine.store.put(b"counter0", b"%d" % (value(cluster, "n1") + 1))
    with pytest.raises(SafetyViolation, match="counter0: n2 holds"):
        clients.check_end()


def test_a_command_carried_out_twice_is_noticed(cluster: SimCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """If sessions forget what was carried out, the replies give it away (G7)."""

    def forget(self: Sessions, session_id: int, sequence: int, *, failed: bool, reply: bytes, time_ms: int) -> None:
        assert not failed
        assert reply
        self._sessions[session_id] = Session(sequence - 1, failed, b"", time_ms)

    monkeypatch.setattr(Sessions, "remember", forget)
    SessionClients(cluster, 2, cluster.world.stream("sessions")).start()
    with pytest.raises(SafetyViolation, match="G7"):
        cluster.world.run_until(60.0)


def test_a_forgotten_session_is_noticed(cluster: SimCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that nobody closed is not refused (G9)."""
    clients = SessionClients(cluster, 1, cluster.world.stream("sessions"))
    clients.start()
    cluster.world.run_until(3.0)
    monkeypatch.setattr(Sessions, "find", lambda _self, _id: None)
    with pytest.raises(SafetyViolation, match="is not open"):
        cluster.world.run_until(6.0)


def test_copies_in_the_log_are_counted() -> None:
    """Entries of the same session and number, plain commands left out."""
    log = [
        (1, b"", KIND_NOOP),
        (1, in_session(5, 1, b"x"), KIND_COMMAND),
        (1, plain(b"x"), KIND_COMMAND),
        (1, plain(b"x"), KIND_COMMAND),
        (2, in_session(5, 1, b"x"), KIND_COMMAND),
        (2, in_session(5, 1, b"x"), KIND_COMMAND),
        (2, in_session(5, 2, b"x"), KIND_COMMAND),
    ]
    assert repeated(log) == 2
