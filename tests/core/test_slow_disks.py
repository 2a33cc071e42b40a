"""A leader whose disk does not keep up: who leads instead, for how long, and what it costs to find out."""

from raftline.core.changes import SetPriority
from raftline.core.config import CoreConfig
from raftline.core.events import ChangeRequested, DiskBehind, Proposed, TransferRequested
from raftline.core.slow_disks import SlowDisks
from raftline.sim.core_cluster import CoreCluster, CoreNode

HANDOVER_S = 0.5


def _preferred(size: int = 3) -> tuple[CoreCluster, CoreNode]:
    """Return a group whose leader is the preferred one."""
    cluster = CoreCluster(size, seed=1, config=CoreConfig(priority_handover_s=HANDOVER_S))
    cluster.start()
    assert cluster.run(10, lambda: bool(cluster.leaders()) and cluster.leaders()[0].core.has_settled)
    (leader,) = cluster.leaders()
    leader.step(ChangeRequested(1, SetPriority(leader.name, 1)))
    cluster.run(2 * HANDOVER_S)
    return cluster, leader


def _give_up(cluster: CoreCluster, old: CoreNode) -> None:
    """Let the disk of the preferred leader be slow for a moment."""
    cluster.run(2 * HANDOVER_S)
    old.slow_disk = True
    for event in (Proposed((b"x",)), DiskBehind()):
        old.step(event)
        while cluster.pool:
            cluster.deliver(cluster.pool[0])
    assert cluster.leaders()
    assert not old.core.is_leader
    old.slow_disk = False


def _away_s(cluster: CoreCluster, old: CoreNode) -> float:
    """Let it be slow, and return how long somebody else leads."""
    _give_up(cluster, old)
    began = cluster.now
    assert cluster.run(10_000 * HANDOVER_S, lambda: old.core.is_leader), "it is preferred still"
    return cluster.now - began


def test_a_preferred_leader_with_a_slow_disk_comes_back_later_each_time() -> None:
    """Else the leadership would go to and fro for ever, and each time nothing is taken for a moment (B13)."""
    cluster, old = _preferred()
    away_s = [_away_s(cluster, old) for _ in range(3)]
    assert away_s[0] >= 8 * HANDOVER_S
    assert away_s[1] >= 16 * HANDOVER_S
    assert 32 * HANDOVER_S <= away_s[2] < 40 * HANDOVER_S
    cluster.run(32 * 4 * HANDOVER_S)
    assert _away_s(cluster, old) < 16 * HANDOVER_S, "it was well for long"


def test_the_time_is_bounded() -> None:
    """A disk is mended some day, and nobody tells the others (B13)."""
    disks, now = SlowDisks(10.0), 0.0
    times_s: list[float] = []
    for _ in range(10):
        times_s.append(disks.on_own(now))
        now += times_s[-1] + 1.0
    assert times_s == [min(80.0 * 2**times, 80.0 * 64) for times in range(10)]


def test_a_successor_prefers_those_whose_disks_kept_up() -> None:
    """Whoever asks for another leader by no name does not get the one with the slow disk (B13)."""
    cluster, old = _preferred()
    _give_up(cluster, old)
    (new,) = cluster.leaders()
    cluster.run(HANDOVER_S)
    new.step(TransferRequested(7, None))
    cluster.settle()
    (newest,) = cluster.leaders()
    assert newest.name not in {old.name, new.name}


def test_a_successor_that_hands_over_passes_on_whose_disk_was_slow() -> None:
    """Else the leadership would return at once after a node in between was drained (B13)."""
    cluster, old = _preferred()
    began = cluster.now
    _give_up(cluster, old)
    (new,) = cluster.leaders()
    cluster.run(HANDOVER_S)
    new.step(TransferRequested(7, None))
    assert cluster.run(10_000 * HANDOVER_S, lambda: old.core.is_leader), "it is preferred still"
    assert cluster.now - began >= 8 * HANDOVER_S


def test_a_leader_does_not_ask_all_the_time_who_goes_on_without_its_disk() -> None:
    """Where a quorum needs it each question would be answered by that disk, and be followed by the next (B13)."""
    cluster, leader = _preferred(2)
    before, last = cluster.now, leader.state.log.last_index
    while cluster.now < before + 4 * HANDOVER_S:
        leader.step(DiskBehind())
        cluster.run(0.02)
        assert leader.state.persisted == leader.state.commit == leader.state.log.last_index
    assert 2 <= leader.state.log.last_index - last <= 5
