"""Reads on leases in whole nodes, where it is worst: the leader is cut off, its clock slow, all others fast.

Readers ask every node all the time on the lease only, so that a leader that was deposed without knowing is asked too.
"""

import asyncio
from collections.abc import Iterable, Iterator

import msgspec
import pytest
import structlog

from raftline.core.config import CoreConfig
from raftline.core.ids import NodeId
from raftline.errors import RaftlineError
from raftline.replica.state_machine import StateMachine
from raftline.runtime.config import NodeConfig
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.loop import SimLoop

DRIFT_MAX = 0.25
SLOW, FAST = 0.9, 1.1
"""As far apart as is allowed, nearly: 1.1 is 1.22 times 0.9."""
_EVERY_S = 0.01
CUTS = 4


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


class _Counter(StateMachine):
    """Counts commands; a read of an earlier moment is a smaller number."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, _command: bytes, _index: int, _time_ms: int) -> bytes:
        self.count += 1
        return b"%d" % self.count

    def read(self, _query: bytes, _time_ms: int) -> bytes:
        return b"%d" % self.count

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % self.count]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.count = int(b"".join(chunks))


class _Stage:
    """A cluster, one writer and one reader per node, none of them ever waiting for an answer."""

    def __init__(self, seed: int, *, isolates_s: float) -> None:
        self.world = SimLoop(seed)
        self.isolates_s = isolates_s
        self.random = self.world.stream("leases")
        self.cluster = SimCluster(self.world, 3, config_of=self._config_of, make_machine=_Counter)
        self.acknowledged = 0
        self.cut_off: NodeId | None = None
        self.reads = 0
        self.reads_at_cut_off = 0
        self.stale: list[str] = []

    @staticmethod
    def _config_of(name: NodeId, members: dict[NodeId, str]) -> NodeConfig:
        core = CoreConfig(lease_reads=True, clock_drift_max=DRIFT_MAX, election_timeout_s=(0.4, 0.45))
        config = NodeConfig(node_id=name, members=members, data_dir="/data", request_timeout_s=1.0)
        return msgspec.structs.replace(config, core=core)

    def run(self, count: int) -> None:
        """Cut the leader off so many times, and let it come back."""
        self.cluster.start()
        self.world.run_for(3.0)
        self._ask()
        for _ in range(count):
            leader = next(member for member in self.cluster.ready() if member.node and member.node.is_leader)
            for member in self.cluster.members.values():
                self._set_rate(member, SLOW if member is leader else FAST)
            self.world.run_for(1.0 + 0.2 * self.random.random())
            self.cut_off = leader.name
            self.cluster.network.isolate(leader.name)
            self.world.run_for(self.isolates_s)
            self.cluster.network.heal()
            self.cut_off = None
            self.world.run_for(2.0)

    @staticmethod
    def _set_rate(member: Member, rate: float) -> None:
        assert member.loop is not None
        member.rate = rate
        member.clock.set_rate(rate)
        member.loop.set_rate(rate)

    def _ask(self) -> None:
        for member in self.cluster.ready():
            assert member.node is not None
            assert member.loop is not None
            written = member.loop.spawn(member.node.propose(b"+"))
            written.add_done_callback(self._on_written)
            expected, name = self.acknowledged, member.name
            read = member.loop.spawn(member.node.read(b"", consistency="lease"))
            read.add_done_callback(
                lambda outcome, name=name, expected=expected: self._on_read(name, expected, outcome)  # type: ignore[misc]
            )
        self.world.call_later(_EVERY_S, self._ask)

    def _on_written(self, outcome: "asyncio.Future[bytes]") -> None:
        if not _failed(outcome):
            self.acknowledged = max(self.acknowledged, int(outcome.result()))

    def _on_read(self, name: NodeId, expected: int, outcome: "asyncio.Future[bytes]") -> None:
        if _failed(outcome):
            return
        self.reads += 1
        self.reads_at_cut_off += name == self.cut_off
        if int(outcome.result()) < expected:
            self.stale.append(f"{name} read {outcome.result()!r} at {self.world.now}, {expected} was acknowledged")


def _failed(outcome: "asyncio.Future[bytes]") -> bool:
    error = outcome.exception()
    assert error is None or isinstance(error, RaftlineError), error
    return error is not None


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_no_read_on_a_lease_is_stale_while_clocks_drift_within_the_bound(seed: int) -> None:
    """Another leader is elected and answers writes while the old one is still asked (thesis 6.4.1, K2)."""
    stage = _Stage(seed, isolates_s=1.5)
    try:
        stage.run(CUTS)
    finally:
        stage.world.close(raise_failures=False)
    assert stage.stale == []
    assert stage.cluster.checkers.elections > CUTS, "each cut brought another leader"
    assert stage.reads > 1000
    assert stage.reads_at_cut_off > 50, "a leader that is cut off goes on reading while its lease lasts"
