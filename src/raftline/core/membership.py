"""Who is in the group: a value, never a mutable list.

A `Membership` takes effect when the entry that carries it is appended (§6), so every question about quorums is a
pure function over one of these. It refuses to know how a change comes about (see `changes`).
"""

from collections.abc import Iterable

import msgspec

from raftline.core.ids import NodeId

__all__ = ["Membership"]


class Membership(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Voters, the outgoing voters of a joint configuration, learners and everybody's address.

    Invariants: tuples are sorted and free of duplicates; `outgoing` is empty outside a joint change; a learner
    votes in neither half; `addresses` names every member once; `promoting` names learners; outside a joint change
    `wanted` names voters and learners.
    """

    voters: tuple[NodeId, ...] = ()
    outgoing: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    addresses: tuple[tuple[NodeId, str], ...] = ()
    promoting: tuple[NodeId, ...] = ()
    """Learners that become voters by themselves, each as soon as it has caught up (thesis 4.2.1)."""
    wanted: tuple[NodeId, ...] = ()
    """The voters of a replacement that waits for the learners among them to catch up; empty: none waits."""
    priorities: tuple[tuple[NodeId, int], ...] = ()
    """Who leads by preference: the highest; 0 where none is named."""

    @staticmethod
    def of(addresses: dict[NodeId, str]) -> "Membership":
        """Return the membership in which every node of `addresses` (id → `host:port@busport`) votes."""
        names = tuple(sorted(addresses))
        return Membership(voters=names, addresses=tuple((name, addresses[name]) for name in names))

    @property
    def is_joint(self) -> bool:
        """Say whether two majorities are needed at the moment (§6)."""
        return bool(self.outgoing)

    def everyone(self) -> tuple[NodeId, ...]:
        """Return every member once, sorted."""
        return tuple(sorted({*self.voters, *self.outgoing, *self.learners}))

    def is_voter(self, node: NodeId) -> bool:
        """Say whether `node` votes in either half."""
        return node in self.voters or node in self.outgoing

    def is_member(self, node: NodeId) -> bool:
        """Say whether `node` takes part in any way."""
        return self.is_voter(node) or node in self.learners

    def address_of(self, node: NodeId) -> str | None:
        """Return the address of `node`, or None for a stranger."""
        for name, address in self.addresses:
            if name == node:
                return address
        return None

    def priority_of(self, node: NodeId) -> int:
        """Return how much `node` is preferred as leader."""
        for name, priority in self.priorities:
            if name == node:
                return priority
        return 0

    def problem(self) -> str | None:
        """Return which invariant is broken, in words; None if none is."""
        groups = {name: getattr(self, name) for name in ("voters", "outgoing", "learners", "promoting", "wanted")}
        groups["addresses"] = [node for node, _ in self.addresses]
        groups["priorities"] = [node for node, _ in self.priorities]
        for name, nodes in groups.items():
            if not _is_sorted_once(nodes):
                return f"{name} are not sorted and unique: {nodes}"
        if any(self.is_voter(learner) for learner in self.learners):
            return f"a learner votes: {self.learners}"
        if not set(self.promoting) <= set(self.learners):
            return f"somebody is to be promoted who is no learner: {self.promoting}"
        if self.outgoing and self.wanted:
            return "a replacement waits during a joint change"
        if not set(self.wanted) <= {*self.voters, *self.learners}:
            return f"a replacement waits for somebody who is no member: {self.wanted}"
        return None


def _is_sorted_once(names: Iterable[NodeId]) -> bool:
    names = list(names)
    return names == sorted(set(names))
