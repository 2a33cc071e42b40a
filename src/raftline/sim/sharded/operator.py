"""The operator: groups join and leave, slots are moved by hand and balanced, whether or not the last change is done."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from raftline.core.ids import GroupId, NodeId
from raftline.errors import ProposalError, SessionClosed
from raftline.shards.configuration import Change, Configuration, Join, Leave, Move, Place, Rebalance
from raftline.shards.ranges import SLOT_COUNT
from raftline.sim.sharded.scenario import ShardChange
from raftline.sim.sharded.ways import CONTROLLER, Unreachable, Ways

__all__ = ["Operator"]

T = TypeVar("T")

_PAUSE_S = 0.05
_LATE_S_MAX = 2.0
"""As long as dozens of changes take."""


class Operator:
    """Makes changes in a session of its own, each as soon as it is time and the one before was answered."""

    def __init__(
        self,
        groups: Ways,
        counts: Counter[str],
        name: str,
        changes: Sequence[ShardChange],
        joined: int = 0,
        only: GroupId = CONTROLLER,
    ) -> None:
        """`joined` groups are to join first, unless groups begin by themselves; `only` one may be placed, if given."""
        self._groups = groups
        self._name = name
        self._changes = changes
        self._joined = joined
        self._only = only
        self._world = groups.world
        self._counts = counts
        self._random = groups.world.stream(name)
        self._at = 0
        self._session = 0
        self._sequence = 0
        self._homes: dict[GroupId, Sequence[NodeId]] = {}
        """Where groups were that are away, the latest to leave last."""
        self._task: asyncio.Task[None] | None = None
        self._chance = groups.world.stream(f"{name} again").random
        self._echoes: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._task = self._world.create_task(self._run(), name=self._name)

    @property
    def is_done(self) -> bool:
        """Say whether every change was made; raises what went wrong."""
        tasks = [task for task in (self._task, *self._echoes) if task is not None]
        for task in tasks:
            if task.done():
                task.result()
        return self._task is not None and all(task.done() for task in tasks)

    async def _run(self) -> None:
        ways = self._groups
        if self._joined and not ways.begins_by_itself:
            first = dict(list(ways.joining(()).items())[: self._joined])
            while not await self._change(Join(first)):  # without it nothing else can happen
                newest, _ = await self._again(lambda: ways.placeable(self._at))
                if newest.group_ids:
                    break
        for change in self._changes:
            await asyncio.sleep(max(0.0, change.at_s - self._world.now))
            newest, placeable = await self._again(lambda: ways.placeable(self._at))
            wanted = self._meant(change, newest, placeable)
            if wanted is not None:
                is_made = await self._change(wanted)
                self._counts[change.kind] += 1
                if is_made and isinstance(wanted, Place) and wanted.group not in newest.group_ids:
                    self._counts["groups placed that were leaving"] += 1

    def _meant(
        self, change: ShardChange, newest: Configuration, placeable: Mapping[GroupId, Sequence[NodeId]]
    ) -> Change | None:
        """Return the change with the groups and slots that it hits in this configuration; None if there are none."""
        there = newest.group_ids
        if not there:
            return None
        if change.kind == "join":
            absent = self._groups.joining(there)
            return Join({(group := _one(list(absent), change)): absent[group]}) if absent else None
        if change.kind == "leave":
            return Leave((_one(there, change),)) if len(there) > 1 else None
        if change.kind == "move":
            slots = self._groups.ownership.slots
            low = slots[int(self._random.random() * len(slots))]
            return Move(low, min(SLOT_COUNT, low + change.slots), _one(there, change))
        if change.kind == "rebalance":
            return Rebalance()
        return self._placed(change, placeable)

    def _placed(self, change: ShardChange, placeable: Mapping[GroupId, Sequence[NodeId]]) -> Place | None:
        """Return where a group is to be instead."""
        if change.kind == "home":
            return self._home(placeable)
        group = self._only or _one(sorted(placeable), change)
        if change.kind == "away":
            return self._away(group, placeable[group], change.replicas)
        assert change.kind == "place", change.kind
        nodes = self._groups.places(placeable[group])
        return Place(group, nodes) if nodes else None

    def _away(self, group: GroupId, nodes: Sequence[NodeId], replicas: int) -> Place | None:
        """Place a group on other nodes than it is on, as far as there are others."""
        others = self._groups.takers(nodes)
        chosen = (*others, *(node for node in nodes if node in self._groups.takers(())))[:replicas]
        if not chosen or set(chosen) == set(nodes):
            return None
        self._homes.setdefault(group, nodes)
        return Place(group, chosen)

    def _home(self, placeable: Mapping[GroupId, Sequence[NodeId]]) -> Place | None:
        """Place the group that was the last to go away where it was before."""
        if not self._homes:
            return None
        group, home = self._homes.popitem()
        up = self._groups.takers(())
        nodes = tuple(node for node in home if node in up)
        return Place(group, nodes) if group in placeable and nodes else None

    async def _change(self, change: Change) -> bool:
        """Have a change made, once; say whether it was."""
        ways = self._groups
        if not self._session:
            ask = lambda: ways.ask(self._world, None, CONTROLLER, self._at, lambda node: node.open_session())  # noqa: E731
            self._session = int(await self._again(ask))
        self._sequence += 1
        session, sequence = self._session, self._sequence
        try:
            refusal = await self._again(lambda: ways.change(self._at, session, sequence, change))
        except SessionClosed:  # a leader's clock is a day ahead
            self._session = 0
            self._counts["changes whose session was closed"] += 1
            return False
        self._counts["changes refused" if refusal else "changes made"] += 1
        if self._chance() < ways.scenario.told_again and not isinstance(change, Join):
            self._echoes.append(self._world.create_task(self._tell_again(change), name=f"{self._name} again"))
        return not refusal

    async def _tell_again(self, change: Change) -> None:
        """Ask for a change once more, outside of the session, as what a network held or a person repeats comes late."""
        ways = self._groups
        await asyncio.sleep(_LATE_S_MAX * self._chance())
        if isinstance(change, Place) and not set(change.nodes) <= set(ways.takers(())):
            return  # a node that is there refuses what names one that is not
        try:
            refusal = await ways.change(self._at, None, 0, change)
        except (Unreachable, ProposalError):
            self._counts["changes told again lost"] += 1
        else:
            self._counts["changes told again refused" if refusal else "changes told again"] += 1

    async def _again(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Ask one machine after the other until one answers."""
        while True:
            try:
                return await call()
            except (Unreachable, ProposalError):
                self._at += 1
                await asyncio.sleep(_PAUSE_S)


def _one(groups: Sequence[GroupId], change: ShardChange) -> GroupId:
    return groups[min(len(groups) - 1, int(change.chance * len(groups)))]  # a chance is rounded, up to 1 at times
