"""What the server asks of a node, as a protocol; `raftline.runtime.node.Node` is one."""

from collections.abc import Callable
from typing import Protocol

from raftline.runtime.backup import Backup
from raftline.runtime.status import Status

__all__ = ["KvNode"]


class KvNode(Protocol):
    """A member of a replicated group whose state machine is a `KvMachine`."""

    def submit(self, command: bytes, done: Callable[[bytes | Exception], None]) -> None:
        """Propose; `done` gets the reply or the reason, exactly once, within the node's request timeout.

        A node that does not lead passes the command on. `done` may be called in this turn of the loop or a later one,
        never before `submit` has returned.
        """

    def submit_read(self, done: Callable[[Exception | None], None]) -> None:
        """Call `done(None)` at a moment when the local state is linearizable, or `done(error)`; as `submit`."""

    async def open_backup(self) -> Backup:
        """Return a backup of this moment; raises what a read raises, and `StorageError`."""

    def status(self) -> Status:
        """Return what the node knows of itself and of its group."""

    @property
    def is_leader(self) -> bool:
        """Say whether this node leads the group, as far as it knows."""
