"""On which nodes a group's replicas go: the least loaded ones, led from where fewest groups are meant to be led.

Pure, and the same on every replica: only what is given counts, and ties go to the node that comes first by name.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from raftline.core.ids import GroupId, NodeId
from raftline.errors import ChangeRefused
from raftline.shards.configuration import Configuration, Join, Place
from raftline.shards.ranges import SLOT_COUNT

__all__ = ["join_of", "places_without"]


class _Load:
    """How many replicas each node holds, and of how many groups it comes first."""

    def __init__(self, nodes: Iterable[NodeId], groups: Iterable[Sequence[NodeId]]) -> None:
        self.replicas = dict.fromkeys(sorted(nodes), 0)
        self.leads = dict.fromkeys(self.replicas, 0)
        for held in groups:
            self.add(held)

    def add(self, nodes: Sequence[NodeId], sign: int = 1) -> None:
        for node in nodes:
            if node in self.replicas:
                self.replicas[node] += sign
        if nodes and nodes[0] in self.leads:
            self.leads[nodes[0]] += sign

    def choose(self, count: int) -> tuple[NodeId, ...]:
        """Return the `count` least loaded nodes, the one that leads least first; and count them as loaded."""
        by_load = sorted(self.replicas, key=lambda node: (self.replicas[node], self.leads[node], node))
        chosen = self.led_first(by_load[:count])
        self.add(chosen)
        return chosen

    def led_first(self, nodes: Iterable[NodeId]) -> tuple[NodeId, ...]:
        """Return nodes with the one that leads least first; last those that may take none."""
        usable = [node for node in nodes if node in self.leads]
        unusable = [node for node in nodes if node not in self.leads]
        return (*sorted(usable, key=lambda node: (self.leads[node], self.replicas[node], node)), *unusable)


def join_of(
    configuration: Configuration,
    first: GroupId,
    count: int,
    nodes: Sequence[NodeId],
    replicas: int,
    leaving: Iterable[Sequence[NodeId]] = (),
) -> Join:
    """Return `count` new groups, numbered from `first` on, each on `replicas` of `nodes`, or on all if they are fewer.

    `leaving` says where groups are that are in no configuration any more and still hold something. Raises
    `ChangeRefused` if there is nothing to place, or nowhere to place it.
    """
    if count < 1:
        raise ChangeRefused(f"{count} groups cannot be added: at least one")
    if len(configuration.groups) + count > SLOT_COUNT:
        raise ChangeRefused(
            f"{count} groups cannot be added to {len(configuration.groups)}: {SLOT_COUNT} have a slot each"
        )
    if not nodes:
        raise ChangeRefused("no node can take a group: name those that are members of the cluster")
    load = _Load(nodes, chain((held for _, held in configuration.groups), leaving))
    return Join({first + number: load.choose(max(1, replicas)) for number in range(count)})


def places_without(
    groups: Sequence[tuple[GroupId, tuple[NodeId, ...]]], gone: NodeId, nodes: Sequence[NodeId]
) -> tuple[Place, ...]:
    """Return where replicas go that were on `gone`, a place for each group; `nodes` are those that may take some.

    `groups` are all that nodes hold, those that are leaving included. One whose other nodes are all of `nodes` already
    has no room for another replica, and stays as it is. What was to be led from `gone` is led from where fewest are.
    """
    left = [node for node in nodes if node != gone]
    load = _Load(left, (held for _, held in groups))
    places = []
    for group, held in groups:
        free = [node for node in load.replicas if node not in held]
        if gone not in held or not free:
            continue
        load.add(held, -1)
        taker = min(free, key=lambda node: (load.replicas[node], load.leads[node], node))
        kept = [node for node in held if node != gone]
        chosen = (*kept, taker) if gone != held[0] else load.led_first((*kept, taker))
        load.add(chosen)
        places.append(Place(group, chosen))
    return tuple(places)
