"""A survivor that is asked for votes by a majority of emptied disks says so, and names the way out (C14).

Something is committed, so a majority of the voters held it. If so many of them ask with empty logs that the others are
no majority any more, their disks were lost; no leader will be elected, and must not be. It only watches: whom the core
elects does not depend on it.
"""

import structlog

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import VoteRequest
from raftline.core.quorum import has_quorum
from raftline.core.state import NOBODY, RaftState

__all__ = ["LostMajority"]

_log = structlog.get_logger("raftline.group")
_WAY_OUT = "stop all nodes and make a cluster of this node's directory with `raftline recover`"
_NO_WAY_OUT = "so is what this group held there, and nobody serves it again"


class LostMajority:
    """Which voters asked with an empty log since a leader was last heard."""

    __slots__ = ("_emptied", "_group", "_state")

    def __init__(self, group: GroupId, state: RaftState) -> None:
        self._group = group
        self._state = state
        self._emptied = NOBODY

    def note(self, candidate: NodeId, request: VoteRequest) -> None:
        """Look at what a candidate says of its log; tell the log when that makes a majority of empty disks."""
        was = self.words()
        if request.last_index:
            self._emptied = self._emptied - {candidate} or NOBODY
        else:
            self._emptied |= {candidate}
        words = self.words()
        if words is not None and was is None:
            _log.error("majority lost", node=self._state.me, group=self._group, trouble=words)

    def forget(self) -> None:
        """A leader was heard, or this node leads: there is a majority."""
        self._emptied = NOBODY

    def words(self) -> str | None:
        """Return what is wrong and what to do; None if a leader may come by itself."""
        state = self._state
        if not self._emptied or state.leader is not None or not (state.commit or state.history):
            return None
        membership = state.membership
        emptied = [node for node in membership.everyone() if node in self._emptied]
        others = [node for node in membership.everyone() if node not in self._emptied]
        if has_quorum(membership, others):
            return None
        way_out = _NO_WAY_OUT if self._group else _WAY_OUT
        return (
            f"no leader can be elected: {' and '.join(emptied)} came with empty disks, and {' and '.join(others)} "
            f"alone is no majority. Start them with their own disks; if those are lost for good, {way_out}"
        )
