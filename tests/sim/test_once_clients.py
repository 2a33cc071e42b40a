"""Clients in sessions over RESP, with the decisions of raftline.Client."""

from collections.abc import Iterator

import pytest
import structlog

from raftline.client.call import Outcome
from raftline.client.errors import SessionLost
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine
from raftline.replica.sessions import Sessions
from raftline.runtime.config import NodeConfig
from raftline.sim.cluster import SimCluster
from raftline.sim.disk import CrashKind
from raftline.sim.faults import LinkFaults
from raftline.sim.kv_door import KvDoor
from raftline.sim.loop import SimLoop
from raftline.sim.once_clients import OnceClients
from raftline.sim.session_clients import repeated


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


class Scene:
    """Three nodes and some clients."""

    def __init__(self, *, evicts: bool) -> None:
        self.world = SimLoop(3)
        self.cluster = SimCluster(
            self.world,
            3,
            config_of=lambda name, members: NodeConfig(
                node_id=name, members=members, data_dir="/data", snapshot_log_entries=40
            ),
            make_machine=KvMachine,
            make_sessions=lambda: Sessions(count_max=3, reply_bytes_max=10) if evicts else Sessions(),
        )
        self.cluster.start()
        count = 6 if evicts else 2
        self.clients = OnceClients(self.cluster, KvDoor(self.cluster), count, self.world.stream("once"), evicts=evicts)

    def run(self, seconds: float = 12.0) -> None:
        """Let clients write while nodes crash, one after the other; then let them end."""
        self.clients.start()
        self.cluster.network.set_faults(LinkFaults(loss=0.1, delay=0.1))
        for number in range(int(seconds / 2.5)):
            self.world.run_for(2.0)
            member = self.cluster.members[f"n{1 + number % 3}"]
            member.crash(CrashKind.MACHINE)
            self.world.run_for(0.5)
            member.start()
        self.clients.stop()
        self.cluster.network.set_faults(LinkFaults())
        self.world.run_for(9.0)

    def store(self, name: str) -> dict[bytes, bytes]:
        """Return what a node holds for the first client, to be changed by a test."""
        machine = self.cluster.members[name].machine
        assert isinstance(machine, KvMachine)
        value = machine.store.get(b"once0")
        assert isinstance(value, bytes)
        return {b"once0": value}

    def put(self, name: str, value: bytes) -> None:
        """Let a node hold something else for the first client."""
        machine = self.cluster.members[name].machine
        assert isinstance(machine, KvMachine)
        machine.store.put(b"once0", value)


@pytest.fixture(params=[False, True], ids=["roomy", "scarce"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Three nodes, with room for every session or hardly any."""
    scene = Scene(evicts=request.param)
    yield scene
    scene.world.close(raise_failures=False)


@pytest.fixture
def roomy() -> Iterator[Scene]:
    """Three nodes with room for every session."""
    scene = Scene(evicts=False)
    yield scene
    scene.world.close(raise_failures=False)


def test_every_word_that_was_acknowledged_is_there_once(scene: Scene) -> None:
    """Copies meet in the log, nodes crash, snapshots are taken, sessions give way: what was told is what happened."""
    scene.run()
    assert scene.clients.waiting == []
    scene.clients.check_end()
    assert scene.clients.told["acknowledged"] > 20
    assert repeated(scene.cluster.checkers.committed) > 0
    assert (scene.clients.told.get("SessionLost", 0) > 0) == scene.clients.evicts


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value + value[-5:], "a word twice"),
        (lambda value: value[5:], "lacks"),
        (lambda value: value + b"99999", "which were not applied"),
    ],
)
def test_a_value_that_is_off_is_noticed(roomy: Scene, change: object, words: str) -> None:
    """A word too many, too few, or one that its client was told was not applied (G7, G19)."""
    roomy.run(5.0)
    assert callable(change)
    roomy.put("n2", change(roomy.store("n2")[b"once0"]))
    with pytest.raises(SafetyViolation, match=f"once0: n2 .*{words}"):
        roomy.clients.check_end()


def test_a_session_that_is_gone_is_noticed_where_there_is_room(roomy: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody closed it and nothing had to make room (G9)."""
    monkeypatch.setattr(Sessions, "find", lambda _self, _id: None)
    roomy.clients.start()
    with pytest.raises(SafetyViolation, match=r"session \d+ is gone"):
        roomy.world.run_for(6.0)


def test_decisions_are_those_of_the_client(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever `Call` decides is done: here it never tries twice (G19)."""

    def refuse(_self: object, outcome: Outcome, _error: Exception, _now: float) -> float:
        raise SessionLost(outcome.value, may_have_been_applied=True)

    monkeypatch.setattr("raftline.sim.once_clients.Call.on_failure", refuse)
    if scene.clients.evicts:
        scene.run(5.0)
        assert scene.clients.told["SessionLost"] > 0
        scene.clients.check_end()
    else:
        with pytest.raises(SafetyViolation, match="nothing had to make room"):
            scene.run(60.0)
