"""A group whose disks are emptied, a majority of them: nobody leads it ever again, and all others go on (C14, G17).

What it held is gone, so this comes when all else is over and was checked. At first the machines that come back with
nothing do not reach those of the group that kept their disks: whoever began the group anew would serve its slots as if
nobody had written to them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import NoReturn

from raftline.core.ids import GroupId, NodeId
from raftline.errors import SafetyViolation
from raftline.sim.disk import CrashKind
from raftline.sim.sharded.nodes import SharedNodes
from raftline.sim.sharded.operator import Operator
from raftline.sim.sharded.scenario import ShardChange
from raftline.sim.sharded.ways import CONTROLLER

__all__ = ["LostDisks"]

_LOOKS = 15
_LOOK_S = 0.2
_ALONE = 0.6
"""How often the group is placed on one node before: its disk may be emptied while all others are up."""

Wait = Callable[[Callable[[], bool], Callable[[], str]], None]
"""Let the world go on until something is so, or raise with what is not."""


class LostDisks:
    """What befalls one group at the end of a run."""

    def __init__(self, nodes: SharedNodes, random: Random, counts: Counter[str], wait: Wait) -> None:
        self._nodes = nodes
        self._cluster = nodes.cluster
        self._random = random
        self._counts = counts
        self._wait = wait

    def go(self) -> None:
        """Empty the disks of one group, and look what becomes of it; none if group 0 needs them."""
        groups = self._nodes.ownership.configurations[-1].group_ids
        group = groups[int(self._random.random() * len(groups))]
        if self._random.random() < _ALONE:
            self._place_alone(group)
        hosts = self._nodes.ownership.configurations[-1].nodes_of(group)
        emptied = hosts[: len(hosts) // 2 + 1]
        names = list(self._cluster.members)
        if len(names) - len(emptied) <= len(names) // 2:
            return
        self._counts["groups whose disks were emptied"] += 1
        for name in hosts:
            self._restart(name, is_emptied=name in emptied)
        self._cluster.network.cut_between(emptied, [name for name in hosts if name not in emptied])
        self._look(group)
        self._cluster.network.heal()
        self._look(group)
        self._wait(lambda: not self._without_leader(emptied), lambda: f"groups {self._without_leader(emptied)} wait")
        self._check(group)

    def _place_alone(self, group: GroupId) -> None:
        change = ShardChange(at_s=0.0, kind="away", chance=0.0, replicas=1)
        operator = Operator(self._nodes, self._counts, "last guide", (change,), only=group)
        operator.start()
        self._wait(lambda: operator.is_done and not self._nodes.late(), lambda: "; ".join(self._nodes.late()))

    def _restart(self, name: NodeId, *, is_emptied: bool) -> None:
        """Let a machine begin again, with nothing or with what it has; no leader stays that could help the others."""
        member = self._cluster.members[name]
        member.crash(CrashKind.PROGRAM)
        if is_emptied:
            member.wipe()
        member.start()

    def _look(self, group: GroupId) -> None:
        """Give the group the time in which any other one has a leader again."""
        for _ in range(_LOOKS):
            self._nodes.world.run_for(_LOOK_S)
            self._check(group)

    def _check(self, group: GroupId) -> None:
        leading = [copy.name for copy in self._nodes.copies(group) if copy.is_leader]
        if leading:
            _violated(f"{leading[0]} leads group {group}, of which most disks were emptied (C14)")

    def _without_leader(self, emptied: Sequence[NodeId]) -> list[GroupId]:
        """Return the groups that have lost no majority, and have no leader."""
        newest = self._nodes.ownership.configurations[-1]
        voters = {CONTROLLER: tuple(self._cluster.members), **dict(newest.groups)}
        whole = [group for group, nodes in voters.items() if 2 * sum(node in emptied for node in nodes) < len(nodes)]
        return [group for group in whole if not any(copy.is_leader for copy in self._nodes.copies(group))]


def _violated(what: str) -> NoReturn:
    raise SafetyViolation(what)
