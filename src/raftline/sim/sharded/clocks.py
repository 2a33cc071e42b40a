"""Wall clocks that are minutes or a day apart, and are set to something else now and then.

Who reads them is the leader of a group, for its own log: nothing else may depend on them (decisions 3 and 15).
"""

from collections import Counter
from collections.abc import Callable

from raftline.sim.clock import EPOCH_MS
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.sharded.ways import Ways

__all__ = ["Clocks"]

_SET_PER_S = 1.5


class Clocks:
    """Those of all machines."""

    def __init__(self, ways: Ways, counts: Counter[str]) -> None:
        self._world = ways.world
        self._clusters = list(ways.clusters.values())
        self._apart_ms = 1000.0 * ways.scenario.clocks_apart_s
        self._until_s = ways.scenario.safety_s
        self._counts = counts
        self._draw: Callable[[], float] = ways.world.stream("clocks").random

    def start(self) -> None:
        """Set every clock to something else, and some of them again and again."""
        if self._apart_ms <= 0:
            return
        for cluster in self._clusters:
            for member in cluster.members.values():
                self._set(member)
            self._wait(cluster)

    def _wait(self, cluster: SimCluster) -> None:
        at_s = self._world.now + 2.0 * self._draw() / _SET_PER_S
        if at_s < self._until_s:
            self._world.call_at(at_s, self._set_one, cluster)

    def _set_one(self, cluster: SimCluster) -> None:
        members = list(cluster.members.values())
        self._set(members[int(self._draw() * len(members))])
        self._wait(cluster)

    def _set(self, member: Member) -> None:
        """Set a clock to anything that is not further from the right time than it may be."""
        wanted_ms = EPOCH_MS + 1000.0 * self._world.now + self._apart_ms * (2.0 * self._draw() - 1.0)
        member.clock.jump(wanted_ms - member.clock.wall_ms())
        self._counts["clocks set"] += 1
