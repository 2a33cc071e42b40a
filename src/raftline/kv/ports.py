"""What the server asks of a node, as a protocol; `raftline.runtime.node.Node` is one."""

from collections.abc import Callable
from typing import Protocol

from raftline.core.changes import MembershipChange
from raftline.core.ids import NodeId
from raftline.errors import NotMember
from raftline.runtime.backup import Backup
from raftline.runtime.measurements import Measurements
from raftline.runtime.requests import Consistency
from raftline.runtime.status import SessionStatus, Status

__all__ = ["KvNode", "ReadableGroup"]


class ReadableGroup(Protocol):
    """A group with a copy on this node: the only one there is, or one of a sharded store."""

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        """As `KvNode.submit_read`."""


class KvNode(Protocol):
    """A member of a replicated group whose state machine is a `KvMachine`."""

    def submit(
        self,
        command: bytes,
        done: Callable[[bytes | Exception], None],
        session: int | None = None,
        sequence: int = 0,
    ) -> None:
        """Propose; `done` gets the reply or the reason, exactly once, within the node's request timeout.

        In a session, a `sequence` that was carried out already is answered from memory. A node that does not lead
        passes the command on. `done` may be called in this turn of the loop or a later one, never before `submit` has
        returned.
        """

    def before_turn(self, call: Callable[[], None]) -> None:
        """Call this once, soon, right before proposals are taken next; what it submits is taken with them."""

    def submit_read(
        self,
        done: Callable[[Exception | None], None],
        consistency: Consistency = "linearizable",
        staleness_s_max: float = 0.0,
    ) -> None:
        """Call `done(None)` at a moment when the local state is what is promised, or `done(error)`; as `submit`.

        Raises `ConfigError` for a promise that this node is not set up to keep.
        """

    async def open_session(self) -> int:
        """Open a session and return its number; raises what a proposal raises."""

    async def close_session(self, session: int) -> bool:
        """Close a session and return whether it was open; raises what a proposal raises."""

    async def find_session(self, session: int) -> SessionStatus | None:
        """Return what is known of an open session; raises what a read raises."""

    async def open_backup(self) -> Backup:
        """Return a backup of this moment; raises what a read raises, and `StorageError`."""

    async def change_membership(self, change: MembershipChange) -> object:
        """Return once the change is committed; raises `ChangeRefused`, or what a proposal raises."""

    async def transfer_leadership(self, to: NodeId | None = None) -> object:
        """Return once another voter, `to` or the fittest, leads; raises `ChangeRefused`, or what a proposal raises."""

    def status(self) -> Status:
        """Return what the node knows of itself and of its group."""

    def measure(self) -> Measurements:
        """Return everything that the node measures."""

    @property
    def command_version(self) -> int:
        """Return the newest version of commands that every member knows; it never falls."""

    def outside(self) -> NotMember | None:
        """Return what to tell clients of a node that was removed from the group, or waits to be added, else None."""

    @property
    def is_leader(self) -> bool:
        """Say whether this node leads the group, as far as it knows."""
