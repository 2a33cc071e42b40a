"""From the members that a group has to those that a configuration wants: one change at a time, each safe by itself.

Reads a replica's state and nothing else. Whoever leads works it out anew, so nothing is lost with a leader.
"""

from collections.abc import Mapping, Sequence

from raftline.core.changes import MembershipChange, Move, Remove, Replace, SetPriority
from raftline.core.ids import NodeId
from raftline.core.membership import Membership
from raftline.core.state import RaftState, Role

__all__ = ["has_joined", "is_out", "next_change"]


def next_change(state: RaftState, nodes: Sequence[NodeId], addresses: Mapping[NodeId, str]) -> MembershipChange | None:
    """Return what brings the members of a group nearer to `nodes`, the first of which should lead; None if nothing.

    Nothing is to be done, either, while a change is under way, or as long as an address is missing.
    """
    membership = state.membership
    is_settled = not membership.is_joint and state.configuration.index <= state.commit
    if not nodes or not is_settled or any(node not in addresses for node in nodes):
        return None
    if set(membership.voters) != set(nodes):
        if set(membership.wanted) == set(nodes):
            return None  # it waits for somebody to catch up
        return Replace.by({node: addresses[node] for node in nodes})
    return _detail(membership, nodes, addresses)


def _detail(
    membership: Membership, nodes: Sequence[NodeId], addresses: Mapping[NodeId, str]
) -> MembershipChange | None:
    """Return what is not yet right although the right ones vote."""
    for node in membership.everyone():
        if node not in nodes:
            return Remove(node)
        if membership.address_of(node) != addresses[node]:
            return Move(node, addresses[node])
    for node in nodes:
        priority = int(node == nodes[0])
        if membership.priority_of(node) != priority:
            return SetPriority(node, priority)
    return None


def has_joined(state: RaftState) -> bool:
    """Say whether a replica that knew nothing has become a member.

    It goes through all of the group's log, maybe with an earlier part of its node in it: what it reads of itself there
    counts once a leader has left it nothing to be done.
    """
    return state.membership.is_member(state.me) and (state.role is Role.LEADER or state.level_at > float("-inf"))


def is_out(state: RaftState, told: str | None) -> bool:
    """Say whether a replica belongs to no group: nobody added it yet, or it was removed.

    That it was removed is certain by a committed entry, or by the word of a member (`told`), which is of one.
    """
    return bool(told) or not state.membership.voters or state.is_out
