"""Whether a learner has caught up: replication in rounds, the last of them short (thesis 4.2.1).

A round brings the learner to where the leader's log ended when the round began. Who needs less than an election
timeout for one will not keep a commit waiting as a voter.
"""

from raftline.core.ids import Index

__all__ = ["CatchUp"]


class CatchUp:
    """The rounds of one learner.

    Invariant: `is_caught_up` tells of the last round that ended, unless the present one takes too long already.
    """

    __slots__ = ("_began_at", "_target", "is_caught_up")

    def __init__(self, last_index: Index, now: float) -> None:
        self._target = last_index
        self._began_at = now
        self.is_caught_up = False

    def observe(self, match_index: Index, last_index: Index, now: float, timeout_s: float) -> None:
        """Note how far the learner is, and begin the next round if this one is over."""
        in_time = now - self._began_at < timeout_s
        if match_index >= self._target:
            self.is_caught_up = in_time
            self._target = last_index
            self._began_at = now
        elif not in_time:
            self.is_caught_up = False
