"""One of the groups that a node hosts: made from what the log holds of it, restored, started and stopped.

Its users see what `GroupHandle` offers; the node is the only one who makes and ends it.
"""

import asyncio
from functools import lru_cache
from typing import Any

import msgspec
import structlog

from raftline.core.config import CoreConfig
from raftline.core.ids import GroupId
from raftline.core.membership import Membership
from raftline.core.raft import Raft
from raftline.errors import Stopped
from raftline.replica.replica import Replica
from raftline.replica.state_machine import StateMachine
from raftline.runtime.config import GroupConfig
from raftline.runtime.group_loop import GroupLoop
from raftline.runtime.handle import GroupHandle
from raftline.runtime.host import Host
from raftline.runtime.members import ask_members, misnamed
from raftline.runtime.stages import Stages
from raftline.wal.wal import Recovered

__all__ = ["Group"]

_log = structlog.get_logger("raftline.node")


class Group(GroupHandle):
    """A replica of one group on this node.

    Invariant: `driver` takes turns between `start` and `end`, and only then.
    """

    def __init__(self, config: GroupConfig, machine: StateMachine, host: Host, stages: Stages) -> None:
        self.config = config
        self.machine = machine
        self._lease_reads = host.config.core.lease_reads
        self._recovered = host.wal.recovered.get(config.group)
        self.driver = self._group = _make_driver(config, machine, host, stages, self._recovered)
        host.wal.recovered.pop(config.group, None)  # the log holds it now, and lets it go in time

    @property
    def group(self) -> GroupId:
        """Return the number that the group has on every node."""
        return self.config.group

    @property
    def name(self) -> str:
        """Return what people call it."""
        return self.config.called

    async def restore(self, ended: "asyncio.Future[BaseException]") -> None:
        """Load the newest snapshot, if there is one; raises what `ended` holds if that is settled before."""
        driver = self.driver
        snapshot = driver.replica.core.state.snapshot
        if snapshot.index:
            restored: asyncio.Future[None] = driver.host.loop.create_future()
            driver.replica.restoring = snapshot
            driver.snapshotting.restore_at_once(snapshot, lambda: restored.set_result(None))
            outcomes: list[asyncio.Future[Any]] = [restored, ended]
            await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise ended.result()  # the failure was seen in a callback

    def warn_of_members(self) -> None:
        """Say it if the members that the replica was started with are not those that its log names."""
        state, given = self.driver.replica.core.state, self.config.members
        words = misnamed(state, given)
        if words is not None:
            members = {"given": ask_members(sorted(given.items())), "log": ask_members(state.membership.addresses)}
            _log.warning(words, node=state.me, group=self.group, **members)

    def start(self) -> None:
        """Begin to take turns."""
        self._recovered = None
        self.driver.start()

    def give_back(self) -> None:
        """Give up before the first turn: what the log held is there for another try."""
        self.driver.stop(Stopped("the group was not added"))
        self.driver.snapshotting.close_files()
        if self._recovered is not None:
            self.driver.host.wal.recovered[self.group] = self._recovered

    def end(self, error: Stopped) -> None:
        """Answer everybody who waits with `error`, take no further turn, and let go of what the node goes on with."""
        driver = self.driver
        driver.stop(error)
        driver.persistence.stop()
        driver.snapshotting.close_files()
        driver.host.addresses.drop(self.group)


def _make_driver(
    config: GroupConfig, machine: StateMachine, host: Host, stages: Stages, recovered: Recovered | None
) -> GroupLoop:
    """Put a replica together from what the log holds of the group."""
    node = host.config
    core = Raft(
        node.node_id,
        _first_membership(config),
        random=host.random,
        now=host.loop.time(),
        config=_core_config(node.core, machine.version),
        hard_state=recovered.hard_state if recovered else None,
        snapshot=recovered.snapshot if recovered else None,
        entries=recovered.entries if recovered else (),
        entries_elsewhere=config.has_begun,
    )
    _log.info(
        "recovered",
        node=node.node_id,
        group=config.group,
        term=core.term,
        snapshot=core.state.snapshot.index,
        last_index=core.state.log.last_index,
        new_directory=host.wal.is_new,
    )
    replica = Replica(core, machine, host.make_sessions())
    return GroupLoop(config.group, host, replica, origin=int(host.random.random() * 2**53), stages=stages)


@lru_cache(maxsize=8)
def _core_config(core: CoreConfig, command_version: int) -> CoreConfig:
    """Return what counts for a group: the same for all whose state machines know the same commands."""
    return msgspec.structs.replace(core, command_version=command_version)


def _first_membership(config: GroupConfig) -> Membership:
    """Return who votes at first: nobody, for a replica that waits to be added."""
    membership = Membership.of(config.members)
    if config.prefers is not None:
        membership = msgspec.structs.replace(membership, priorities=((config.prefers, 1),))
    return _shared(membership)


@lru_cache(maxsize=256)
def _shared(membership: Membership) -> Membership:
    """Return an equal membership, the same for all groups that begin with it: there may be many."""
    return membership
