"""A scene of a group that sleeps for long and is woken: who was silent because all slept is not blamed for it (A30)."""

from random import Random

from raftline.core.config import CoreConfig
from raftline.core.events import TransferRequested, Woken
from raftline.errors import SafetyViolation
from raftline.sim.core_cluster import CoreCluster

__all__ = ["woken_leader"]


def woken_leader(seed: int) -> None:
    """A leader wakes while answers take long, and leads on; another is asked to hand over at once, and does."""
    chance = Random(seed)  # noqa: S311  reproducible on purpose
    cluster = CoreCluster(3, config=CoreConfig(quiesce_after_s=0.2), seed=seed)
    cluster.start()
    _sleep(cluster, chance)
    leader = cluster.leaders()[-1]
    leader.step(Woken())
    cluster.advance(cluster.now + 0.9 * leader.state.config.election_timeout_s[1])
    if not leader.core.is_leader:
        raise SafetyViolation(f"{leader.name} steps down as soon as it wakes (A30)")
    _sleep(cluster, chance)
    leader.step(TransferRequested(1))
    if not cluster.run(2.0, lambda: cluster.leaders() not in ([], [leader])):
        raise SafetyViolation(f"{leader.name} was asleep, and hands over to nobody (A30)")


def _sleep(cluster: CoreCluster, chance: Random) -> None:
    """Let the group fall asleep, and sleep for long."""
    if not cluster.run(10.0, lambda: all(node.core.is_asleep for node in cluster.up())):
        raise SafetyViolation("a group in which nothing happens does not fall asleep (A30)")
    cluster.now += 10.0 + 100.0 * chance.random()
