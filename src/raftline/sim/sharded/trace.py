"""The trace of a sharded run: a column per group with who leads it and what it has taken, a line per transition.

3.214509 | 0 c2    | 1 g1n3 #4 | 2 -    #3 | g1n3 log      87 TAKE: configuration 4, ...
 ^ time     ^ group, its leader, the configuration it has taken    ^ where, what happened
"""

import hashlib
from collections.abc import Mapping

from raftline.core.ids import GroupId, NodeId
from raftline.sim.cluster import SimCluster
from raftline.sim.loop import SimLoop
from raftline.sim.sharded.ownership import WatchedShard

__all__ = ["ShardTrace"]


class ShardTrace:
    """Collects lines, or only their hash.

    Invariant: `digest` covers every line noted, in order.
    """

    def __init__(self, world: SimLoop, *, keep: bool, lines_max: int = 2_000_000) -> None:
        self.lines: list[str] = []
        self._world = world
        self._keep = keep
        self._lines_max = lines_max
        self._hash = hashlib.blake2b(digest_size=16)
        self._clusters: Mapping[GroupId, SimCluster] = {}

    def watch(self, clusters: Mapping[GroupId, SimCluster]) -> None:
        """Take the columns from these groups."""
        self._clusters = clusters

    def note(self, group: GroupId, node: NodeId, what: str, detail: str) -> None:
        """Add a line about a group, and one of its nodes if it is about one."""
        line = f"{self._world.now:11.6f} {group:>2} {node:<5} {what:<16} {detail}".rstrip()
        self._hash.update(line.encode() + b"\n")
        if self._keep and len(self.lines) < self._lines_max:
            columns = " | ".join(_column(group, cluster) for group, cluster in self._clusters.items())
            self.lines.append(f"{line[:11]} | {columns} | {line[12:]}")

    def digest(self) -> str:
        """Return the hash of everything noted so far."""
        return self._hash.hexdigest()


def _column(group: GroupId, cluster: SimCluster) -> str:
    leader, number = "-", 0
    for member in cluster.ready():
        if member.node is not None and member.node.is_leader:
            leader = member.name
        if isinstance(member.machine, WatchedShard):
            number = max(number, member.machine.holdings.configuration.number)
    return f"{group} {leader:<5}" + (f" #{number:<3}" if group else "")
