"""Where a lab server keeps what must survive a crash: two byte strings, always saved together (C10, C11).

The object stands for a disk. It belongs to the harness, not to the server: `copy` gives the next incarnation its own,
so that a server that was declared dead cannot write into it any more.
"""

from typing import Protocol

__all__ = ["Persister", "Storage"]


class Storage(Protocol):
    """What `make` needs of a persister; `Persister` has it, and so may anything else."""

    def read_raft_state(self) -> bytes:
        """Return the state saved last, empty at the first boot."""

    def read_snapshot(self) -> bytes:
        """Return the snapshot saved last, empty if there is none."""

    def save(self, raft_state: bytes, snapshot: bytes) -> None:
        """Replace both, as one."""

    def raft_state_size(self) -> int:
        """Return the size of the saved state, in bytes."""


class Persister:
    """A `Storage` in memory."""

    __slots__ = ("_raft_state", "_snapshot")

    def __init__(self, raft_state: bytes = b"", snapshot: bytes = b"") -> None:
        self._raft_state = raft_state
        self._snapshot = snapshot

    def read_raft_state(self) -> bytes:
        """Return the state saved last, empty at the first boot."""
        return self._raft_state

    def read_snapshot(self) -> bytes:
        """Return the snapshot saved last, empty if there is none."""
        return self._snapshot

    def save(self, raft_state: bytes, snapshot: bytes) -> None:
        """Replace both, as one; raise `TypeError` for anything but bytes."""
        for name, value in (("raft_state", raft_state), ("snapshot", snapshot)):
            if not isinstance(value, bytes):
                raise TypeError(f"save wants bytes for {name}, not {type(value).__name__}")
        self._raft_state = raft_state
        self._snapshot = snapshot

    def raft_state_size(self) -> int:
        """Return the size of the saved state, in bytes."""
        return len(self._raft_state)

    def snapshot_size(self) -> int:
        """Return the size of the saved snapshot, in bytes."""
        return len(self._snapshot)

    def copy(self) -> "Persister":
        """Return an independent persister with the same content."""
        return Persister(self._raft_state, self._snapshot)
