"""One line of the log for each change of role or leader, with its cause in words, and a count of each cause.

Reads the core's notes and nothing else; decides nothing.
"""

from collections import Counter
from functools import lru_cache

import structlog

from raftline.core.ids import GroupId
from raftline.core.raft import Raft
from raftline.core.role_changes import RoleChange
from raftline.core.state import Role

__all__ = ["RoleLog"]

_log = structlog.get_logger("raftline.group")
_RUNNING = frozenset({Role.PRE_CANDIDATE.value, Role.CANDIDATE.value})


class RoleLog:
    """What is told of a replica's roles; counters run since the node started."""

    __slots__ = ("_core", "_group", "_last_leader", "changes", "elections", "leader_changes", "pre_votes")

    def __init__(self, group: GroupId, core: Raft) -> None:
        self._group = group
        self._core = core
        self.changes: Counter[tuple[str, str]] = Counter()
        """Role and cause → how often the replica came to that role, or to another leader in it, by that cause."""
        self.elections = 0
        """How often this replica stood for election, pre-votes not counted."""
        self.pre_votes = 0
        self.leader_changes = 0
        """How often a leader became known that was not the one before."""
        self._last_leader: tuple[int, str] | None = None

    def follow(self) -> None:
        """Tell what changed since the last call."""
        if self._core.state.role_changes:
            for change in self._core.take_role_changes():
                self._note(change)

    def _note(self, change: RoleChange) -> None:
        self.elections += change.role == Role.CANDIDATE.value
        self.pre_votes += change.role == Role.PRE_CANDIDATE.value
        if change.leader is not None and (change.term, change.leader) != self._last_leader:
            self._last_leader = (change.term, change.leader)
            self.leader_changes += 1
        is_repeated = change.role in _RUNNING and change.role == change.was
        if is_repeated:
            return
        self.changes[_key(change.role, change.why.cause.value)] += 1
        state = self._core.state
        _log.info(
            "role", node=state.me, group=self._group, role=change.role, was=change.was, term=change.term,
            leader=change.leader, cause=change.why.cause.value, why=change.why.words,
            last_index=state.log.last_index, commit=state.commit,
        )  # fmt: skip


@lru_cache(maxsize=256)
def _key(role: str, cause: str) -> tuple[str, str]:
    """Return the two together, held once for all groups."""
    return role, cause
