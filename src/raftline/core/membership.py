"""Who is in the group: a value, never a mutable list.

A `Membership` takes effect when the entry that carries it is appended (§6), so every question about quorums is a
pure function over one of these. It refuses to know how a change comes about.
"""

import msgspec

from raftline.core.ids import NodeId

__all__ = ["Membership"]


class Membership(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Voters, the outgoing voters of a joint configuration, learners and everybody's address.

    Invariants: tuples are sorted and free of duplicates; `outgoing` is empty outside a joint change; a learner
    votes in neither half; `addresses` names every member once.
    """

    voters: tuple[NodeId, ...] = ()
    outgoing: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    addresses: tuple[tuple[NodeId, str], ...] = ()

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

    def address_of(self, node: NodeId) -> str | None:
        """Return the address of `node`, or None for a stranger."""
        for name, address in self.addresses:
            if name == node:
                return address
        return None
