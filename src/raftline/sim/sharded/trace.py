"""The trace of a sharded run: a column per group with who leads it and what it has taken, a line per transition.

3.214509 | 0 c2    | 1 g1n3 #4 | 2 -    #3 | g1n3 log      87 TAKE: configuration 4, ...
 ^ time     ^ group, its leader, the configuration it has taken    ^ where, what happened
"""

import hashlib

from raftline.core.ids import GroupId, NodeId
from raftline.sim.loop import SimLoop
from raftline.sim.sharded.ownership import WatchedShard
from raftline.sim.sharded.ways import Ways

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
        self._ways: Ways | None = None

    def watch(self, ways: Ways) -> None:
        """Take the columns from these groups."""
        self._ways = ways

    def note(self, group: GroupId, node: NodeId, what: str, detail: str) -> None:
        """Add a line about a group, and one of its nodes if it is about one."""
        line = f"{self._world.now:11.6f} {group:>2} {node:<5} {what:<16} {detail}".rstrip()
        self._hash.update(line.encode() + b"\n")
        if self._keep and len(self.lines) < self._lines_max:
            ways = self._ways
            columns = " | ".join(_column(ways, group) for group in ways.group_ids) if ways is not None else ""
            self.lines.append(f"{line[:11]} | {columns} | {line[12:]}")

    def digest(self) -> str:
        """Return the hash of everything noted so far."""
        return self._hash.hexdigest()


def _column(ways: Ways, group: GroupId) -> str:
    leader, number = "-", 0
    for copy in ways.copies(group):
        if copy.is_leader:
            leader = copy.name
        if isinstance(copy.machine, WatchedShard):
            number = max(number, copy.machine.holdings.configuration.number)
    return f"{group} {leader:<5}" + (f" #{number:<3}" if group else "")
