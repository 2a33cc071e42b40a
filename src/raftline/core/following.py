"""What a follower does with AppendEntries (§5.3): the log check, conflicts, the commit index, one honest answer.

A heartbeat takes exactly the same path (B3). Nothing the leader did not verify is acknowledged or committed (B9).
"""

import msgspec

from raftline.core.configuration import is_membership
from raftline.core.entries import KIND_MEMBERSHIP
from raftline.core.freshness import note_proof
from raftline.core.history import adopt_history
from raftline.core.ids import Index, NodeId
from raftline.core.messages import AppendReply, AppendRequest, Directory
from raftline.core.quiescence import fall_asleep, may_sleep
from raftline.core.ready import Outgoing
from raftline.core.state import RaftState
from raftline.core.transitions import append_entries, hear_leader

__all__ = ["is_well_formed", "on_append_request", "refuse_append"]


def is_well_formed(request: AppendRequest) -> bool:
    """Check what the handler relies on: contiguous from prev_index + 1, terms never falling nor above the sender's.

    A membership that cannot be read is refused with its message: taking it over would leave nobody to count.
    """
    term = request.prev_term
    index = request.prev_index
    for entry in request.entries:
        index += 1
        if entry.index != index or entry.term < term:
            return False
        if entry.kind == KIND_MEMBERSHIP and not is_membership(entry.data):
            return False
        term = entry.term
    return request.prev_index >= 0 and term <= request.term


def _note_directory(state: RaftState, directory: Directory) -> None:
    """Remember where everybody is; what the membership says, too, is held once: a node may have many groups."""
    addresses = state.membership.addresses
    state.directory = Directory(directory.index, addresses) if directory.addresses == addresses else directory


def on_append_request(state: RaftState, sender: NodeId, request: AppendRequest) -> str | None:
    """Take over what follows the common prefix, then acknowledge exactly what this request verified (B2 to B9)."""
    assert request.term == state.term, "the term rule comes first"
    hear_leader(state, sender)
    if request.directory is not None:
        _note_directory(state, request.directory)
    log = state.log
    if request.prev_index >= log.base_index and log.term_at(request.prev_index) != request.prev_term:
        _refuse_conflict(state, sender, request)
        return None
    match_index = request.prev_index + len(request.entries)
    _take_entries(state, request)
    state.commit = max(state.commit, min(request.commit, match_index))
    if not state.history:
        adopt_history(state, request.history)
    if request.commit <= match_index and log.term_at(request.commit) == state.term:
        # Before it has committed an entry of its term a leader may know of less than another had committed (§8).
        state.level_at, state.level_index = state.now, request.commit
        note_proof(state, request)
    if not state.established and request.commit <= match_index and log.term_at(request.commit) == state.term:
        _establish(state, sender)
    _accept(state, sender, request, match_index, early=False)
    if _keeps_waiting(state):
        _accept(state, sender, request, min(match_index, state.persisted), early=True)
    if request.quiesce and may_sleep(state, request, match_index):
        _fall_asleep(state)
    return None


def refuse_append(state: RaftState, sender: NodeId, request: AppendRequest) -> None:
    """Answer a deposed leader with the present term; its entries are not looked at (E6, L42)."""
    reply = AppendReply(state.term, request.term, False, request.prev_index, 0, round=request.round)  # noqa: FBT003
    state.send(sender, reply)


def _fall_asleep(state: RaftState) -> None:
    """Sleep, and say so with the answer that has just been queued."""
    answer = state.out[-1]
    state.out[-1] = Outgoing(answer.to, msgspec.structs.replace(answer.message, asleep=True))
    fall_asleep(state)


def _accept(state: RaftState, sender: NodeId, request: AppendRequest, match_index: Index, *, early: bool) -> None:
    """Answer that the logs match up to `match_index`: once that is on disk, or `early`, at once."""
    reply = AppendReply(
        term=state.term,
        request_term=request.term,
        success=True,
        prev_index=request.prev_index,
        match_index=match_index,
        round=request.round,
        unestablished=not state.established,
        command_version=state.config.command_version,
        early=early,
        echo=request.stamp,
        stamp=state.stamps.use(state.now),
        restoring=state.is_restoring,
    )
    if early:
        state.early.append(Outgoing(sender, reply))
        state.disk_waits_since = state.now
    else:
        state.send(sender, reply)


def _keeps_waiting(state: RaftState) -> bool:
    """Say whether a slow write keeps answers back, so that the leader might take this follower for dead.

    Not while a term, a vote or the trust in this disk are on their way to it: of those nothing may be said (C2).
    """
    is_writing = bool(state.unpersisted) and state.unpersisted[0][0] > state.hard_state_number
    return (
        is_writing
        and not state.hard_state_changed
        and state.now - state.disk_waits_since >= state.config.heartbeat_interval_s / 2
    )


def _establish(state: RaftState, leader: NodeId) -> None:
    """Vote again: all that was committed before this leader, and by it up to now, is in this log (C14).

    A vote of this term may have been lost with the disk; the leader's name in its place means it is not given again.
    """
    state.established = True
    state.vote = state.vote or leader
    state.hard_state_changed = True


def _take_entries(state: RaftState, request: AppendRequest) -> None:
    """Append what is new; cut only at a real conflict (B6 to B8); skip what a snapshot covers (D14)."""
    log = state.log
    entries = request.entries
    if not entries:
        return
    if request.prev_index == log.last_index:
        append_entries(state, list(entries))
        return
    for position, entry in enumerate(entries):
        if entry.index <= log.base_index:
            continue
        term = log.term_at(entry.index)
        if term == entry.term:
            continue
        if term is not None:
            _cut_from(state, entry.index)
        append_entries(state, list(entries[position:]))
        return


def _cut_from(state: RaftState, index: Index) -> None:
    """Drop the conflicting tail, here and in every cursor that pointed into it.

    What came in this turn is not written any more. The leader that sent it, of an earlier term, hears what it would
    have been told one message later (C2, E6).
    """
    for place, outgoing in enumerate(state.out):
        reply = outgoing.message
        if isinstance(reply, AppendReply) and reply.success and reply.match_index >= index:
            word = AppendReply(state.term, reply.request_term, False, reply.prev_index, 0, round=reply.round)  # noqa: FBT003
            state.out[place] = Outgoing(outgoing.to, word)
    state.log.cut_from(index, state.commit)
    state.configuration.on_cut(index)
    state.log_epoch += 1
    state.handed_to_disk = min(state.handed_to_disk, index - 1)
    state.persisted = min(state.persisted, index - 1)


def _refuse_conflict(state: RaftState, sender: NodeId, request: AppendRequest) -> None:
    """Say where to look next: a whole term is skipped at a time (B22, B23)."""
    log = state.log
    if request.prev_index > log.last_index:
        conflict_index, conflict_term = log.last_index + 1, 0
    else:
        conflict_term = log.entry(request.prev_index).term if request.prev_index > log.base_index else 0
        conflict_index = log.first_index_of_term_at(request.prev_index) if conflict_term else log.base_index + 1
    state.send(
        sender,
        AppendReply(
            term=state.term,
            request_term=request.term,
            success=False,
            prev_index=request.prev_index,
            match_index=0,
            conflict_index=conflict_index,
            conflict_term=conflict_term,
            round=request.round,
            unestablished=not state.established,
            echo=request.stamp,
            stamp=state.stamps.use(state.now),
            restoring=state.is_restoring,
        ),
    )
