"""How the movers of a node reach the controller and other groups: its own copies first, other nodes else."""

import contextlib
import time
from typing import TYPE_CHECKING

from raftline.core.ids import GroupId
from raftline.errors import RaftlineError
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.sharded.mover import Retired
from raftline.shards.configuration import Configuration

if TYPE_CHECKING:
    from raftline.kv.sharded.keeper import Keeper

__all__ = ["LocalDirectory"]


class LocalDirectory:
    """One node's."""

    def __init__(self, keeper: "Keeper", meta: MetaMachine) -> None:
        self._keeper = keeper
        self._meta = meta

    async def configuration(self, number: int) -> Configuration:
        """Return a configuration as this node's copy of group 0 has it."""
        return self._meta.configuration_at(number)

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        """Return what a replica of the group answers; this node's if it is not behind, or nobody else answers."""
        if self._meta.is_retired(group):
            raise Retired(f"group {group} is retired")
        hosted = self._keeper.hosted(group)
        if hosted is None:
            return await self._keeper.remote(group).ask(query, "stale")
        if not self._keeper.is_level(group):  # it may have a large snapshot to restore: nobody serves what waits for it
            with contextlib.suppress(RaftlineError, OSError):
                return await self._keeper.remote(group).ask(query, "stale")
        return hosted.machine.read(query, time.time_ns() // 1_000_000)
