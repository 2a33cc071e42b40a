"""Which versions of commands may be used: those that every member's state machine knows, raised by itself.

Members tell their version with every answer to the leader; when the lowest of all rises, the leader writes it to the
log, and from there on, on every replica alike, commands of that version may be proposed. It never falls.
"""

from raftline.core.ids import Term
from raftline.core.raft import Raft

__all__ = ["CommandVersion"]


class CommandVersion:
    """The newest version of commands that may be used, and what this leader has asked for.

    Invariant: `in_force` depends on the applied entries alone, so it is the same on every replica at the same index.
    """

    __slots__ = ("_asked", "in_force")

    def __init__(self) -> None:
        self.in_force = 1
        self._asked: tuple[Term, int] = (0, 1)

    def to_ask_for(self, core: Raft) -> int | None:
        """Return the version to write to the log now, None if there is none that this leader has not asked for."""
        if not core.has_settled:
            return None
        known = self._known_by_all(core)
        asked = self._asked[1] if self._asked[0] == core.term else 1
        if known <= max(self.in_force, asked):
            return None
        return known

    def on_asked(self, term: Term, version: int) -> None:
        """Note that the entry stands in the log of the leader of `term`."""
        self._asked = (term, version)

    def _known_by_all(self, core: Raft) -> int:
        """Return the lowest version of all members, learners included; 0 while one has not told its own."""
        state = core.state
        versions = [state.config.command_version]
        for node in state.membership.everyone():
            if node != state.me:
                progress = state.progress.get(node)
                versions.append(progress.command_version if progress is not None else 0)
        return min(versions)
