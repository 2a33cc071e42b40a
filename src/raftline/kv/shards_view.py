"""What people see of a sharded cluster, and what they can have done to it: for commands, command line and code alike.

A report is what one node knows; of groups that it does not host it knows where they are and no more.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from raftline.core.ids import GroupId, NodeId
from raftline.errors import ChangeRefused, ConfigError
from raftline.kv.sharded.requests import Request
from raftline.shards.configuration import Configuration, Place, numbered

__all__ = ["GroupReport", "NodeReport", "ShardReport", "ShardsAdmin", "decode_report", "why_not_removed"]


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the cluster."""

    node_id: NodeId
    address: str
    """`host:port@busport`."""
    up: bool
    replicas: int
    """Groups of which it is to hold one, those that are leaving included."""
    first_of: int
    """Groups that it is meant to lead."""


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    """One group as the node sees it that reports; what it holds only if it is hosted there."""

    group: GroupId
    nodes: tuple[NodeId, ...]
    leader: NodeId | None
    slots: int
    """By the newest configuration."""
    leaving: bool = False
    """It is in no configuration any more, and is being emptied."""
    hosted: bool = False
    configuration: int = 0
    """The one that the group has come to."""
    arriving: int = 0
    """Slots that are still to come."""
    giving: int = 0
    """Slots that are still to go."""
    keys: int = 0
    used_bytes: int = 0
    members: tuple[NodeId, ...] = ()
    """Who votes, as far as the replica knows."""
    term: int = 0
    commit_index: int = 0
    applied_index: int = 0
    """As far as the replica has come."""
    apply_errors: int = 0
    """Commands whose execution raised, since the node hosts it."""
    change: str | None = None
    """The change of its members under way, in words."""

    def is_settled_at(self, number: int) -> bool:
        """Say whether configuration `number` is carried out, as far as this group is concerned."""
        return self.hosted and self.configuration >= number and not (self.arriving or self.giving)


class ShardReport(msgspec.Struct, frozen=True, kw_only=True):
    """The sharded cluster as one node sees it."""

    node_id: NodeId
    configuration: Configuration
    last_group: GroupId
    """The highest id that a group ever had."""
    replicas: int
    """How many a new group gets."""
    nodes: tuple[NodeReport, ...]
    groups: tuple[GroupReport, ...]

    @property
    def leaving(self) -> dict[GroupId, tuple[NodeId, ...]]:
        """Return the groups that left and still hold something, with their nodes."""
        return {group.group: group.nodes for group in self.groups if group.leaving}

    def check_known(self, names: Sequence[NodeId]) -> None:
        """Raise `ConfigError` for a name that no node of the cluster has, and for one that is given twice."""
        known = [node.node_id for node in self.nodes]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ConfigError(f"{name[:80]!r} is named twice: a group has one replica on a node")
            if name not in known:
                raise ConfigError(f"{name[:80]!r} is no node of this cluster; there are {', '.join(known)}")

    def check_founders(self, names: Sequence[NodeId]) -> None:
        """Raise `ConfigError` for what is no node, `ChangeRefused` for one that is down: new groups begin here."""
        self.check_known(names)
        down = [node.node_id for node in self.nodes if not node.up and node.node_id in names]
        if down:
            raise ChangeRefused(f"{', '.join(down)}: down, so a group there might never begin; name nodes that are up")

    def founders(self) -> tuple[NodeId, ...]:
        """Return the nodes for new groups, those that are up; raise `ChangeRefused` if others are needed, and down."""
        up = [each.node_id for each in self.nodes if each.up]
        down = [each.node_id for each in self.nodes if not each.up]
        if down and len(up) < self.replicas:
            raise ChangeRefused(
                f"{', '.join(down)}: down, so a new group would have {len(up)} replicas, not {self.replicas}; start "
                f"it, or name the nodes: ON {' '.join(up)} (--on {','.join(up)})"
            )
        return tuple(up)

    def check_place(self, place: Place) -> None:
        """Raise `ConfigError` for what is no node, `ChangeRefused` for one that is down and is to get a replica.

        One that has a replica of the group already may be down, and stay.
        """
        self.check_known(place.nodes)
        held = next((group.nodes for group in self.groups if group.group == place.group), ())
        down = [node.node_id for node in self.nodes if not node.up and node.node_id in set(place.nodes) - set(held)]
        if down:
            raise ChangeRefused(
                f"{', '.join(down)}: down, so group {place.group} might stop until that is back; name nodes that are up"
            )

    def address_of(self, node: NodeId) -> str:
        """Return where a node serves clients, `host:port`; empty for one that is not there."""
        return next((each.address.partition("@")[0] for each in self.nodes if each.node_id == node), "")


decode_report = msgspec.json.Decoder(ShardReport).decode
"""Read what RAFTLINE.SHARD STATUS answers; raises `msgspec.MsgspecError`."""


class ShardsAdmin(Protocol):
    """What RAFTLINE.SHARD asks of the node."""

    def report(self) -> ShardReport:
        """Return what this node knows."""

    def adding(self, count: int, nodes: tuple[NodeId, ...] = ()) -> Request:
        """Return the request for so many new groups, on `nodes` if any are named, which are founders as reported."""

    async def change(self, request: Request) -> bytes:
        """Have the controller make a change; return its RESP3 reply. Raises what a proposal raises."""

    async def replace_node(self, gone: NodeId) -> list[bytes]:
        """Have a node's replicas made anew elsewhere; return the reply for each group that it held."""


def why_not_removed(node: NodeId, groups: Iterable[tuple[GroupId, Sequence[NodeId]]]) -> str | None:
    """Return, in words, why a node that is to hold some of `groups` has to stay a member; None if it holds none."""
    held = [group for group, nodes in groups if node in nodes]
    if not held:
        return None
    return (
        f"{node} holds replicas of {numbered(held)}: first have them elsewhere by `raftline shard replace-node "
        f"{node}`, or by `raftline shard place` with fewer nodes where no other one has room"
    )
