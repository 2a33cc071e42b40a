"""First start or lost disks: which history a log belongs to, and what tells a blank node that there is one (C14).

The leader of a first start draws a number and puts it into the log's first entry; whoever knows something of that
log to be committed keeps the number on disk. Two numbers are two histories, which may agree in index and term by
chance: nothing of one may be cut, or be voted out, by the other. See docs/decisions/0004-two-histories.md.
"""

from typing import Any

from raftline.core.entries import KIND_NOOP
from raftline.core.ids import NodeId
from raftline.core.messages import AppendRequest, SnapshotRequest, VoteReply, VoteRequest
from raftline.core.state import RaftState
from raftline.errors import SafetyViolation

__all__ = ["adopt_history", "claimed_history", "draw_history", "is_foreign", "note_entries_elsewhere"]

_BYTES = 4


def draw_history(state: RaftState) -> bytes:
    """Return what the first entry of a new log carries: a number, never 0."""
    return (1 + int(state.random.random() * (256**_BYTES - 1))).to_bytes(_BYTES, "big")


def claimed_history(state: RaftState) -> int:
    """Return the history of this log, committed or not, 0 if it has none; what its owner says of itself."""
    if state.history or state.log.base_index or not state.log.last_index:
        return state.history
    first = state.log.entry(1)
    return int.from_bytes(first.data, "big") if first.kind == KIND_NOOP else 0


def adopt_history(state: RaftState, history: int) -> None:
    """Keep the number for good once something is committed: from here on nothing else is followed."""
    if history and not state.history and state.commit:
        state.history = history
        state.hard_state_changed = True


def is_foreign(state: RaftState, sender: NodeId, message: Any) -> bool:
    """Say whether a candidate comes from another history; raise `SafetyViolation` if the leader of one does.

    A leader of an older term may not know yet that its first entry lost to another; it is told the term.
    """
    kind = type(message)
    if kind is VoteRequest:
        return message.history not in (0, state.history)
    if not (kind is AppendRequest or kind is SnapshotRequest) or message.history in (0, state.history):
        return False
    if message.term < state.term:
        return False
    raise SafetyViolation(
        f"{sender} leads a cluster that started anew from emptied directories, or from another backup than this node, "
        f"and {state.me} holds what an earlier one committed, {state.log.last_index} entries (history "
        f"{state.history:08x}, not {message.history:08x}): they "
        "stay as they are. If the disks of a majority were lost, stop all nodes and make a cluster of this directory "
        "with `raftline recover`; or empty it, if nothing in it is wanted"
    )


def note_entries_elsewhere(state: RaftState, message: Any) -> None:
    """Note that somebody's log is not blank: then an empty directory is no first start, and nobody may begin one."""
    kind = type(message)
    state.entries_elsewhere = (
        (kind is VoteReply and not message.unestablished)
        or (kind is VoteRequest and message.last_index > 0)
        or (kind is AppendRequest and message.prev_index > 0)
        or kind is SnapshotRequest
    )
