"""Two processes with one node id, as after a directory was copied: noticed by those whom both connect to.

Each of the two takes the other's place over and over. A connection that is replaced while it was alive a moment ago is
no half of a broken one; once can be chance, several times within a minute are two processes. It is only told: who of
the two is right is not for a peer to decide.
"""

from collections import deque
from collections.abc import Callable

from raftline.core.ids import NodeId

__all__ = ["Twins"]

_TIMES = 3
_WITHIN_S = 60.0


class Twins:
    """Who was replaced while alive, when, and by whom."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._replaced: dict[NodeId, deque[float]] = {}
        self._remotes: dict[NodeId, tuple[str, str]] = {}

    def on_replaced(self, node: NodeId, before: str, remote: str) -> str | None:
        """Note that a live connection of `node` gave way to another; return the words if there are two processes."""
        times = self._replaced.setdefault(node, deque(maxlen=_TIMES))
        times.append(self._now())
        self._remotes[node] = (before, remote)
        return self._words(node)

    def trouble(self) -> str | None:
        """Return the words about whoever has a twin now, None if nobody seems to."""
        for node in self._replaced:
            if words := self._words(node):
                return words
        return None

    def _words(self, node: NodeId) -> str | None:
        times = self._replaced[node]
        if len(times) < _TIMES or self._now() - times[0] > _WITHIN_S:
            return None
        before, remote = self._remotes[node]
        return (
            f"two processes call themselves {node}: they connect by turns, last from {before} and from {remote}; stop "
            "both, find out whose directory is a copy, and empty that one"
        )
