"""The rules of two logs that meet (§5.3), worked out a second time from the paper: what agrees, where they part.

Pure functions of a log and a message; `step_checks` holds what a core does against them.
"""

from raftline.core.ids import Index, Term
from raftline.core.log import Log
from raftline.core.messages import AppendReply, AppendRequest
from raftline.core.progress import Mode, PeerProgress

__all__ = ["agrees", "conflict_at", "conflicts", "describe_append", "is_stale", "next_after"]


def agrees(log: Log, request: AppendRequest) -> bool:
    """Say whether the logs agree at the entry before the new ones; below the base they always do (B2, B4, D5, D14)."""
    prev = request.prev_index
    if prev < log.base_index:
        return True
    if prev == log.base_index:
        return request.prev_term == log.base_term
    return prev <= log.last_index and log.entry(prev).term == request.prev_term


def conflicts(log: Log, request: AppendRequest) -> bool:
    """Say whether an entry that is held has another term than the one sent for its place."""
    return any(
        log.base_index < entry.index <= log.last_index and log.entry(entry.index).term != entry.term
        for entry in request.entries
    )


def conflict_at(log: Log, prev_index: Index) -> tuple[Index, Term]:
    """Return what a follower has to report: one behind its end, or the first index of the term that it has (B23)."""
    if prev_index > log.last_index:
        return log.last_index + 1, 0
    if prev_index == log.base_index:
        return log.base_index + 1, 0
    index, term = prev_index, log.entry(prev_index).term
    while index - 1 > log.base_index and log.entry(index - 1).term == term:
        index -= 1
    return index, term


def is_stale(progress: PeerProgress, prev_index: Index) -> bool:
    """Say whether a refusal answers an earlier probe than the present one (E4)."""
    if progress.mode is Mode.SNAPSHOT or prev_index <= progress.match_index:
        return True
    if progress.mode is Mode.PROBE:
        return prev_index != progress.next_index - 1
    return prev_index >= progress.next_index


def next_after(log: Log, reply: AppendReply) -> Index:
    """Return where a leader goes on: behind its last entry of the conflict's term, or where the follower says (B24)."""
    if reply.conflict_term:
        index = log.last_index
        while index > log.base_index and log.entry(index).term > reply.conflict_term:
            index -= 1
        if index and log.term_at(index) == reply.conflict_term:
            return min(index + 1, reply.prev_index)
    return max(1, min(reply.conflict_index, reply.prev_index))


def describe_append(request: AppendRequest) -> str:
    """Return a message in words, for complaints about what came of it."""
    return (
        f"AppendEntries from {request.prev_index} (term {request.prev_term}) with {len(request.entries)} entries and "
        f"commit index {request.commit}"
    )
