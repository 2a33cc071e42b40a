"""Quorum arithmetic: pure functions over a membership (§5.2, §6, requirement A16).

A joint configuration needs a majority of both halves. Majorities are counted over everybody who is configured,
never over those who answered (A27).
"""

from collections.abc import Collection, Mapping

from raftline.core.ids import NodeId
from raftline.core.membership import Membership

__all__ = ["agreed", "has_quorum", "majority"]


def majority(size: int) -> int:
    """Return how many of `size` voters are more than half; nobody at all can never agree."""
    return size // 2 + 1


def has_quorum(membership: Membership, nodes: Collection[NodeId]) -> bool:
    """Say whether `nodes` hold a majority of the voters, and of the outgoing voters of a joint configuration."""
    return _is_majority(membership.voters, nodes) and (
        not membership.outgoing or _is_majority(membership.outgoing, nodes)
    )


def agreed(membership: Membership, values: Mapping[NodeId, int]) -> int:
    """Return the highest value that a quorum has reached; a voter without a value counts as 0."""
    value = _agreed_half(membership.voters, values)
    if membership.outgoing:
        value = min(value, _agreed_half(membership.outgoing, values))
    return value


def _is_majority(voters: tuple[NodeId, ...], nodes: Collection[NodeId]) -> bool:
    return sum(voter in nodes for voter in voters) >= majority(len(voters))


def _agreed_half(voters: tuple[NodeId, ...], values: Mapping[NodeId, int]) -> int:
    if not voters:
        return 0
    reached = sorted([values.get(voter, 0) for voter in voters], reverse=True)
    return reached[majority(len(voters)) - 1]
