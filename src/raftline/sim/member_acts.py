"""What the nemesis does to the membership: leaders hand over, members are removed, come back, move and are replaced.

Each act is a request to some node, as an operator would send it, and may be refused, lost or overtaken by the faults
around it. After healing whoever is missing is added again until everybody votes: a cluster must always get there.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import Any

from raftline.core.changes import AddLearner, MembershipChange, Move, Remove, SetPriority
from raftline.core.ids import NodeId
from raftline.core.state import RaftState
from raftline.errors import RaftlineError
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.replacement import Replacement

__all__ = ["MemberActs"]

_LOOK_AGAIN_S = 0.4


class MemberActs:
    """Requests for changes and transfers, and what came of them.

    Invariant: once `restore` was called nobody is removed any more.
    """

    def __init__(self, cluster: SimCluster, counts: Counter[str]) -> None:
        self._cluster = cluster
        self._counts = counts
        self._open = 0
        """Requests without an answer."""
        self.replacement = Replacement(cluster, self._leader, self._change, self.is_asking, counts)

    def transfer(self, target: Member | None) -> str | None:
        """Ask the leader to hand over to `target`; return its name, None if it leads or nobody does."""
        leader = self._leader()
        if target is None or leader is None or leader is target or leader.node is None:
            return None
        self._ask(leader, leader.node.transfer_leadership(target.name), "transfers")
        return target.name

    def remove_for(self, target: Member | None, away_s: float) -> str | None:
        """Remove a voter, the leader too, and add it again after `away_s`; never below two that stay."""
        leader = self._leader()
        if target is None or leader is None or leader.node is None:
            return None
        voters = self._voters(leader)
        if target.name not in voters or len(voters) < 3 or self._is_somebody_moving(leader):
            return None
        self._change(leader, Remove(target.name))
        self._cluster.world.call_later(away_s, self._add, target.name)
        return target.name

    def set_priority(self, target: Member | None, priority: int) -> str | None:
        """Let a member be preferred as leader, or no longer."""
        leader = self._leader()
        if target is None or leader is None:
            return None
        self._change(leader, SetPriority(target.name, priority), "priorities")
        return target.name

    def all_but_one_are_level(self, one: Member) -> bool:
        """Say whether all are up and vote, and all but `one` hold what is committed, addresses included.

        They must be able to elect a leader without `one`: a blank voter that learns that somebody's log is not blank
        could have lost its disk, and votes for nobody before it has caught up (C14).
        """
        leader = self._leader()
        if leader is None or leader.node is None or not self.everybody_votes():
            return False
        if not all(_may_vote(member) for member in self._cluster.ready() if member is not one):
            return False
        state = _state_of(leader)
        return all(_has_stored(member, state) for member in self._cluster.ready() if member is not one)

    def may_move(self, target: Member) -> bool:
        """Say whether a voter can be unreachable for a while: enough others know where to find each other."""
        return len(self._cluster.members) > 2 and self.all_but_one_are_level(target)

    def move(self, target: Member) -> None:
        """Announce that a machine, which is down, answers at another address; again until that is known."""
        self._cluster.move(target.name)
        self._announce(target.name)

    def is_asking(self) -> bool:
        """Say whether a request is without an answer."""
        return self._open > 0

    def everybody_votes(self) -> bool:
        """Say whether all are up, and the leader of the latest term knows them, and no other, as voters that stay.

        A leader that stood still since before a change, and was deposed, knows them all.
        """
        leader, ready = self._leader(), self._cluster.ready()
        if leader is None or leader.node is None or self._open or self.replacement.under_way:
            return False
        if len(ready) < len(self._cluster.members):
            return False
        term = leader.node.status().term
        if any(member.node.status().term > term for member in ready if member.node is not None):
            return False
        members = leader.node.status().members
        if self._is_somebody_moving(leader):
            return False
        stay = [member.node_id for member in members if member.voter and not member.leaving]
        return sorted(stay) == sorted(self._cluster.members) and len(members) == len(stay)

    def _announce(self, name: NodeId) -> None:
        """Ask for the change of a member's address until a leader has it committed."""
        leader = self._leader()
        if leader is not None and leader.node is not None and name in self._cluster.members:
            status = leader.node.status()
            known = {member.node_id: member.address for member in status.members}
            wanted = self._cluster.addresses[name]
            if name in known and known[name] != wanted:
                self._change(leader, Move(name, wanted), "moves")
            elif status.membership_index <= status.commit_index:
                return
        self._cluster.world.call_later(_LOOK_AGAIN_S, self._announce, name)

    def restore(self) -> None:
        """Add whoever is missing, one after the other, and finish what was begun, until everybody votes."""
        self.replacement.hasten()
        if self.everybody_votes():
            return
        leader = self._leader()
        if leader is not None and leader.node is not None:
            known = {member.node_id for member in leader.node.status().members}
            missing = [name for name in self._cluster.members if name not in known]
            strangers = [name for name in known if name not in self._cluster.members]
            if strangers:
                self._change(leader, Remove(min(strangers)))
            elif missing:
                self._add(missing[0])
        self._cluster.world.call_later(_LOOK_AGAIN_S, self.restore)

    def _add(self, name: NodeId) -> None:
        leader = self._leader()
        if leader is not None and name in self._cluster.members and not self.replacement.is_going(name):
            self._change(leader, AddLearner(name, self._cluster.addresses[name]))

    def _change(self, leader: Member, change: MembershipChange, what: str = "changes") -> None:
        assert leader.node is not None, "it leads"
        self._ask(leader, leader.node.change_membership(change), what)

    def _ask(self, member: Member, request: Coroutine[Any, Any, object], what: str) -> None:
        assert member.loop is not None, "it is up"
        self._open += 1
        member.loop.spawn(request, name=what).add_done_callback(partial(self._on_answer, what))

    def _on_answer(self, what: str, outcome: "asyncio.Future[object]") -> None:
        """Count what came of a request; trouble is part of the game, anything else is a finding."""
        self._open -= 1
        if outcome.cancelled():
            return
        error = outcome.exception()
        if error is None:
            self._counts[f"{what} done"] += 1
        elif isinstance(error, RaftlineError):
            self._counts[f"{what} refused"] += 1
        else:
            raise error

    def _leader(self) -> Member | None:
        leading = [member for member in self._cluster.ready() if member.node is not None and member.node.is_leader]
        return max(leading, key=lambda member: member.node.status().term if member.node else 0, default=None)

    def _is_somebody_moving(self, leader: Member) -> bool:
        assert leader.node is not None, "it leads"
        addresses = self._cluster.addresses
        return any(member.address != addresses[member.node_id] for member in leader.node.status().members)

    @staticmethod
    def _voters(leader: Member) -> list[NodeId]:
        assert leader.node is not None, "it leads"
        return [member.node_id for member in leader.node.status().members if member.voter]


def _may_vote(member: Member) -> bool:
    return member.node is not None and _state_of(member).established


def _has_stored(member: Member, leader: RaftState) -> bool:
    """Say whether a node holds, on disk, all that its leader committed; that one may take note of it a little later."""
    assert member.node is not None, "it is up"
    state, index = _state_of(member), leader.commit
    if index <= state.log.base_index:
        return True
    is_stored = state.persisted >= index or not member.node.groups[0].driver.persistence.is_writing
    return is_stored and state.log.term_at(index) == leader.log.term_at(index)


def _state_of(member: Member) -> RaftState:
    assert member.node is not None, "it is up"
    return member.node.groups[0].driver.replica.core.state
