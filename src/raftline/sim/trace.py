"""The trace: one aligned line per transition, a column per node; the same seed gives the same bytes.

    12.034567 | n1 L 3 | n2 F 3 | n3 .   | n1      send     n1>n2 AppendRequest(...)
     ^ time     ^ role and term of each node           ^ what happened, where

Roles: F follower, P pre-candidate, C candidate, L leader; `.` down, `z` paused, `+` starting.
"""

import hashlib
from typing import TYPE_CHECKING

from raftline.core.state import Role

if TYPE_CHECKING:
    from raftline.sim.cluster import SimCluster

__all__ = ["Trace"]

_LETTER = {Role.FOLLOWER: "F", Role.PRE_CANDIDATE: "P", Role.CANDIDATE: "C", Role.LEADER: "L"}


class Trace:
    """Collects lines, or only their hash.

    Invariant: `digest` covers every line noted, in order.
    """

    def __init__(self, *, keep: bool, lines_max: int = 2_000_000) -> None:
        self.lines: list[str] = []
        self._keep = keep
        self._lines_max = lines_max
        self._hash = hashlib.blake2b(digest_size=16)
        self._cluster: SimCluster | None = None

    def watch(self, cluster: "SimCluster") -> None:
        """Take the columns from this cluster."""
        self._cluster = cluster

    def note(self, node: str, what: str, detail: str) -> None:
        """Add a line."""
        assert self._cluster is not None, "watching"
        columns = " | ".join(self._column(member) for member in self._cluster.everybody.values())
        line = f"{self._cluster.world.now:11.6f} | {columns} | {node:<3} {what:<16} {detail}".rstrip()
        self._hash.update(line.encode() + b"\n")
        if self._keep and len(self.lines) < self._lines_max:
            self.lines.append(line)

    def digest(self) -> str:
        """Return the hash of everything noted so far."""
        return self._hash.hexdigest()

    @staticmethod
    def _column(member: object) -> str:
        name, node, loop = member.name, member.node, member.loop  # type: ignore[attr-defined]
        if loop is None or not loop.alive:
            return f"{name} .    "
        if loop.paused:
            return f"{name} z    "
        if node is None or not member.ready:  # type: ignore[attr-defined]
            return f"{name} +    "
        core = node._group.replica.core  # noqa: SLF001  the simulator looks inside
        return f"{name} {_LETTER[core.role]} {core.term:<3}"
