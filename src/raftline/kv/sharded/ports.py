"""What the Redis port of a sharded server asks of the node behind it, as protocols; the keeper is what implements them.

A group is either hosted, so that its store can be read here, or remote, so that somebody else has to be asked; it is
remote as long as the replica here has no vote: that is behind, or knows nothing. Who is which can change at any time;
nothing that these protocols return may be kept over a turn of the event loop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from raftline.core.ids import GroupId, NodeId
from raftline.errors import NotMember
from raftline.kv.sharded.machine import ShardMachine
from raftline.runtime.requests import Consistency
from raftline.runtime.status import SessionStatus, Status
from raftline.shards.configuration import Configuration
from raftline.transport.address import Address

__all__ = ["Groups", "HostedGroup", "RemoteGroup", "ShardGroup"]


class ShardGroup(Protocol):
    """A group of which this node holds a replica; `raftline.runtime.group.Group` is one. Calls are as in `KvNode`."""

    def submit(
        self,
        command: bytes,
        done: Callable[[bytes | Exception], None],
        session: int | None = None,
        sequence: int = 0,
    ) -> None:
        """Propose, here or, if another node leads, there; `NotServed` says that it was not carried out."""

    def before_turn(self, call: Callable[[], None]) -> None:
        """Call this once, soon, right before proposals are taken next; what it submits is taken with them."""

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        """Call `done(None)` at a moment when the local state is what is promised, or `done(error)`."""

    async def open_session(self, session: int | None = None, born: int | None = None) -> int:
        """Open a session, or find it open, and return it; raises `SessionClosed` for one that may have been here once.

        Of one that another group drew the number is given, and where in its log.
        """

    async def close_session(self, session: int) -> bool:
        """Close a session and return whether it was open."""

    async def find_session(self, session: int) -> SessionStatus | None:
        """Return what is known of an open session."""

    def status(self) -> Status:
        """Return what is known here of this group."""

    @property
    def command_version(self) -> int:
        """Return the newest version of commands that every member knows."""

    def outside(self) -> NotMember | None:
        """Return what to tell clients of a node that was removed from the group, or waits to be added, else None."""

    @property
    def is_leader(self) -> bool:
        """Say whether this node leads the group, as far as it knows."""


class RemoteGroup(Protocol):
    """A group of which this node holds no replica."""

    def submit(
        self,
        command: bytes,
        done: Callable[[bytes | Exception], None],
        session: int | None = None,
        sequence: int = 0,
    ) -> None:
        """Propose at a node that holds a replica; as in `ShardGroup`."""

    async def ask(self, query: bytes, consistency: Consistency = "linearizable", staleness_s_max: float = 0.0) -> bytes:
        """Return what `ShardMachine.read` answers at a node that holds a replica; raises what a read raises."""

    async def open_session(self, session: int, born: int | None = None) -> int:
        """Open a session of this number, or find it open, and return it; raises `SessionClosed` as above."""


class HostedGroup(NamedTuple):
    """A group and what it keeps here."""

    group: ShardGroup
    machine: ShardMachine

    @property
    def used_bytes(self) -> int:
        """Return how much keys and values take here, those on their way to this group included."""
        return self.machine.used_bytes


class Groups(Protocol):
    """All groups of the sharded store as one node sees them; nothing here waits for another node."""

    @property
    def node_id(self) -> NodeId:
        """Return who this node is."""

    @property
    def node_ids(self) -> Sequence[NodeId]:
        """Return all nodes of the sharded cluster: the members of group 0."""

    @property
    def configuration(self) -> Configuration:
        """Return the newest configuration that is known here."""

    @property
    def group_ids(self) -> Sequence[GroupId]:
        """Return all groups that may serve slots: those of the newest configuration, and those that are leaving."""

    def hosted(self, group: GroupId) -> HostedGroup | None:
        """Return a group of which this node holds a replica that votes, None for any other."""

    def hosted_groups(self) -> Mapping[GroupId, HostedGroup]:
        """Return all groups of which a replica runs here, with those that catch up and have no vote yet."""

    def remote(self, group: GroupId) -> RemoteGroup:
        """Return a way to a group that is not hosted; where it is looked for follows the configuration."""

    def serving(self, slot: int) -> GroupId:
        """Return who serves a slot now, as far as is known here; `NOBODY` if no configuration gives it to anybody.

        A hosted group that serves it; else whoever had it before a configuration that has not been carried out here;
        else its owner in the newest one.
        """

    def formers(self, slot: int) -> Sequence[GroupId]:
        """Return who had a slot before its owner in the newest configuration, the latest first; nobody, if so."""

    def leader_of(self, group: GroupId) -> NodeId | None:
        """Return who leads a group as far as is known here; of one that is not to be hosted, who should."""

    def is_unled(self, group: GroupId) -> bool:
        """Say whether the replica here of a hosted group has known no leader for longer than a change of leader takes.

        A group that has just begun counts as one that changes its leader: its slots are with others still.
        """

    def address_of(self, node: NodeId) -> Address | None:
        """Return where a node serves clients and peers."""

    def is_up(self, node: NodeId) -> bool:
        """Say whether a node was heard of lately; this node is up."""

    def outside(self) -> NotMember | None:
        """Return what to tell clients of a node that is no member of the cluster (any more, or yet), else None."""

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call this in a later turn after the configuration, who hosts what, or who leads here has changed."""
