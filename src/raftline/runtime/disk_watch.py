"""Does this node's disk keep up with what a replica takes? What it does not hold yet is bounded.

The followers commit without their leader's disk (thesis 10.2.1), so nobody who waits for an answer slows them down. A
leader whose disk is slow, or hangs, refuses what would be too much, and lets somebody lead whose disk keeps up. What a
follower takes is bounded by its leader's window.
"""

import structlog

from raftline.core.state import RaftState
from raftline.errors import Overloaded
from raftline.runtime.host import Host
from raftline.runtime.persistence import Persistence

__all__ = ["DiskWatch"]

_log = structlog.get_logger("raftline.group")
_TIMEOUTS = 10
"""A write that takes so many of the longest election timeouts is taken for one that hangs."""
_TOLD_AGAIN_S = 60.0


class DiskWatch:
    """How far the disk is behind, as one group sees it; it only looks, and tells the log at most once a minute."""

    __slots__ = ("_bytes_max", "_hangs_s", "_now", "_persistence", "_state", "_told_at", "_writer")

    def __init__(self, host: Host, state: RaftState, persistence: Persistence) -> None:
        self._state = state
        self._persistence = persistence
        self._writer = host.writer
        self._now = host.loop.time
        self._bytes_max = host.config.pending_bytes_max
        self._hangs_s = _TIMEOUTS * host.config.core.election_timeout_s[1]
        self._told_at = float("-inf")

    @property
    def is_full(self) -> bool:
        """Say whether so much waits for the disk, of all groups, that nothing may be added to it."""
        return self._writer.behind_bytes >= self._bytes_max

    @property
    def hangs(self) -> bool:
        """Say whether this group waits for a write that has been under way for very long."""
        if not self._persistence.is_overdue(self._now(), self._hangs_s):
            return False
        self._tell(f"a write has not ended for {self._hangs_s:g} s")
        return True

    def refusal(self) -> Overloaded:
        """Return what to tell whoever proposed something when it is full."""
        self._tell("nothing more is taken")
        return Overloaded(
            f"the disk of {self._state.me}, which leads, does not keep up: {self._writer.behind_bytes} bytes wait for "
            f"it, the limit is {self._bytes_max}: try again later"
        )

    def _tell(self, words: str) -> None:
        now = self._now()
        if now >= self._told_at + _TOLD_AGAIN_S:
            self._told_at = now
            waiting = self._writer.behind_bytes
            _log.warning("the disk does not keep up", node=self._state.me, trouble=words, waiting_bytes=waiting)
