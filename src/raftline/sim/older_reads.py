"""Readers that ask for less than the newest state: bounded and stale reads, held against what each of them promises.

A stale read sees a state that was committed and, on one node that goes on running, never an earlier one than before. A
bounded read sees all that anybody had committed so long ago, however long messages were on their way; nodes' clocks may
drift, so the bound is taken by the slowest one allowed. What the state is at an index other checks know.
"""

from collections import Counter, deque
from collections.abc import Callable
from random import Random

from raftline.core.ids import Index, NodeId
from raftline.core.messages import Message
from raftline.errors import RaftlineError, SafetyViolation
from raftline.runtime.requests import Consistency
from raftline.sim.cluster import Member, SimCluster

__all__ = ["OlderReads"]

_PAUSE_S_MAX = 0.15
_BOUND_S_MAX = 1.0
_RATES = (0.85, 1.15)
"""Clocks that go slower or faster are not what a bound is made for."""
_SLACK_S = 0.005
_KEPT = 4000
_ODD_S_MAX = 10.0
"""So long what a clock measured while it was odd may still be on its way."""


class OlderReads:
    """Reads of both kinds, on any node, as long as the run goes.

    Invariant: `_committed` holds when how much was seen to be committed; times and counts rise.
    """

    def __init__(self, cluster: SimCluster, random: Random, lull_left_s: Callable[[], float] = lambda: 0.0) -> None:
        """`lull_left_s` says for how long nobody is to ask anything."""
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._world = cluster.world
        self._random = random.random
        self._lull_left_s = lull_left_s
        self._stopping = False
        self._committed: deque[tuple[float, Index]] = deque([(self._world.now, 0)], maxlen=_KEPT)
        self._odd_at = float("-inf")
        self._seen: dict[tuple[NodeId, int], Index] = {}

    def start(self) -> None:
        """Begin to read."""
        self._world.call_later(self._random(), self._go_on)

    def stop(self) -> None:
        """Read nothing more."""
        self._stopping = True

    def on_delivered(self, _target: NodeId, _message: Message) -> None:
        """Note how much is committed."""
        committed = len(self._cluster.checkers.committed)
        if committed > self._committed[-1][1]:
            self._committed.append((self._world.now, committed))

    def _go_on(self) -> None:
        if self._stopping:
            return
        self._world.call_later(self._lull_left_s() + _PAUSE_S_MAX * self._random(), self._go_on)
        if any(not _is_fair(member) for member in self._cluster.members.values()):
            self._odd_at = self._world.now
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
        if applied > committed:  # it is committed in this very turn, if it is: the record is written behind it
            self._world.call_later(0.0, self._check_committed, member.name, consistency, applied)
        before = self._seen.get((member.name, incarnation), 0)
        if applied < before:
            raise SafetyViolation(
                f"{member.name}: a {consistency} read sees {applied}, one before it saw {before} (G3)"
            )
        self._seen[member.name, incarnation] = applied
        if consistency == "bounded":
            self._check_bound(member, applied, bound_s)

    def _check_committed(self, name: NodeId, consistency: Consistency, applied: Index) -> None:
        committed = len(self._cluster.checkers.committed)
        if applied > committed:
            raise SafetyViolation(f"{name}: a {consistency} read sees {applied}, {committed} is committed (G3)")

    def _check_bound(self, member: Member, applied: Index, bound_s: float) -> None:
        """Everything is applied that anybody had committed before the bound, whoever led, however long it travelled."""
        since = self._world.now - bound_s / _RATES[0] - _SLACK_S
        if not self._may_be_trusted(member, since):
            return
        self.counts["bounded reads checked"] += 1
        known = [(at, committed) for at, committed in self._committed if at <= since]
        if known and applied < known[-1][1]:
            at, committed = known[-1]
            raise SafetyViolation(
                f"{member.name}: a read bounded by {bound_s:.3f} s sees {applied}, {committed} was committed "
                f"{self._world.now - at:.3f} s ago (G3)"
            )

    def _may_be_trusted(self, member: Member, since: float) -> bool:
        """Say whether no clock was odd that an answer may rely on, and the answer is not from before a pause."""
        loop = member.loop
        if loop is None or loop.resumed_s > since or self._odd_at > since - _ODD_S_MAX:
            return False
        others = self._cluster.members.values()
        return all(_is_fair(other) and _rate_changed_s(other) <= since - _ODD_S_MAX for other in others)


def _is_fair(member: Member) -> bool:
    """Say whether a machine's clock is one that a bound is made for."""
    return _RATES[0] <= (member.rate if member.loop is None else member.loop.rate) <= _RATES[1]


def _rate_changed_s(member: Member) -> float:
    return float("-inf") if member.loop is None else member.loop.rate_changed_s
