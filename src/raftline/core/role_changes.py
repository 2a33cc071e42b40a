"""Why a replica changed its role or its leader, in words for whoever reads the log and as a cause to count by.

The transitions note each change, whoever drives the core takes the notes; nothing in the core decides by them.
"""

from enum import Enum

import msgspec

from raftline.core.ids import NodeId, Term

__all__ = ["Cause", "RoleChange", "Why"]


class Cause(Enum):
    """What made a replica change its role."""

    ELECTION_TIMEOUT = "election-timeout"
    VOTES = "votes"
    TRANSFER = "transfer"
    HIGHER_TERM = "higher-term"
    LEADER_HEARD = "leader-heard"
    VOTE_GIVEN = "vote-given"
    QUORUM_LOST = "quorum-lost"
    REMOVED = "removed"


class Why(msgspec.Struct, frozen=True):
    """A cause, and the same in words with the nodes and times that are known."""

    cause: Cause
    words: str


class RoleChange(msgspec.Struct, frozen=True):
    """One transition; a repeated candidacy is one, too, with `was` equal to `role`."""

    role: str
    was: str
    term: Term
    leader: NodeId | None
    leader_before: NodeId | None
    why: Why
