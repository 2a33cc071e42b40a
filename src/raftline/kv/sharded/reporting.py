"""What a keeper knows, as a report for people."""

from collections import Counter
from typing import TYPE_CHECKING

from raftline.core.changing import describe_progress
from raftline.core.ids import GroupId, NodeId
from raftline.kv.shards_view import GroupReport, NodeReport, ShardReport

if TYPE_CHECKING:
    from raftline.kv.sharded.keeper import Keeper

__all__ = ["report_of"]


def report_of(keeper: "Keeper") -> ShardReport:
    """Return what a node knows of the sharded cluster."""
    configuration = keeper.configuration
    slots = Counter[GroupId]()
    for piece in configuration.ranges:
        slots[piece.group] += piece.size
    told = [(group, nodes, group in keeper.meta.leaving) for group, nodes in keeper.meta.groups]
    return ShardReport(
        node_id=keeper.node_id,
        configuration=configuration,
        last_group=keeper.meta.last_group,
        replicas=keeper.settings.replicas,
        nodes=tuple(_node(keeper, node) for node in keeper.node_ids),
        groups=tuple(
            _group(keeper, group, nodes, slots[group], leaving=leaving) for group, nodes, leaving in sorted(told)
        ),
    )


def _node(keeper: "Keeper", node: NodeId) -> NodeReport:
    held = [nodes for _, nodes in keeper.meta.groups if node in nodes]
    return NodeReport(
        node_id=node,
        address=str(keeper.address_of(node) or ""),
        up=keeper.is_up(node),
        replicas=len(held),
        first_of=sum(nodes[0] == node for nodes in held),
    )


def _group(keeper: "Keeper", group: GroupId, nodes: tuple[NodeId, ...], slots: int, *, leaving: bool) -> GroupReport:
    leader = keeper.leader_of(group)
    hosted = keeper.hosted_groups().get(group)
    running = keeper.running(group)
    if hosted is None or running is None:
        return GroupReport(group=group, nodes=nodes, leader=leader, slots=slots, leaving=leaving)
    holdings, store = hosted.machine.holdings, hosted.machine.store
    state = running.driver.replica.core.state
    return GroupReport(
        group=group,
        nodes=nodes,
        leader=leader,
        slots=slots,
        leaving=leaving,
        hosted=True,
        configuration=holdings.configuration.number,
        arriving=sum(len(arrival.slots) for arrival in holdings.arrivals.values()),
        giving=sum(len(given.waiting) + len(given.released) for given in holdings.given.values()),
        keys=store.count,
        used_bytes=hosted.used_bytes,
        members=state.membership.voters,
        term=state.term,
        commit_index=state.commit,
        applied_index=running.driver.replica.applied,
        apply_errors=running.driver.replica.apply_errors + hosted.machine.faults,
        change=describe_progress(state),
    )
