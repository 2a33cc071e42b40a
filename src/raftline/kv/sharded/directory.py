"""How the movers of a node reach the controller and other groups: its own copies first, other nodes else."""

import contextlib
import time
from typing import TYPE_CHECKING

from raftline.core.ids import GroupId
from raftline.errors import ConfigError, RaftlineError, TooStale
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.sharded.mover import Retired
from raftline.shards.configuration import Configuration

if TYPE_CHECKING:
    from raftline.kv.sharded.keeper import Keeper

__all__ = ["LocalDirectory"]

_BOUND_S = 0.5
"""Whose copy is older, or will be when it is asked, is passed over. So long a question about slots that nobody serves
may wait, once in a while, for a node that has a large snapshot to restore."""


class LocalDirectory:
    """One node's."""

    def __init__(self, keeper: "Keeper", meta: MetaMachine) -> None:
        self._keeper = keeper
        self._meta = meta

    async def configuration(self, number: int) -> Configuration:
        """Return a configuration as this node's copy of group 0 has it."""
        return self._meta.configuration_at(number)

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        """Return what a replica of the group answers; one that is not behind if there is any, this node's first.

        It may have a large snapshot to restore: slots that it does not know to be released are served by nobody.
        """
        if self._meta.is_retired(group):
            raise Retired(f"group {group} is retired")
        hosted = self._keeper.hosted(group)
        if hosted is None:
            return await self._ask_others(group, query)
        if not self._keeper.is_level(group):
            with contextlib.suppress(RaftlineError, OSError):
                return await self._ask_others(group, query)
        return hosted.machine.read(query, time.time_ns() // 1_000_000)

    async def _ask_others(self, group: GroupId, query: bytes) -> bytes:
        """Return what another node answers; one that is behind if all are, as where the group has no leader.

        Who was too old for a bound is asked after the others, so each try goes to another one. A node of before bounds
        were passed on takes the question for a mistake.
        """
        remote = self._keeper.remote(group)
        for _ in self._meta.nodes_of(group):
            with contextlib.suppress(TooStale, ConfigError):
                return await remote.ask(query, "bounded", _BOUND_S)
        return await remote.ask(query, "stale")
