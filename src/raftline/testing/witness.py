"""Watches a user's state machines: the same command at the same index has to give the same result on every node.

Each replica's machine is wrapped, and one record holds what was answered first at each index. The digest that nodes
compare notices the same a little later; this one can say which command gave what to whom.
"""

from collections.abc import Callable, Iterable, Sequence

from raftline.core.ids import Index, NodeId
from raftline.errors import Diverged, SafetyViolation
from raftline.replica.sessions import Sessions
from raftline.replica.state_machine import StateMachine

__all__ = ["Watched", "Witness", "shown"]

_SHOWN_BYTES_MAX = 80


class Witness:
    """The record of one run.

    Invariant: `finding` is the first thing that was found wrong; later ones follow from it.
    """

    def __init__(self, node_of: Callable[[StateMachine], NodeId], *, compare_snapshots: bool) -> None:
        """`node_of` says whose machine it is."""
        self.finding: SafetyViolation | None = None
        self.compare_snapshots = compare_snapshots
        self._node_of = node_of
        self._answers: dict[Index, tuple[NodeId, bytes, bytes]] = {}

    def on_applied(self, machine: StateMachine, index: Index, command: bytes, result: bytes) -> None:
        """Compare with what the first node to get there answered; a node that starts again answers again."""
        first = self._answers.get(index)
        if first is None:
            self._answers[index] = (self._node_of(machine), command, result)
        elif first[1] == command and first[2] != result and self.finding is None:
            self.finding = Diverged(
                f"apply() is not deterministic: for the command {shown(command)} at index {index} "
                f"{first[0]} returned {shown(first[2])}, and {self._node_of(machine)} {shown(result)}"
            )

    def on_restored(self, machine: StateMachine, given: bytes, found: bytes) -> None:
        """Note that the machine, right after it was restored from one snapshot, makes another one."""
        if self.finding is None:
            self.finding = SafetyViolation(
                f"restore() does not bring back what snapshot() gave: {self._node_of(machine)} restored "
                f"{shown(given)}, and its own snapshot right afterwards is {shown(found)}; if equal states may give "
                f"different bytes, say compare_snapshots=False"
            )


class Watched(StateMachine):
    """A user's machine, with a witness beside it; nothing that it does is changed.

    Invariant: `_doubt` is what was restored and is not what the machine gave right afterwards, until the next call. If
    that tells the version, which is told behind each restore, the machine may give it only from then on.
    """

    def __init__(self, inner: StateMachine, witness: Witness) -> None:
        self.inner = inner
        self.version = inner.version
        self._witness = witness
        self._chunks: list[bytes] = []
        self._doubt: tuple[bytes, bytes] | None = None

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Do what the machine does, and tell the witness; an exception is a result."""
        self._settle()
        try:
            result = self.inner.apply(command, index, time_ms)
        except Exception as error:
            self._witness.on_applied(self, index, command, f"raised {type(error).__name__}".encode())
            raise
        self._witness.on_applied(self, index, command, result)
        return result

    def use_version(self, version: int) -> None:
        """Tell the machine; what it gives from here on may be what it restored."""
        self.inner.use_version(version)
        if self._doubt is not None:
            self._compare(self._doubt[0])
            self._settle()

    def on_history_lost(self) -> None:
        """Tell the machine."""
        self._settle()
        self.inner.on_history_lost()

    def on_membership(self, members: Sequence[NodeId]) -> None:
        """Tell the machine."""
        self._settle()
        self.inner.on_membership(members)

    def objection_to_removal(self, node: NodeId, pending: Iterable[bytes]) -> str | None:
        """Ask the machine."""
        return self.inner.objection_to_removal(node, pending)

    def use_sessions(self, sessions: Sessions) -> None:
        """Tell the machine."""
        self.inner.use_sessions(sessions)

    def read(self, query: bytes, time_ms: int) -> bytes:
        """Do what the machine does."""
        self._settle()
        return self.inner.read(query, time_ms)

    def snapshot(self) -> Iterable[bytes]:
        """Do what the machine does."""
        self._settle()
        return self.inner.snapshot()

    @property
    def reads_while_restoring(self) -> bool:
        """Say what the machine says."""
        return self.inner.reads_while_restoring

    def restore_begin(self) -> None:
        """Do what the machine does."""
        self._settle()
        self._chunks = []
        self.inner.restore_begin()

    def restore_chunk(self, chunk: bytes) -> None:
        """Do what the machine does, and keep the chunk."""
        self._chunks.append(chunk)
        self.inner.restore_chunk(chunk)

    def restore_end(self) -> None:
        """Do what the machine does, and let the witness compare."""
        self.inner.restore_end()
        chunks, self._chunks = self._chunks, []
        if self._witness.compare_snapshots:
            self._compare(b"".join(chunks))
            if self.version == 1:
                self._settle()  # no version will be told

    def _compare(self, given: bytes) -> None:
        """Note whether the machine gives what it restored."""
        found = b"".join(self.inner.snapshot())
        self._doubt = None if found == given else (given, found)

    def _settle(self) -> None:
        """Tell the witness what was restored and not given back."""
        doubt, self._doubt = self._doubt, None
        if doubt is not None:
            self._witness.on_restored(self, *doubt)


def shown(value: bytes) -> str:
    """Return bytes for people: as Python writes them, not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_BYTES_MAX else f"{text[:_SHOWN_BYTES_MAX]}... ({len(value)} bytes)"
