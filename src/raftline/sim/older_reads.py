"""Readers that ask for less than the newest state: bounded and stale reads, held against what each of them promises.

A stale read sees a state that was committed and, on one node that goes on running, never an earlier one than before. A
bounded read sees all that a leader said to be committed when it was last heard, at most so long ago; nodes' clocks may
drift, so the bound is taken by the slowest one allowed. What the state is at an index other checks know.
"""

from collections import Counter, deque
from random import Random

from raftline.core.ids import Index, NodeId
from raftline.core.messages import AppendRequest, Message
from raftline.errors import RaftlineError, SafetyViolation
from raftline.runtime.requests import Consistency
from raftline.sim.cluster import Member, SimCluster

__all__ = ["OlderReads"]

_PAUSE_S_MAX = 0.15
_BOUND_S_MAX = 1.0
_RATES = (0.85, 1.15)
"""Clocks that go slower or faster are not what a bound is made for."""
_SLACK_S = 0.005
_HEARD_KEPT = 4000


class OlderReads:
    """Reads of both kinds, on any node, as long as the run goes.

    Invariant: `_heard` holds what leaders told each machine, in the order in which it arrived.
    """

    def __init__(self, cluster: SimCluster, random: Random) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._world = cluster.world
        self._random = random.random
        self._stopping = False
        self._heard: dict[NodeId, deque[tuple[float, Index]]] = {}
        self._seen: dict[tuple[NodeId, int], Index] = {}

    def start(self) -> None:
        """Begin to read."""
        self._world.call_later(self._random(), self._go_on)

    def stop(self) -> None:
        """Read nothing more."""
        self._stopping = True

    def on_delivered(self, target: NodeId, message: Message) -> None:
        """Note what a leader says to be committed."""
        if type(message) is AppendRequest:
            heard = self._heard.setdefault(target, deque(maxlen=_HEARD_KEPT))
            heard.append((self._world.now, message.commit))

    def _go_on(self) -> None:
        if self._stopping:
            return
        self._world.call_later(_PAUSE_S_MAX * self._random(), self._go_on)
        ready = self._cluster.ready()
        place, kind, bound_s = self._random(), self._random(), _BOUND_S_MAX * self._random()
        if ready:
            consistency: Consistency = "stale" if kind < 0.4 else "bounded"
            self._ask(ready[int(place * len(ready))], consistency, bound_s)

    def _ask(self, member: Member, consistency: Consistency, bound_s: float) -> None:
        loop, node, incarnation = member.loop, member.node, member.incarnation
        if loop is None or node is None:
            return

        def done(error: Exception | None) -> None:
            if error is None:
                self.counts[f"{consistency} reads"] += 1
                self._check(member, incarnation, consistency, bound_s)
            elif isinstance(error, RaftlineError):
                self.counts[f"{consistency} reads refused"] += 1
            else:
                raise error

        def ask() -> None:
            if member.incarnation == incarnation and member.ready:
                node.submit_read(done, consistency, bound_s)

        loop.call_soon(ask)

    def _check(self, member: Member, incarnation: int, consistency: Consistency, bound_s: float) -> None:
        """Hold an answer, at the moment at which the state may be read, against what was promised."""
        node = member.node
        if node is None or member.incarnation != incarnation:
            return
        status = node.status()
        applied, committed = status.applied_index, len(self._cluster.checkers.committed)
        if applied > committed:
            raise SafetyViolation(f"{member.name}: a {consistency} read sees {applied}, {committed} is committed (G3)")
        before = self._seen.get((member.name, incarnation), 0)
        if applied < before:
            raise SafetyViolation(
                f"{member.name}: a {consistency} read sees {applied}, one before it saw {before} (G3)"
            )
        self._seen[member.name, incarnation] = applied
        if consistency == "bounded" and not node.is_leader:
            self._check_bound(member, applied, bound_s)

    def _check_bound(self, member: Member, applied: Index, bound_s: float) -> None:
        """Something that a leader said within the bound is applied, with all that it said was committed."""
        loop = member.loop
        since = self._world.now - bound_s / _RATES[0] - _SLACK_S
        if loop is None or not _RATES[0] <= loop.rate <= _RATES[1] or max(loop.rate_since_s, loop.resumed_s) > since:
            return
        said = [commit for at, commit in self._heard.get(member.name, ()) if at >= since]
        if not said:
            raise SafetyViolation(
                f"{member.name}: a read bounded by {bound_s:.3f} s, and no leader was heard since (G3)"
            )
        if applied < min(said):
            raise SafetyViolation(
                f"{member.name}: a read bounded by {bound_s:.3f} s sees {applied}, all leaders heard since then had "
                f"{min(said)} committed (G3)"
            )
