"""What a keeper asks of the node whose groups it looks after, as a protocol; `raftline.Node` is one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from raftline.core.ids import GroupId, NodeId
from raftline.errors import NotMember
from raftline.kv.sharded.ports import RemoteGroup
from raftline.replica.state_machine import StateMachine
from raftline.runtime.config import GroupConfig
from raftline.runtime.group import Group
from raftline.runtime.status import MemberStatus, Status

__all__ = ["KeeperNode"]


class KeeperNode(Protocol):
    """The part of `raftline.Node` that is needed here."""

    @property
    def groups(self) -> Mapping[GroupId, Group]:
        """Return the groups that are hosted."""

    @property
    def recovered_groups(self) -> tuple[GroupId, ...]:
        """Return what the log holds and nobody added."""

    @property
    def is_leader(self) -> bool:
        """Say whether this node leads group 0."""

    def has_log(self, group: GroupId) -> bool:
        """Say whether the log holds anything of such a group, or only a term."""

    async def add_group(self, config: GroupConfig, machine: StateMachine) -> Group:
        """Host a group."""

    async def remove_group(self, group: GroupId) -> None:
        """Host a group no longer."""

    async def propose(self, command: bytes, *, version: int = 1) -> bytes:
        """Replicate a command in group 0; raises `TooNew` if not every member knows commands of this version."""

    def submit_read(self, done: Callable[[Exception | None], None]) -> None:
        """Call `done` when group 0's machine is linearizable here."""

    def members(self) -> tuple[MemberStatus, ...]:
        """Return group 0's members."""

    def outside(self) -> NotMember | None:
        """Return why this node is in no group 0, None if it is in it."""

    def status(self) -> Status:
        """Return what is known of group 0."""

    def remote(self, group: GroupId, hosts: Callable[[], Sequence[NodeId]]) -> RemoteGroup:
        """Return a way to a group that others host."""

    def is_up(self, node: NodeId) -> bool:
        """Say whether a node was heard of lately."""
