"""Who can decide anything (§5.2, §6), worked out a second time: the checks must not believe the code they check."""

from collections.abc import Collection

from raftline.core.ids import NodeId
from raftline.core.membership import Membership

__all__ = ["can_decide"]


def can_decide(membership: Membership, nodes: Collection[NodeId]) -> bool:
    """Say whether more than half of the voters are among `nodes`, and of the outgoing voters, where there are any."""
    halves = [half for half in (membership.voters, membership.outgoing) if half]
    return bool(halves) and all(2 * len([node for node in half if node in nodes]) > len(half) for half in halves)
