"""Where the time of a write goes: queue, append, fsync, replicate, commit, apply, measured by batch.

A leader follows one batch at a time through the log, from its arrival until it is applied, and takes up the next one
then; so the cost is a few clock readings per turn of the loop, whatever the load. Nothing is decided by these times.
"""

from collections.abc import Callable

from raftline.core.ids import Index, Term
from raftline.core.quorum import agreed
from raftline.core.state import RaftState, Role
from raftline.runtime.histogram import Histogram

__all__ = ["STAGES", "Stages"]

STAGES: dict[str, str] = {
    "queue": "from the arrival of a command until it is appended to the leader's log, or passed on to the leader",
    "append": "writing a batch to the log file",
    "fsync": "making that file durable",
    "replicate": "from the append until as many followers have it on disk as the leader needs besides itself",
    "commit": "from the append until the entry is committed: its own fsync and the followers' beside each other",
    "apply": "from the commit until the state machine has carried it out",
    "reply": "from the outcome until the reply is handed to the client's socket",
}
"""Stage → what it measures; `reply` is measured by the server, the others by the node."""


class Stages:
    """Histograms of one node, and the batch of one group that is being followed.

    Invariants: `_index` is 0 unless a batch is followed; each stage is written by one thread only.
    """

    __slots__ = (
        "_appended_at",
        "_clock",
        "_committed_at",
        "_count",
        "_index",
        "_is_replicated",
        "_queued_at",
        "_term",
        "append",
        "apply",
        "commit",
        "fsync",
        "queue",
        "replicate",
    )

    def __init__(self, clock: Callable[[], float], *, shared: "Stages | None" = None) -> None:
        """Measure with `clock`, into the histograms of `shared` if that is given: those of the whole node."""
        self._clock = clock
        self.queue: Histogram = Histogram() if shared is None else shared.queue
        self.append: Histogram = Histogram() if shared is None else shared.append
        self.fsync: Histogram = Histogram() if shared is None else shared.fsync
        self.replicate: Histogram = Histogram() if shared is None else shared.replicate
        self.commit: Histogram = Histogram() if shared is None else shared.commit
        self.apply: Histogram = Histogram() if shared is None else shared.apply
        self._queued_at: float | None = None
        self._index: Index = 0
        self._term: Term = 0
        self._count = 0
        self._appended_at = 0.0
        self._committed_at: float | None = None
        self._is_replicated = False

    def by_name(self) -> dict[str, Histogram]:
        """Return the stages that a node measures, in the order in which a write passes them."""
        return {name: getattr(self, name) for name in STAGES if name != "reply"}

    @property
    def is_following(self) -> bool:
        """Say whether there is a batch to look for."""
        return self._index != 0

    def on_queued(self) -> None:
        """Note that a command came while none waited."""
        self._queued_at = self._clock()

    def on_taken(self, count: int, *, remaining: int) -> float:
        """Note that `count` commands are appended or passed on now; return what time it is."""
        now = self._clock()
        if self._queued_at is not None:
            self.queue.observe(now - self._queued_at, count)
        self._queued_at = now if remaining else None
        return now

    def on_appended(self, state: RaftState, count: int, now: float) -> None:
        """Follow these entries, the last of the leader's log, unless a batch is being followed already."""
        if not self._index:
            self._index = state.log.last_index
            self._term = state.term
            self._count = count
            self._appended_at = now
            self._committed_at = None
            self._is_replicated = False

    def look(self, state: RaftState, applied: Index) -> None:
        """See how far the batch has come by now."""
        index = self._index
        if not index:
            return
        now = self._clock()
        if self._committed_at is None:
            if not self._is_replicated and _is_replicated(state, index):
                self._is_replicated = True
                self.replicate.observe(now - self._appended_at, self._count)
            if state.role is not Role.LEADER or state.term != self._term:
                self._index = 0  # what becomes of it is the next leader's affair
                return
            if state.commit < index:
                return
            self._committed_at = now
            self.commit.observe(now - self._appended_at, self._count)
        if applied >= index:
            self.apply.observe(now - self._committed_at, self._count)
            self._index = 0


def _is_replicated(state: RaftState, index: Index) -> bool:
    """Say whether the followers that this leader needs have the entry; never for a leader that needs none."""
    stored = {node: progress.match_index for node, progress in state.progress.items()}
    if not stored or max(stored.values()) < index:
        return False
    stored[state.me] = index
    return agreed(state.membership, stored) >= index
