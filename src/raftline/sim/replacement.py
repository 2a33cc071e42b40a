"""Replaces every machine of a cluster by a new one, one after the other, as an operator does it.

A new node with an empty disk waits to be added, becomes a learner, catches up and votes; then the old one is removed,
perhaps the leader, and once that is committed it is switched off for good with its disk. Whatever is refused or lost on
the way is asked for again; after healing the replacement goes on until no machine of the first ones is left.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence

from raftline.core.changes import AddLearner, MembershipChange, Promote, Remove
from raftline.core.ids import NodeId
from raftline.runtime.status import Status
from raftline.sim.acts import Act
from raftline.sim.cluster import Member, SimCluster

__all__ = ["Replacement"]

_PAUSE_S_MIN = 0.02


class Replacement:
    """One replacement of all machines.

    Invariant: a machine is switched off only when a membership without it is committed.
    """

    def __init__(
        self,
        cluster: SimCluster,
        leader: Callable[[], Member | None],
        ask: Callable[[Member, MembershipChange], None],
        is_asking: Callable[[], bool],
        counts: Counter[str],
    ) -> None:
        """`ask` sends a change to a leader; `is_asking` says whether an answer to one is still to come."""
        self._cluster = cluster
        self._world = cluster.world
        self._leader = leader
        self._ask = ask
        self._is_asking = is_asking
        self._counts = counts
        self._left: deque[NodeId] = deque()
        self._pair: tuple[NodeId, NodeId] | None = None
        self._pause_s = _PAUSE_S_MIN
        self._linger_s = 0.0
        self._done = 0
        self._asked: tuple[NodeId, int, MembershipChange] | None = None
        self.on_joined: Callable[[Member, NodeId], None] = lambda _new, _old: None
        """Hears of each new machine, before it starts, and in whose place it comes."""
        self.on_gone: Callable[[NodeId, NodeId], None] = lambda _old, _new: None
        """Hears of each machine that was switched off, and which one has taken its place."""

    @property
    def under_way(self) -> bool:
        """Say whether machines are still to be replaced."""
        return self._pair is not None

    def is_going(self, name: NodeId) -> bool:
        """Say whether a machine is the one that is about to be removed."""
        return self._pair is not None and name == self._pair[0]

    def start(self, names: Sequence[NodeId], act: Act) -> str | None:
        """Replace these machines in this order; return them, None if a replacement is under way."""
        if self.under_way:
            return None
        self._left.extend(names)
        self._pause_s = max(_PAUSE_S_MIN, act.amount)
        self._linger_s = act.for_s
        self._next()
        return " ".join(names)

    def hasten(self) -> None:
        """Go on without waiting for anything but the cluster."""
        self._pause_s, self._linger_s = _PAUSE_S_MIN, 0.0

    def _next(self) -> None:
        """Bring the next new machine, if there is an old one left."""
        if not self._left:
            self._pair = None
            self._counts["replacements done"] += 1
            return
        old = self._left.popleft()
        new = self._cluster.join()
        self._pair = (old, new.name)
        self.on_joined(new, old)
        new.start()
        self._world.call_later(self._pause_s, self._look)

    def _look(self) -> None:
        """Do what comes next, going by what the leader says; look again a moment later."""
        assert self._pair is not None, "under way"
        leader = self._leader()
        if leader is not None and leader.node is not None:
            status = leader.node.status()
            if self._is_out(status):
                self._world.call_later(self._linger_s, self._switch_off)
                return
            change = self._change_needed(status)
            asked = None if change is None else (leader.name, status.term, change)
            if change is not None and not (asked == self._asked and self._is_asking()):
                self._asked = asked
                self._ask(leader, change)
        self._world.call_later(self._pause_s, self._look)

    def _change_needed(self, status: Status) -> MembershipChange | None:
        """Return the step to ask for; None while there is something to wait for. Every second learner is promoted."""
        assert self._pair is not None, "under way"
        old, new = self._pair
        known = {member.node_id: member for member in status.members}
        by_itself = self._done % 2 == 0
        if new not in known:
            return AddLearner(new, self._cluster.addresses[new], promote=by_itself)
        if not known[new].voter:
            is_due = not known[new].promoting and known[new].caught_up == ""
            return Promote(new) if is_due else None
        if old in known and not known[old].leaving:
            return Remove(old)
        return None

    def _is_out(self, status: Status) -> bool:
        """Say whether a membership without the old machine, and with the new one as a voter, is committed."""
        assert self._pair is not None, "under way"
        old, new = self._pair
        voters = {member.node_id for member in status.members if member.voter}
        known = {member.node_id for member in status.members}
        return status.membership_index <= status.commit_index and new in voters and old not in known

    def _switch_off(self) -> None:
        assert self._pair is not None, "under way"
        old, new = self._pair
        self._cluster.dismiss(old)
        self._counts["machines replaced"] += 1
        self._done += 1
        self.on_gone(old, new)
        self._next()
