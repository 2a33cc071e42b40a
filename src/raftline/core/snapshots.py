"""Snapshots in pieces (§7): who needs which chunk, and what happens when the last one is stored.

The core moves no snapshot bytes by itself: it asks the runtime to read (`ChunkWanted`) or to write (`ChunkReceived`)
and hears of the outcome as an event. A snapshot moves a replica only forward (D9).
"""

from raftline.core.entries import SnapshotMeta
from raftline.core.events import ChunkRead, ChunkStored, Compacted, SnapshotTaken
from raftline.core.history import claimed_history
from raftline.core.ids import Index, NodeId
from raftline.core.messages import SnapshotReply, SnapshotRequest
from raftline.core.progress import Mode
from raftline.core.ready import ChunkReceived, ChunkWanted
from raftline.core.state import RaftState, Role
from raftline.core.transitions import hear_leader

__all__ = [
    "index_needed",
    "on_chunk_read",
    "on_chunk_stored",
    "on_compacted",
    "on_snapshot_reply",
    "on_snapshot_request",
    "on_snapshot_taken",
    "plan_chunks",
    "refuse_snapshot",
]


def on_snapshot_taken(state: RaftState, event: SnapshotTaken) -> str | None:
    """Remember the newest snapshot and let go of the log before it (D1); an older one is useless (D3)."""
    if event.meta.index <= state.snapshot.index:
        return "older than the snapshot at hand"
    assert event.meta.index <= state.commit, "only what is committed can be in a snapshot (D3)"
    assert event.compact_to <= event.meta.index, "only what the snapshot covers can be dropped"
    state.snapshot = event.meta
    state.log.compact_to(event.compact_to)
    state.configuration.on_compacted(state.log.base_index)
    return None


def on_compacted(state: RaftState, event: Compacted) -> str | None:
    """Let go of a further piece of the log behind the snapshot (D16)."""
    assert event.index <= state.snapshot.index, "only what the snapshot covers can be dropped"
    if event.index <= state.log.base_index:
        return "gone already"
    state.log.compact_to(event.index)
    state.configuration.on_compacted(state.log.base_index)
    return None


def index_needed(state: RaftState) -> Index:
    """Return the index behind which some follower that answers may still need this leader's log.

    That is the end of the snapshot it is being sent, or else what it is known to hold. Were the log behind a snapshot
    let go while it is on its way, the follower would need the next snapshot as soon as it has installed this one, and
    if that takes as long again it would never catch up (§7).
    """
    needed = state.log.last_index
    if state.role is Role.LEADER:
        since = state.now - state.config.election_timeout_s[0]
        for progress in state.progress.values():
            if not progress.is_silent(since):
                held = progress.snapshot_index if progress.mode is Mode.SNAPSHOT else progress.match_index
                needed = min(needed, held)
    return needed


def plan_chunks(state: RaftState) -> list[ChunkWanted]:
    """Return the next chunk for each follower that is being sent a snapshot and waits for one."""
    wanted: list[ChunkWanted] = []
    for node, progress in state.progress.items():
        if progress.mode is Mode.SNAPSHOT and state.now >= progress.chunk_due_at(state.config.snapshot_retry_s):
            wanted.append(ChunkWanted(node, progress.snapshot_index, progress.snapshot_offset))
            progress.on_chunk_asked(state.now)
    return wanted


def on_chunk_read(state: RaftState, event: ChunkRead) -> str | None:
    """Send the chunk if the follower still waits for it; a newer snapshot starts from its beginning."""
    progress = state.progress.get(event.to)
    if state.role is not Role.LEADER or progress is None or progress.mode is not Mode.SNAPSHOT:
        return "nobody waits for it"
    if event.meta.index != progress.snapshot_index:
        if event.offset:
            progress.become_snapshot(event.meta.index)
            return "the snapshot was replaced meanwhile"
        progress.become_snapshot(event.meta.index)
    if event.offset != progress.snapshot_offset:
        return "the follower is elsewhere"
    progress.on_chunk_sent(state.now)
    request = SnapshotRequest(
        term=state.term,
        index=event.meta.index,
        snapshot_term=event.meta.term,
        membership=event.meta.membership,
        offset=event.offset,
        data=event.data,
        done=event.done,
        round=state.reads.round,
        history=claimed_history(state),
        stamp=state.stamps.use(state.now),
    )
    state.send(event.to, request)
    return None


def on_snapshot_request(state: RaftState, sender: NodeId, request: SnapshotRequest) -> str | None:
    """Take the next chunk, say which one is wanted, or that nothing is needed (D8, D9)."""
    assert request.term == state.term, "the term rule comes first"
    hear_leader(state, sender)
    if request.index <= state.commit:
        _reply(state, sender, request, request.offset, installed=True)
        return "everything in it is committed here already"
    expected = state.storing
    if expected is None or expected[:2] != (request.index, request.snapshot_term):
        if request.offset:
            _reply(state, sender, request, 0, installed=False)
            return "the beginning of this snapshot is missing"
        expected = (request.index, request.snapshot_term, 0)
    if expected[2] < 0:
        return "a chunk is being stored, the answer follows"
    if request.offset != expected[2]:
        _reply(state, sender, request, expected[2], installed=False)
        return "not the chunk that is wanted next"
    # Until the chunk is stored nothing else of this snapshot is wanted: -1.
    state.storing = (request.index, request.snapshot_term, -1)
    state.storing_for = (request.term, request.stamp)
    meta = SnapshotMeta(request.index, request.snapshot_term, request.membership)
    state.chunks_received.append(ChunkReceived(meta, request))
    return None


def on_chunk_stored(state: RaftState, event: ChunkStored) -> str | None:
    """Ask for the next chunk, or install the complete snapshot (D10 to D12)."""
    meta = event.meta
    if state.storing is not None and state.storing[:2] == (meta.index, meta.term):
        state.storing = None if event.complete else (meta.index, meta.term, event.next_offset)
    elif not event.complete or state.role is Role.LEADER:
        return "given up meanwhile"
    # A whole one is on disk even if it was given up for another: it counts, or a start would find what nobody knew of.
    if event.complete and meta.index > state.commit:
        _install(state, meta)
    if state.leader is not None and state.role is Role.FOLLOWER:
        term, stamp = state.storing_for
        echo = stamp if term == state.term else 0
        state.send(
            state.leader,
            SnapshotReply(state.term, state.term, meta.index, event.next_offset, installed=event.complete, echo=echo),
        )
    return None


def on_snapshot_reply(state: RaftState, sender: NodeId, reply: SnapshotReply) -> str | None:
    """Go on with the next chunk, or with the log behind the snapshot (D15)."""
    progress = state.progress.get(sender)
    if progress is None:
        return "not a member"
    if progress.is_outdated(reply.echo):
        return "answers what was sent before it was added, or lost its disk"
    progress.on_heard(state.now, reply.round)
    state.must_recount = True
    if reply.installed:
        progress.on_installed(reply.index, state.log.base_index)
        return None
    if progress.mode is not Mode.SNAPSHOT or reply.index != progress.snapshot_index:
        return "of another snapshot"
    progress.on_chunk_accepted(reply.next_offset, state.now)
    return None


def refuse_snapshot(state: RaftState, sender: NodeId, request: SnapshotRequest) -> None:
    """Answer a deposed leader with the present term."""
    state.send(
        sender,
        SnapshotReply(state.term, request.term, request.index, request.offset, installed=False, round=request.round),
    )


def _install(state: RaftState, meta: SnapshotMeta) -> None:
    """Let the snapshot stand for the log; keep what follows it only if the log agrees at its end (D10)."""
    log = state.log
    agrees = log.term_at(meta.index) == meta.term
    if agrees:
        log.compact_to(meta.index)
        state.configuration.on_compacted(meta.index)
    else:
        log.restart_at(meta.index, meta.term)
        state.configuration.restart_at(meta.index, meta.membership)
        state.log_epoch += 1
    if not agrees or state.handed_to_disk < meta.index:
        # Also where entries came in the same turn that the disk never saw: behind its end they would leave a gap.
        state.reset = meta
        state.handed_to_disk = meta.index
        state.persisted = meta.index
    state.snapshot = meta
    state.commit = meta.index
    state.handed_out = meta.index
    state.install = meta


def _reply(state: RaftState, to: NodeId, request: SnapshotRequest, next_offset: int, *, installed: bool) -> None:
    reply = SnapshotReply(
        state.term,
        request.term,
        request.index,
        next_offset,
        installed=installed,
        round=request.round,
        echo=request.stamp,
    )
    state.send(to, reply)
