"""What a user replicates: a deterministic state machine, fed in log order by exactly one applier (G1, F8).

The same commands give the same state and the same results on every replica: no clock, no randomness, no iteration
over sets, nothing from outside. Time comes in with the command. What differs is found by the digest (see replica).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from raftline.core.ids import NodeId
from raftline.replica.sessions import Sessions

__all__ = ["StateMachine"]


class StateMachine(ABC):
    """Subclass this; only `apply`, `snapshot` and `restore` are needed.

    A large machine overrides `restore_begin`, `restore_chunk` and `restore_end` instead of `restore`, and yields many
    chunks from `snapshot`: the node works through them one at a time between turns of its loop.

    What `use_version`, `on_history_lost` and `on_membership` raise stops the node: it is no command's result.

    During an upgrade old and new code run side by side. Raise `version` when `apply` learns commands that older code
    would not understand: such commands may be proposed, with their version, as soon as every member knows them.
    """

    version: int = 1
    """The newest version of commands that this code understands."""

    @abstractmethod
    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Carry out `command`, which stands at `index` of the log, and return its result.

        `time_ms` is the leader's clock when it proposed, never going back from one command to the next. An exception
        is the command's result, the same on every replica: whatever was changed before it was raised stays changed.
        """

    def use_version(self, version: int) -> None:  # noqa: B027  most machines need no notice
        """Take note, in log order on every replica, that every member understands commands up to `version`.

        Called again behind each restore; what `snapshot` gives may change its form from here on.
        """

    def on_history_lost(self) -> None:  # noqa: B027  most machines give out nothing that must not come twice
        """Take note, in log order on every replica, that entries which stood behind those applied so far may be lost.

        A cluster goes on from one survivor, or from a backup. What a state machine counts and gives out, and nobody
        may get a second time, such as fencing tokens, goes on above whatever the lost entries can have given out.
        """

    def on_membership(self, members: Sequence[NodeId]) -> None:  # noqa: B027  few machines have a use for it
        """Take note, in log order on every replica, of who is a member from here on; who is to be removed is none.

        Before the first change of the membership nobody says who the members are. What is made of it belongs in the
        snapshots: the change that it came from may be in no log any more.
        """

    def objection_to_removal(self, node: NodeId, pending: Iterable[bytes]) -> str | None:  # noqa: ARG002
        """Say, in words for whoever asked, why the member `node` cannot be removed now; None: it can.

        Asked of the leader's machine in the turn in which a `Remove` would be appended; of a `Replace` it is not asked.
        `pending` are the commands that stand before it in the log, and are not applied yet: any may be lost still.
        """
        return None

    def use_sessions(self, sessions: Sessions) -> None:  # noqa: B027  most machines leave them alone
        """Get to know the group's sessions, once, before anything is applied: for what moves between groups (G16)."""

    def read(self, query: bytes, time_ms: int) -> bytes:
        """Answer `query` from the state as it is, changing nothing; `time_ms` is this node's wall clock."""
        raise NotImplementedError("this state machine answers no queries: override read()")

    @abstractmethod
    def snapshot(self) -> Iterable[bytes]:
        """Return the state as of this call, in chunks of at most 1 MiB each.

        The first chunk is fetched at once, the others between later calls of `apply`, so an iterator that reads live
        data must shield itself: copy before you return it, or, in a generator, before the first `yield`. An iterator
        with a `close`, as generators have, is closed at its end, and as soon as no more of it is wanted.
        """

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by the one whose `snapshot` gave `chunks`, in the same pieces and order."""
        raise NotImplementedError("override restore(), or restore_begin(), restore_chunk() and restore_end()")

    @property
    def reads_while_restoring(self) -> bool:
        """Say whether `read` gives the old state, unchanged, until `restore_end` returns; if not, reads wait.

        True for a machine that overrides `restore` alone. One that overrides `restore_begin` may override this, too.
        """
        kind = type(self)
        return kind.restore_begin is StateMachine.restore_begin and kind.restore_chunk is StateMachine.restore_chunk

    def restore_begin(self) -> None:
        """Get ready for the chunks of a snapshot; the state as it is may be given up."""
        # Two underscores, and it is gone before `restore`: no name is taken from a user's class, nor seen by it.
        self.__chunks: list[bytes] = []

    def restore_chunk(self, chunk: bytes) -> None:
        """Take one chunk, exactly as `snapshot` gave it."""
        self.__chunks.append(chunk)

    def restore_end(self) -> None:
        """Finish: from here on the state is the snapshot's."""
        chunks = self.__chunks
        del self.__chunks
        self.restore(_once(chunks))


def _once(chunks: list[bytes]) -> Iterator[bytes]:
    """Yield each chunk and let go of it."""
    chunks.reverse()
    while chunks:
        yield chunks.pop()
