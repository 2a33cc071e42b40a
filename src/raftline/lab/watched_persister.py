"""The persister that servers under test get: it sees what a correct server never saves.

It knows when its server was killed and what it held before; whoever made it hears of what is wrong.
"""

from collections.abc import Callable

from raftline.lab.persister import Persister

__all__ = ["KILL_GRACE_S", "WatchedPersister"]

KILL_GRACE_S = 1.0
"""How long loops of a killed server may take to notice."""


class WatchedPersister(Persister):
    """A persister that complains about what a correct server never saves."""

    __slots__ = ("_complain", "grace_s", "killed_at", "now", "saves_of_nothing")

    def __init__(
        self, raft_state: bytes, snapshot: bytes, now: Callable[[], float], complain: Callable[[str, str], None]
    ) -> None:
        super().__init__(raft_state, snapshot)
        self.now = now
        self._complain = complain
        self.killed_at: float | None = None
        self.grace_s = KILL_GRACE_S
        self.saves_of_nothing = 0
        """How often the same was saved again."""

    def save(self, raft_state: bytes, snapshot: bytes) -> None:
        """Replace both, as one."""
        if self.killed_at is not None:
            if self.now() >= self.killed_at + self.grace_s:
                self._complain("killed", "saved its state after it was killed")
            return
        if self._snapshot and not snapshot:
            self._complain("saved snapshot", f"saved its state without the snapshot of {len(self._snapshot)} bytes")
        if (raft_state, snapshot) == (self._raft_state, self._snapshot):
            self.saves_of_nothing += 1
        super().save(raft_state, snapshot)
