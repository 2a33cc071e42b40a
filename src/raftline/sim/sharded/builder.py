"""Machines that give way to new ones, as `docs/sharding.md` has it: by the commands that an operator gives any node.

A new machine with an empty disk is added, and votes in group 0; the replicas of the old one are made anew elsewhere;
once nobody needs what is on it, it is removed, and switched off for good. A command that is refused, or not answered,
is given again until it is so.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from raftline.core.ids import NodeId
from raftline.core.membership import Membership
from raftline.sim.nemesis import Nemesis
from raftline.sim.service_door import Refusal
from raftline.sim.sharded.clients import ShardClients
from raftline.sim.sharded.nodes import SharedNodes
from raftline.sim.sharded.visitors import Caller, Undone, Unknown
from raftline.sim.sharded.ways import CONTROLLER, newest_leader

__all__ = ["Builder"]

_BEGIN_S_MAX = 1.5
_PAUSE_S = 0.12


class Builder(Caller):
    """Replaces as many machines as the scenario says.

    Invariant: a machine is switched off only after group 0 has let it go, by a command that was not refused.
    """

    def __init__(
        self, nodes: SharedNodes, clients: ShardClients, random: Random, nemesis: Nemesis, counts: Counter[str]
    ) -> None:
        super().__init__(nodes, clients, random, "builder")
        self._nemesis = nemesis
        self._counts = counts
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = self._world.create_task(self._run(), name=self.name)

    @property
    def busy(self) -> int:
        """No client waits for it."""
        return 0

    @property
    def is_done(self) -> bool:
        """Say whether all that were to be replaced are; raises what went wrong."""
        if self._task is not None and self._task.done():
            self._task.result()
        return self._task is not None and self._task.done()

    async def _run(self) -> None:
        for _ in range(self._nodes.scenario.replaced):
            await asyncio.sleep(_BEGIN_S_MAX * self._draw())
            names = self._nodes.eligible
            await self._replace(names[int(self._draw() * len(names))])

    async def _replace(self, old: NodeId) -> None:
        nodes, cluster = self._nodes, self._nodes.cluster
        new = nodes.build()
        self._nemesis.on_joined(new, old)
        new.start()
        while not self._is_settled(lambda members: members.is_voter(new.name)):
            await self._give(b"RAFTLINE.MEMBER", b"ADD", new.name.encode(), cluster.addresses[new.name].encode())
        nodes.begin_replacing(old, new.name)
        while not self._is_settled(lambda members: not members.is_member(old)):
            if nodes.needs(old):
                await self._give(b"RAFTLINE.SHARD", b"REPLACENODE", old.encode())
            else:
                await self._give(b"RAFTLINE.MEMBER", b"REMOVE", old.encode())
        cluster.dismiss(old)
        self._nemesis.on_gone(old, new.name)
        self._counts["machines replaced"] += 1

    def _is_settled(self, is_so: Callable[[Membership], bool]) -> bool:
        """Say whether something is so of group 0's members, by what its latest leader knows to be committed."""
        state = newest_leader(self._nodes.copies(CONTROLLER))
        return state is not None and state.configuration.index <= state.commit and is_so(state.membership)

    async def _give(self, *words: bytes) -> None:
        """Give a command to some node, whatever it says to it."""
        await asyncio.sleep(_PAUSE_S * (0.5 + self._draw()))
        name = self._somebody()
        if name is None:
            return
        try:
            reply = await self._say(name, words)
        except (Undone, Unknown):
            return
        is_refused = isinstance(reply, Refusal)
        self._counts[f"{words[1].decode().lower()} {'refused' if is_refused else 'done'}"] += 1
