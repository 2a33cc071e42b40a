"""The cluster as Redis Cluster describes itself: nodes, the slots that each leads, and replicas.

A node that leads any group is a master, with the slots of all groups that it leads. One that leads none stands as a
replica where it holds one: clients take a node for one or the other, never for both.
"""

from collections.abc import Iterable
from hashlib import sha1

from raftline.core.ids import GroupId, NodeId
from raftline.kv.resp.replies import array, bulk, integer, mapping
from raftline.kv.sharded.ports import Groups
from raftline.kv.sharded.router import Redirects
from raftline.shards.ranges import SLOT_COUNT, SlotRange
from raftline.transport.address import Address

__all__ = ["Topology", "id_of"]

_UNKNOWN = Address("", 0, 0)


def id_of(node: NodeId) -> str:
    """Return a node's name as clients know it: 40 hexadecimal digits, the same everywhere and always."""
    return sha1(b"raftline node " + node.encode(), usedforsecurity=False).hexdigest()


class Topology:
    """What one node says; a `ClusterView`."""

    def __init__(self, groups: Groups, redirects: Redirects) -> None:
        self._groups = groups
        self._redirects = redirects

    @property
    def wants_all_nodes_asked(self) -> bool:
        """Say so only where everybody is served like that: `COMMAND` tells it to libraries."""
        return self._redirects == "always"

    def my_id(self) -> str:
        """Return who this node is."""
        return id_of(self._groups.node_id)

    def slots(self) -> bytes:
        """Return the reply to CLUSTER SLOTS."""
        leaders = self._leaders()
        idle = self._idle(leaders)
        groups = dict(self._groups.configuration.groups)
        rows: list[bytes] = []
        for piece in _joined(self._groups.configuration.ranges, leaders):
            low, high, leader, group = piece
            nodes = [leader, *(node for node in groups[group] if node in idle)]
            rows.append(array([integer(low), integer(high - 1), *map(self._endpoint, nodes)]))
        return array(rows)

    def shards(self) -> bytes:
        """Return the reply to CLUSTER SHARDS."""
        leaders = self._leaders()
        replicas = self._replicas(leaders)
        rows: list[bytes] = []
        for master in sorted(set(leaders.values())):
            ranges = [integer(end) for low, high in self._ranges(master, leaders) for end in (low, high - 1)]
            members = [self._member(master, b"master")]
            members += [self._member(node, b"replica") for node, of in replicas.items() if of == master]
            rows.append(mapping([(bulk(b"slots"), array(ranges)), (bulk(b"nodes"), array(members))]))
        return array(rows)

    def nodes(self) -> list[str]:
        """Return the lines of CLUSTER NODES."""
        leaders = self._leaders()
        replicas = self._replicas(leaders)
        return [self._line(node, leaders, replicas.get(node)) for node in self._all_nodes()]

    def replicas(self, node: str) -> list[str] | None:
        """Return the lines of a node's replicas, None if there is no such node."""
        named = next((name for name in self._all_nodes() if id_of(name) == node), None)
        if named is None:
            return None
        leaders = self._leaders()
        return [self._line(other, leaders, of) for other, of in self._replicas(leaders).items() if of == named]

    def facts(self) -> dict[str, object]:
        """Return what CLUSTER INFO tells."""
        groups = self._groups
        configuration = groups.configuration
        leaders = self._leaders()
        assigned = sum(piece.high - piece.low for piece in configuration.ranges)
        led_groups = {group for group, leader in leaders.items() if groups.is_up(leader) and not groups.is_unled(group)}
        led = sum(piece.high - piece.low for piece in configuration.ranges if piece.group in led_groups)
        return {
            "cluster_state": "ok" if led == SLOT_COUNT else "fail",
            "cluster_slots_assigned": assigned,
            "cluster_slots_ok": led,
            "cluster_slots_pfail": 0,
            "cluster_slots_fail": assigned - led,
            "cluster_known_nodes": len(self._all_nodes()),
            "cluster_size": len(set(leaders.values())),
            "cluster_current_epoch": configuration.number,
            "cluster_my_epoch": configuration.number,
            "cluster_stats_messages_sent": 0,
            "cluster_stats_messages_received": 0,
            "total_cluster_links_buffer_limit_exceeded": 0,
        }

    # Who leads and who follows.

    def _all_nodes(self) -> list[NodeId]:
        return sorted(self._groups.node_ids)

    def _leaders(self) -> dict[GroupId, NodeId]:
        """Return who leads each group, or should, of those that serve slots."""
        found: dict[GroupId, NodeId] = {}
        configuration = self._groups.configuration
        groups = dict(configuration.groups)
        for group in {piece.group: None for piece in configuration.ranges}:
            leader, nodes = self._groups.leader_of(group), groups[group]
            if leader is not None or nodes:
                found[group] = leader if leader is not None else nodes[0]
        return found

    def _idle(self, leaders: dict[GroupId, NodeId]) -> set[NodeId]:
        return set(self._groups.node_ids) - set(leaders.values())

    def _replicas(self, leaders: dict[GroupId, NodeId]) -> dict[NodeId, NodeId]:
        """Return for each node that leads nothing and holds a replica whose replica it is: that of its first group."""
        idle = self._idle(leaders)
        found: dict[NodeId, NodeId] = {}
        for group, nodes in self._groups.configuration.groups:
            for node in nodes:
                if node in idle and node not in found and group in leaders:
                    found[node] = leaders[group]
        return dict(sorted(found.items()))

    def _ranges(self, node: NodeId, leaders: dict[GroupId, NodeId]) -> list[tuple[int, int]]:
        return _merged(piece for piece in self._groups.configuration.ranges if leaders.get(piece.group) == node)

    # How they are written.

    def _address(self, node: NodeId) -> Address:
        return self._groups.address_of(node) or _UNKNOWN

    def _endpoint(self, node: NodeId) -> bytes:
        address = self._address(node)
        return array([bulk(address.host.encode()), integer(address.port), bulk(id_of(node).encode()), mapping([])])

    def _member(self, node: NodeId, role: bytes) -> bytes:
        address = self._address(node)
        return mapping(
            [
                (bulk(b"id"), bulk(id_of(node).encode())),
                (bulk(b"port"), integer(address.port)),
                (bulk(b"ip"), bulk(address.host.encode())),
                (bulk(b"endpoint"), bulk(address.host.encode())),
                (bulk(b"role"), bulk(role)),
                (bulk(b"replication-offset"), integer(0)),
                (bulk(b"health"), bulk(b"online" if self._groups.is_up(node) else b"fail")),
            ]
        )

    def _line(self, node: NodeId, leaders: dict[GroupId, NodeId], master: NodeId | None) -> str:
        groups = self._groups
        address = self._address(node)
        is_up = groups.is_up(node)
        flags = ["myself"] if node == groups.node_id else []
        flags.append("master" if master is None else "slave")
        flags += [] if is_up else ["fail"]
        ranges = self._ranges(node, leaders)
        slots = [str(low) if high - low == 1 else f"{low}-{high - 1}" for low, high in ranges]
        return " ".join(
            [
                id_of(node),
                f"{address.host}:{address.port}@{address.bus_port}",
                ",".join(flags),
                "-" if master is None else id_of(master),
                "0",
                "0",
                str(groups.configuration.number),
                "connected" if is_up else "disconnected",
                *slots,
            ]
        )


def _merged(pieces: Iterable[SlotRange]) -> list[tuple[int, int]]:
    """Return [low, high) of pieces in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for piece in pieces:
        if found and found[-1][1] == piece.low:
            found[-1] = (found[-1][0], piece.high)
        else:
            found.append((piece.low, piece.high))
    return found


def _joined(ranges: Iterable[SlotRange], leaders: dict[GroupId, NodeId]) -> list[tuple[int, int, NodeId, GroupId]]:
    """Return low, high, leader and group of what somebody leads."""
    return [(piece.low, piece.high, leaders[piece.group], piece.group) for piece in ranges if piece.group in leaders]
